//! How connections are made and pooled.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use super::{Config, Url};

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Why a client can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// TLS can't be set up for this URL.
    #[error(
        "TLS can't be set up for {url}: {detail}; install the system's root certificates or use http://"
    )]
    Tls {
        /// The URL that wants TLS.
        url: Url,
        /// What rustls said.
        detail: String,
    },
}

/// A pooled client with HTTP/1.1 only: the contract's protocol.
pub(super) fn client(
    base: &Url,
    config: &Config,
) -> Result<Client<Connector, Full<Bytes>>, BuildError> {
    let tls = tls(base.is_tls()).map_err(|detail| BuildError::Tls { url: base.clone(), detail })?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.connect_timeout));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.pool_idle)
        .pool_max_idle_per_host(config.pool_size)
        // Only a request of which nothing was written goes to another connection.
        .retry_canceled_requests(true)
        .build(connector))
}

/// The machine's root certificates, or none where no TLS is wanted: then a container without
/// certificates works too.
fn tls(wanted: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if wanted {
        builder.with_native_roots().map_err(|error| error.to_string())?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}
