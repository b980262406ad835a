//! Connections to the database, and what each must be before it is used.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Connect;
use hyper_rustls::ConfigBuilderExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::OpenOptions;
use super::super::config::{PostgresConfig, PostgresUrl};
use super::schema::SCHEMA;

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// It can't be reached, or refuses; that may pass.
    #[error("{0}")]
    Unreachable(String),
    /// It is not as it must be; that takes a person.
    #[error("{problem}")]
    Unusable { problem: String, mend: &'static str },
    /// Another release made the tables.
    #[error("another release made the tables (format {0})")]
    OtherFormat(u32),
}

/// A database error in words, without the statement's values.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
pub(super) fn failed(error: tokio_postgres::Error) -> Problem {
    let mend = match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user needs CREATE on the database for the first start, and all rights on the \
             schema authz_sidecar"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "create the database",
        Some(code)
            if *code == SqlState::INVALID_PASSWORD
                || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            "mend the user in journal.url, or journal.postgres.password_file"
        }
        _ if is_unbelieved(&error) => {
            "name the certificate that has signed the server's in journal.postgres.ca_file, and in \
             journal.url the host that the server's certificate names"
        }
        _ => return Problem::Unreachable(told(&error)),
    };
    Problem::Unusable { problem: told(&error), mend }
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

/// A connection. It is cut with the value.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Also where the server no longer reads.
        self.task.abort();
    }
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    options: Arc<OpenOptions>,
}

impl Connector {
    /// A way to `url`.
    pub(super) fn new(url: &PostgresUrl, options: Arc<OpenOptions>) -> Result<Self, Problem> {
        let mut config = url.config().clone();
        let name = format!("authz-sidecar {}", options.name);
        config
            .application_name(name)
            // A standby, which one of several hosts may be, takes no entries.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(options.postgres.connect_timeout.0)
            .tcp_user_timeout(options.postgres.statement_timeout.0)
            .keepalives_idle(Duration::from_secs(10));
        let tls = MakeRustlsConnect::new(tls(&config, &options.postgres)?);
        Ok(Self { config, tls, options })
    }

    /// A connection that is as it must be, within `journal.postgres.connect_timeout`.
    pub(super) async fn connect(&self) -> Result<Link, Problem> {
        let connected = async {
            let (client, task) = self.open().await.map_err(failed)?;
            let link = Link { client, task };
            check(&link.client, self.options.postgres.allow_no_fsync).await?;
            Ok(link)
        };
        let late = |_| Problem::Unreachable("no connection within connect_timeout".into());
        tokio::time::timeout(self.options.postgres.connect_timeout.0, connected)
            .await
            .map_err(late)?
    }

    async fn open(&self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let mut config = self.config.clone();
        // Read anew each time, since passwords are changed.
        match self.options.postgres.password() {
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
        client.batch_execute(&self.session()).await?;
        Ok((client, task))
    }

    /// How each session is set up. The writer waits for its COMMIT without a limit of the server's:
    /// that would make a commit that waits for a standby look like one that is replicated. So it
    /// is this process that gives up, and then asks what became of it.
    fn session(&self) -> String {
        let milliseconds = |time: Duration| time.as_millis().max(1);
        let statement = milliseconds(self.options.postgres.statement_timeout.0);
        // A process that stops in the middle of a transaction must not keep its lease by that: the
        // server ends the transaction, whose locks a take-over waits for.
        let idle = milliseconds(self.options.postgres.granted() / 3);
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

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> std::pin::Pin<
        Box<
            dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>>
                + Send
                + '_,
        >,
    > {
        Box::pin(self.open())
    }
}

/// Refuses a server that would forget what it acknowledged.
async fn check(client: &Client, allow_no_fsync: bool) -> Result<(), Problem> {
    let query = "SELECT current_setting('fsync'), current_setting('server_encoding'), \
                 current_setting('server_version_num')::integer, \
                 current_setting('synchronous_commit')";
    let row = client.query_one(query, &[]).await.map_err(failed)?;
    let (fsync, encoding): (String, String) = (row.get(0), row.get(1));
    let (version, commit): (i32, String) = (row.get(2), row.get(3));
    let unusable = |problem: String, mend| Err(Problem::Unusable { problem, mend });
    if fsync != "on" && !allow_no_fsync {
        let problem = "fsync is off: a crash of the server would lose acknowledged records".into();
        return unusable(problem, "set fsync = on in the server's configuration");
    }
    if encoding != "UTF8" {
        return unusable(format!("its encoding is {encoding}"), "create the database with UTF8");
    }
    if version < 130_000 {
        return unusable(format!("its version is {version}"), "use PostgreSQL 13 or later");
    }
    if !matches!(commit.as_str(), "on" | "remote_apply") {
        let problem = format!("synchronous_commit stays {commit}");
        return unusable(problem, "let the user set it, and connect past any transaction pooler");
    }
    Ok(())
}

/// Certificates are always verified where TLS is used.
fn tls(config: &Config, options: &PostgresConfig) -> Result<ClientConfig, Problem> {
    let unusable = |problem: String| Problem::Unusable {
        problem,
        mend: "mend journal.postgres.ca_file, or install the system's root certificates",
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
