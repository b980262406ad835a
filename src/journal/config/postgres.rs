//! What only a journal in PostgreSQL has.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::model::Span;

/// Settings of a journal in PostgreSQL.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// Within how long another replica carries on what one left that died. A replica is believed to
    /// live for four fifths of it after it last said so: one that can't reach the database, or
    /// stands still, for longer may be taken over, and then has to be restarted. The same for all
    /// replicas. Default: 15s.
    #[serde(deserialize_with = "lease")]
    pub lease: Span,
    /// A file with the user's password, read at each connection. Default: none is sent.
    pub password_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that the server's must be signed by. Default: the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take. Default: 3s.
    pub connect_timeout: Span,
    /// How long a statement may take. Default: 5s.
    pub statement_timeout: Span,
    /// Whether a server that runs without fsync will do. It loses acknowledged records when it
    /// crashes: for tests only. Default: false.
    pub allow_no_fsync: bool,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            lease: Span(Duration::from_secs(15)),
            password_file: None,
            ca_file: None,
            connect_timeout: Span(Duration::from_secs(3)),
            statement_timeout: Span(Duration::from_secs(5)),
            allow_no_fsync: false,
        }
    }
}

impl PostgresConfig {
    /// How long a lease holds in the database. The rest is for others, who look for it at a ninth
    /// of this, to notice that it ran out and to go on.
    pub(in crate::journal) fn granted(&self) -> Duration {
        self.lease.0 * 4 / 5
    }

    /// The password, as the file has it now.
    pub(in crate::journal) fn password(&self) -> std::io::Result<Option<Vec<u8>>> {
        let Some(path) = &self.password_file else { return Ok(None) };
        Ok(Some(std::fs::read(path)?.trim_ascii_end().to_vec()))
    }
}

/// Shorter ones than this expire while a healthy process waits for its turn on a busy machine.
const SHORTEST_LEASE: Duration = Duration::from_millis(500);

fn lease<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let lease = Span::deserialize(deserializer)?;
    if lease.0 < SHORTEST_LEASE {
        return Err(de::Error::custom("a lease is at least 500ms long"));
    }
    Ok(lease)
}

/// The place of a database, which holds no password: a URL is shown in logs and errors.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    text: String,
    config: tokio_postgres::Config,
}

impl PostgresUrl {
    /// What it says.
    pub(in crate::journal) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }
}

impl FromStr for PostgresUrl {
    type Err = String;

    /// Errors don't repeat the text: it may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let config = tokio_postgres::Config::from_str(text).map_err(|_| {
            "not the URL of a database: write postgres://USER@HOST:PORT/DATABASE?sslmode=require"
        })?;
        if config.get_password().is_some() {
            return Err("a password in journal.url would be shown in logs: write it into a file \
                        and name that in journal.postgres.password_file"
                .into());
        }
        if config.get_hosts().is_empty() || config.get_user().is_none() {
            return Err("the URL names no host or no user: write \
                        postgres://USER@HOST:PORT/DATABASE?sslmode=require"
                .into());
        }
        Ok(Self { text: text.to_owned(), config })
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_a_url_with_a_password_is_refused_and_not_repeated() {
        for bad in [
            "postgres://u:s3cret@h/d",
            "postgres://u@h/d?password=s3cret",
            "postgres://u:s3cret@h:port/d",
            "postgresql:s3cret",
        ] {
            let error = bad.parse::<PostgresUrl>().unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let url: PostgresUrl = "postgres://u@h:5433/d?sslmode=require".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://u@h:5433/d?sslmode=require");
    }

    #[test]
    fn a_url_names_a_host_and_a_user() {
        for bad in ["postgres:///d", "postgres://h/d", "postgres://u@/d"] {
            assert!(bad.parse::<PostgresUrl>().is_err(), "{bad}");
        }
        assert!("postgres://u@%2Frun%2Fpostgresql/d".parse::<PostgresUrl>().is_ok());
    }
}
