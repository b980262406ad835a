//! Connections to the database, and what each must be before it is used.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::ConfigBuilderExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::Error;
use super::super::config::{PostgresConfig, PostgresUrl};
use super::super::machine::host;
use super::super::problem::Problem;
use super::link::Link;
use super::schema::SCHEMA;

impl Problem {
    /// The database can't be reached, or refuses; that may pass.
    pub(super) fn unreachable(what: impl Display) -> Self {
        Self::new(what, "see that the server runs, is not a standby, and has connections left")
    }
}

/// Reads and what is asked of other replicas: a later call may succeed.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Unavailable(problem.to_string())
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        let remedy = match error.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                "the user needs CREATE on the database for the first start, and all rights on the \
                 schema authz_sidecar"
            }
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "create the database",
            Some(code)
                if *code == SqlState::INVALID_PASSWORD
                    || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                "correct the user in journal.url, or journal.postgres.password_file"
            }
            _ if is_unbelieved(&error) => {
                "name the certificate that has signed the server's in journal.postgres.ca_file, and in \
                 journal.url the host that the server's certificate names"
            }
            _ => return Self::unreachable(told(&error)),
        };
        Self::new(told(&error), remedy)
    }
}

/// Whether the server's certificate is not one to be believed.
fn is_unbelieved(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    let cause = cause.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// What an error says. `Display` alone says only "db error".
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        // Details quote values: ids. The message doesn't.
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    settings: PostgresConfig,
}

impl Connector {
    /// A way to `url`.
    pub(super) fn new(url: &PostgresUrl, settings: PostgresConfig) -> Result<Self, Problem> {
        let mut config = url.config().clone();
        let name = format!("authz-sidecar {}", host());
        config
            .application_name(name)
            // A standby, which one of several hosts may be, takes no entries.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(settings.connect_timeout.0)
            .tcp_user_timeout(settings.statement_timeout.0)
            .keepalives_idle(Duration::from_secs(10));
        let tls = MakeRustlsConnect::new(tls(&config, &settings)?);
        Ok(Self { config, tls, settings })
    }

    /// A connection that is as it must be, within `journal.postgres.connect_timeout`.
    pub(super) async fn connect(&self) -> Result<Link, Problem> {
        let connected = async {
            let link = self.open().await?;
            check(&link.client, self.settings.allow_no_fsync).await?;
            Ok(link)
        };
        let late = |_| Problem::unreachable("no connection within connect_timeout");
        timeout(self.settings.connect_timeout.0, connected).await.map_err(late)?
    }

    async fn open(&self) -> Result<Link, tokio_postgres::Error> {
        let mut config = self.config.clone();
        // Read anew each time, since passwords are changed.
        match self.settings.password() {
            Ok(Some(password)) => _ = config.password(password),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "journal.postgres.password_file can't be read"),
        }
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = told(&error), "a connection to the journal ended");
            }
        });
        let link = Link::new(client, task);
        link.client.batch_execute(&self.session()).await?;
        Ok(link)
    }

    /// How each session is set up. The writer waits for its COMMIT without a limit of the server's:
    /// that would make a commit that waits for a standby look like one that is replicated. So it
    /// is this process that gives up, and then asks what became of it.
    fn session(&self) -> String {
        let milliseconds = |time: Duration| time.as_millis().max(1);
        let statement = milliseconds(self.settings.statement_timeout.0);
        // A process that stops in the middle of a transaction must not keep its lease by that: the
        // server ends the transaction, whose locks a take-over waits for.
        let idle = milliseconds(self.settings.granted() / 3);
        format!(
            "SET search_path = {SCHEMA};
             SET default_transaction_isolation = 'read committed';
             SET lock_timeout = {statement};
             SET statement_timeout = 0;
             SET idle_in_transaction_session_timeout = {idle};
             SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                 WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false);"
        )
    }
}

/// Refuses a server that would forget what it acknowledged.
async fn check(client: &Client, allow_no_fsync: bool) -> Result<(), Problem> {
    let query = "SELECT current_setting('fsync'), current_setting('server_encoding'), \
                 current_setting('server_version_num')::integer, \
                 current_setting('synchronous_commit')";
    let row = client.query_one(query, &[]).await?;
    let (fsync, encoding): (String, String) = (row.get(0), row.get(1));
    let (version, commit): (i32, String) = (row.get(2), row.get(3));
    let unusable = |what: String, remedy| Err(Problem::new(what, remedy));
    if fsync != "on" && !allow_no_fsync {
        let what = "fsync is off: a crash of the server would lose acknowledged records".into();
        return unusable(what, "set fsync = on in the server's configuration");
    }
    if encoding != "UTF8" {
        return unusable(format!("its encoding is {encoding}"), "create the database with UTF8");
    }
    if version < 130_000 {
        return unusable(format!("its version is {version}"), "use PostgreSQL 13 or later");
    }
    if !matches!(commit.as_str(), "on" | "remote_apply") {
        let what = format!("synchronous_commit stays {commit}");
        return unusable(what, "let the user set it, and connect past any transaction pooler");
    }
    Ok(())
}

/// Certificates are always verified where TLS is used.
fn tls(config: &Config, options: &PostgresConfig) -> Result<ClientConfig, Problem> {
    let unusable = |what: String| {
        Problem::new(
            what,
            "correct journal.postgres.ca_file, or install the system's root certificates",
        )
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    let builder = match &options.ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unusable(format!("{}: {error}", path.display())))?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(unusable(format!("{}: no certificate", path.display())));
            }
            builder.with_root_certificates(roots)
        }
        None if local || config.get_ssl_mode() == SslMode::Disable => {
            builder.with_root_certificates(RootCertStore::empty())
        }
        None => builder.with_native_roots().map_err(|error| unusable(error.to_string()))?,
    };
    Ok(builder.with_no_client_auth())
}
