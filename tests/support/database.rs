//! Databases of the tests' PostgreSQL, for journals.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use authz_sidecar::journal::{Config, Location, Metrics, OpenError, PostgresUrl, SqlJournal, open};
use authz_sidecar::model::Span;
use tokio_postgres::{Client, NoTls};

use super::postgres::Postgres;
use super::service::Service;

/// An empty database.
pub struct Database {
    host: PathBuf,
    name: String,
    role: &'static str,
}

impl Database {
    /// One in the PostgreSQL of this checkout.
    pub async fn new() -> Self {
        Self::of(Postgres::shared().host()).await
    }

    /// One in the PostgreSQL with that socket's directory.
    pub async fn of(host: PathBuf) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("journal_{}_{count}", std::process::id());
        let client = connect(&host, "postgres").await;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        // Until a server has been up for a lease, nobody is taken over.
        let up = "SELECT pg_sleep(2.1 - extract(epoch FROM \
                  clock_timestamp() - pg_postmaster_start_time())::double precision)";
        client.batch_execute(up).await.unwrap();
        Self { host, name, role: "postgres" }
    }

    /// One that belongs to a role that is no superuser, which is made where it isn't there.
    pub async fn as_role(role: &'static str) -> Self {
        let database = Self::new().await;
        let client = connect(&database.host, "postgres").await;
        // Another test may be making it.
        client.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.ok();
        let owner = format!("ALTER DATABASE {} OWNER TO {role}", database.name);
        client.batch_execute(&owner).await.unwrap();
        Self { role, ..database }
    }

    /// Where it is, as the configuration says it.
    pub fn url(&self) -> String {
        let host = self.host.to_str().unwrap().replace('/', "%2F");
        format!("postgres://{}@{host}/{}", self.role, self.name)
    }

    /// How tests open a journal: the tests' server runs without fsync, and leases are short.
    pub fn config(&self) -> Config {
        let mut config = Config::at(Location::Postgres(Box::new(self.place())));
        config.postgres.lease = Span(Duration::from_secs(2));
        config.postgres.allow_no_fsync = true;
        config
    }

    /// A journal with a replica of its own.
    pub async fn open(&self) -> SqlJournal {
        self.try_open(self.config()).await.unwrap()
    }

    /// As [`Database::open`], with another configuration.
    pub async fn try_open(&self, config: Config) -> Result<SqlJournal, OpenError> {
        open(&config, Metrics::default()).await
    }

    /// A connection past the journal, as an operator's shell or a fault would have it.
    pub async fn meddle(&self) -> Client {
        let client = connect(&self.host, &self.name).await;
        client.batch_execute("SET search_path = authz_sidecar").await.unwrap();
        client
    }

    /// A connection as the role that the journal's are of, unless the server refuses it.
    pub async fn try_connect(&self) -> Option<Client> {
        try_connect(&self.host, &self.name, self.role).await.ok()
    }

    /// As [`Database::meddle`], in the database of a service.
    pub async fn meddle_with(service: &Service) -> Client {
        let host = Postgres::shared().host();
        connect(&host, service.database()).await
    }

    fn place(&self) -> PostgresUrl {
        self.url().parse().unwrap()
    }
}

async fn connect(host: &Path, name: &str) -> Client {
    try_connect(host, name, "postgres").await.unwrap()
}

async fn try_connect(host: &Path, name: &str, role: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host_path(host).user(role).dbname(name);
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}
