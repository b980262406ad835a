//! TLS to PostgreSQL: who is believed to be the journal's server, and who may use it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use authz_sidecar::journal::{Config, Journal, Location, Metrics, OpenError, SqlJournal, open};
use serde_json::json;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::fixture::{names, opened};
use crate::support::postgres::Postgres;
use crate::support::sidecar::{Config as SidecarConfig, Sidecar};

const PASSWORD: &str = "planted-password-0123456789";

/// A PostgreSQL of its own on a port, with a role that needs a password.
struct Server {
    directory: TempDir,
    _postgres: Postgres,
    port: u16,
    admin: Client,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).unwrap();
        // Free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let postgres = Postgres::with_tls(directory.path().to_owned(), port);
        let mut config = tokio_postgres::Config::new();
        config.host_path(postgres.host()).port(port).user("postgres").dbname("postgres");
        let (admin, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        admin
            .batch_execute(&format!("CREATE ROLE sidecar LOGIN PASSWORD '{PASSWORD}'"))
            .await
            .unwrap();
        admin.batch_execute("CREATE DATABASE journal OWNER sidecar").await.unwrap();
        std::fs::write(directory.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        std::fs::write(directory.path().join("wrong"), "wrong").unwrap();
        Self { directory, _postgres: postgres, port, admin }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn open(
        &self,
        host: &str,
        query: &str,
        ca: Option<&Path>,
        password: &str,
    ) -> Result<SqlJournal, OpenError> {
        let url =
            format!("postgres://sidecar@{host}:{}/journal{query}", self.port).parse().unwrap();
        let mut config = Config::at(Location::Postgres(Box::new(url)));
        config.postgres.allow_no_fsync = true;
        config.postgres.ca_file = ca.map(Path::to_owned);
        config.postgres.password_file = Some(self.file(password));
        open(&config, Metrics::default()).await
    }

    /// What it says where it can't be opened.
    async fn refused(&self, host: &str, query: &str, ca: Option<&Path>, password: &str) -> String {
        self.open(host, query, ca, password).await.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn p7_a_server_is_believed_only_with_a_certificate_that_is_signed_and_names_it() {
    let server = Server::start().await;
    let (ca, other) = (server.file("ca.pem"), server.file("other.pem"));
    for query in ["?sslmode=require", ""] {
        let journal = server.open("localhost", query, Some(&ca), "password").await.unwrap();
        let operation = opened(&journal, 1).await;
        assert_eq!(names(&journal, operation).await, ["prepared"]);
        let plain = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) \
                     FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'sidecar'";
        let row = server.admin.query_one(plain, &[]).await.unwrap();
        let (encrypted, plain): (i64, i64) = (row.get(0), row.get(1));
        assert!(encrypted >= 3 && plain == 0, "{encrypted} with TLS, {plain} without");
        journal.shared().unwrap().release().await;

        let refused = server.refused("localhost", query, Some(&other), "password").await;
        assert!(refused.contains("journal.postgres.ca_file"), "{refused}");
        // Those of the system have not signed it either.
        let refused = server.refused("localhost", query, None, "password").await;
        assert!(refused.contains("journal.postgres.ca_file"), "{refused}");
        // The certificate names `localhost` and no address.
        let refused = server.refused("127.0.0.1", query, Some(&ca), "password").await;
        assert!(refused.contains("journal.url"), "{refused}");
    }
}

#[tokio::test]
async fn p7_a_wrong_password_and_a_file_that_holds_no_certificate_are_told_by_their_settings() {
    let server = Server::start().await;
    let ca = server.file("ca.pem");
    let refused = server.refused("localhost", "?sslmode=require", Some(&ca), "wrong").await;
    assert!(refused.contains("journal.postgres.password_file"), "{refused}");
    assert!(!refused.contains("wrong"), "{refused}");
    for file in ["password", "missing.pem"] {
        let file = server.file(file);
        let refused = server.refused("localhost", "", Some(&file), "password").await;
        assert!(refused.contains("journal.postgres.ca_file"), "{refused}");
        assert!(!refused.contains(PASSWORD), "{refused}");
    }
}

#[tokio::test]
async fn a_sidecar_starts_on_a_journal_over_tls_and_says_which_setting_keeps_it_from_one() {
    let server = Server::start().await;
    let config = |ca: &str| {
        let url = format!("postgres://sidecar@localhost:{}/journal?sslmode=require", server.port);
        let (ca, password) = (server.file(ca), server.file("password"));
        let postgres = json!({"ca_file": ca, "password_file": password, "allow_no_fsync": true});
        // Neither is asked for anything.
        SidecarConfig::new("http://127.0.0.1:9", "http://127.0.0.1:9")
            .set("/journal/url", url)
            .set("/journal/postgres", postgres)
    };
    let mut sidecar = Sidecar::start(config("ca.pem")).await;
    assert!(sidecar.operations().await.is_empty());
    assert!(sidecar.stop().await.success());
    let refused = sidecar.try_restart_as(config("other.pem")).await.unwrap_err();
    assert!(refused.contains("journal.postgres.ca_file"), "{refused}");
    assert!(!refused.contains(PASSWORD) && !sidecar.log().join("").contains(PASSWORD));
}
