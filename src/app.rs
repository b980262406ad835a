//! Wiring: a configuration becomes a running application, and drains.
//!
//! Order matters: the journal opens and is replayed, then the sockets are bound, and only then
//! does the proxy serve. On shutdown the proxy drains first; what is unfinished
//! then is in the journal, and the next start carries it on.

mod watched;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::watched::Watched;
use crate::admin::Health;
use crate::config::Config;
use crate::dualwrite::{self, DualWrite, Recovered};
use crate::http::breaker;
use crate::model::{OperationId, Span, SystemClock};
use crate::principal::{self, Resolver};
use crate::proxy::{self, Names, Proxy};
use crate::upstream::{self, Endpoint};
use crate::{admin, authz, journal, telemetry};

/// An application whose sockets are bound and whose journal is replayed.
pub struct App {
    proxy: Proxy,
    dual_write: DualWrite,
    recovered: Recovered,
    ports: Ports,
    drain: std::time::Duration,
    addresses: Addresses,
}

/// Where an application listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// Clients.
    pub listen: SocketAddr,
    /// Probes and metrics.
    pub health: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
}

/// Why an application can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service's headers, or the token for orders, can't be read.
    #[error("{0}")]
    Credentials(String),
    /// The journal can't be opened.
    #[error("journal.url: {0}")]
    Journal(#[from] journal::OpenError),
    /// The journal can't be replayed.
    #[error("the journal can't be replayed: {0}")]
    Recovery(#[from] dualwrite::Halt),
    /// The back end's client can't be made.
    #[error("authz: {0}")]
    Authz(#[from] crate::http::BuildError),
    /// The principal resolver can't be made.
    #[error("principal: {0}")]
    Principal(#[from] principal::BuildError),
    /// An address can't be bound.
    #[error("{setting}: {address} can't be bound: {error}; choose a free address")]
    Bind {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A worker or server failed.
    #[error("the application failed: {0}")]
    Failed(#[from] io::Error),
}

impl App {
    /// Opens the journal, replays it, and binds the sockets. To be called on the runtime that is
    /// to run the sagas.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(config: Config) -> Result<Self, Error> {
        let mut registry = telemetry::registry();
        let health = Arc::new(Health::new());
        health.configured();
        let service_headers = config.credentials.headers().map_err(Error::Credentials)?;
        let journal = journal::open(&config.journal, journal::Metrics::new(&mut registry)).await?;
        let journal: Arc<dyn journal::Journal> = Arc::new(journal);
        let resolver = Resolver::new(
            &config.principal,
            Arc::new(SystemClock),
            principal::Metrics::new(&mut registry),
        )?;
        let circuit_metrics = breaker::Metrics::new(&mut registry);
        let circuits = authz::Circuits::new(&config.authz.breaker, &circuit_metrics);
        let authorizer =
            config.authz.build(authz::Metrics::new(&mut registry), circuits.clone())?;
        let authorizer = Arc::new(Watched::new(authorizer, circuits.clone(), Arc::clone(&health)));
        let dual_write = DualWrite::new(dualwrite::Parts {
            register: config.authz.deadline.0,
            exclusive_writer: config.journal.exclusive_writer,
            distrusted: config.rules.distrusted(config.journal.exclusive_writer),
            upstream: Arc::new(upstream::Client::new(config.upstream.clone(), sagas_pool(&config))),
            service_headers,
            host: host_of(&config.upstream),
            authorizer,
            circuits,
            service_circuit: dualwrite::service_circuit(circuit_metrics),
            journal: Arc::clone(&journal),
            resolver,
            ids: OperationId::new,
            metrics: dualwrite::Metrics::new(&mut registry),
            config: config.bounds.clone(),
        });
        let recovered = dual_write.recover().await?;
        let proxy = bind_proxy(&config, &dual_write, &mut registry)?;
        health.opened(&journal);
        let ports = Ports::bind(&config, health, registry).await?;
        let addresses = Addresses {
            listen: proxy.local_addr()?,
            health: ports.probes.local_addr()?,
            admin: ports.admin.local_addr()?,
        };
        Ok(Self { proxy, dual_write, recovered, ports, drain: config.drain.0, addresses })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `shutdown`, then drains for at most the configured time.
    ///
    /// # Errors
    /// When a worker can't be started or dies.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let (health, stop_ports) = (Arc::clone(&self.ports.health), CancellationToken::new());
        let ports = tokio::spawn(self.ports.serve(self.dual_write.clone(), stop_ports.clone()));
        let carrying_on = tokio::spawn(self.recovered.carry_on());
        health.listening(true);
        let addresses = self.addresses;
        tracing::info!(
            listen = %addresses.listen, health = %addresses.health, admin = %addresses.admin,
            "listening"
        );
        let announced = shutdown.clone();
        tokio::spawn(async move {
            announced.cancelled().await;
            // Not ready from here on, so that no new traffic is routed to this process.
            health.listening(false);
        });
        let served = self.proxy.run(shutdown, self.drain).await;
        carrying_on.abort();
        self.dual_write.release().await;
        stop_ports.cancel();
        // The ports only inform: how they end does not matter any more.
        let _ = ports.await;
        tracing::info!("stopped; what is unfinished is in the journal");
        Ok(served?)
    }
}

fn bind_proxy(
    config: &Config,
    dual_write: &DualWrite,
    registry: &mut Registry,
) -> Result<Proxy, Error> {
    let protected = config.principal.headers.iter().map(ToString::to_string);
    let bypass = config.principal.bypass.iter().map(|name| name.0.to_string());
    let parts = proxy::Parts {
        router: Arc::new(config.rules.clone()),
        interceptor: Arc::new(dual_write.clone()),
        control: tokio::runtime::Handle::current(),
        endpoint: config.upstream.clone(),
        upstream: config.pool.clone(),
        forwarded: config.forwarded.clone(),
        cors: config.cors.clone(),
        credentials: Names::new(protected.chain(bypass)),
        metrics: proxy::Metrics::new(registry),
    };
    Proxy::bind(config.listen, config.limits.clone(), parts).map_err(|error| Error::Bind {
        setting: "listen",
        address: config.listen,
        error,
    })
}

/// A connection is waited for at most half as long as an exchange: else a request could leave after its client was
/// told and its operation closed, from which on L counts. So it is also known by then that nothing was sent.
fn sagas_pool(config: &Config) -> upstream::Config {
    let connect_timeout = config.pool.connect_timeout.min(Span(config.bounds.exchange.0 / 2));
    upstream::Config { connect_timeout, ..config.pool.clone() }
}

/// The Host of calls that no caller's Host is known for.
fn host_of(endpoint: &Endpoint) -> HeaderValue {
    let text = match endpoint {
        Endpoint::Tcp { .. } => endpoint.to_string().trim_start_matches("http://").to_owned(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

/// The ports for probes and for operators.
struct Ports {
    probes: TcpListener,
    admin: TcpListener,
    health: Arc<Health>,
    registry: Registry,
    token: Option<admin::Token>,
}

impl Ports {
    async fn bind(config: &Config, health: Arc<Health>, registry: Registry) -> Result<Self, Error> {
        let bind = |setting, address| async move {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|error| Error::Bind { setting, address, error })
        };
        let probes = bind("health", config.health).await?;
        let admin = bind("admin", config.admin).await?;
        let token = config.credentials.admin.as_ref();
        let token = token.map(|admin| admin::Token::at(&admin.token_file)).transpose();
        let token = token.map_err(Error::Credentials)?;
        Ok(Self { probes, admin, health, registry, token })
    }

    async fn serve(self, dual_write: DualWrite, stop: CancellationToken) {
        let (limits, registry) = (admin::Limits::default(), Arc::new(self.registry));
        let probes = admin::serve_health(self.probes, self.health, registry, limits, stop.clone());
        let operations = Arc::new(dual_write.ledger());
        let operations = admin::serve_operations(self.admin, operations, self.token, limits, stop);
        tokio::join!(probes, operations);
    }
}
