//! How the journal is opened.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{Config, Metrics, PostgresConfig};
use crate::model::ByteSize;

/// How a [`PostgresJournal`](super::PostgresJournal) is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What this replica is called, for operators: its host's name.
    pub name: String,
    /// Within which another replica goes on with what one left that died. Default 15 s.
    pub lease: Duration,
    /// Where the password is, if there is one.
    pub password_file: Option<PathBuf>,
    /// The certificates that the server's must be signed by; the system's where there are none.
    pub ca_file: Option<PathBuf>,
    /// Connections for reading. Two more are for writing and for the lease. Default 4.
    pub pool: usize,
    /// How long a connection may take. Default 3 s.
    pub connect_timeout: Duration,
    /// How long a statement may take. Default 5 s.
    pub statement_timeout: Duration,
    /// How long the beginning of an operation may wait for the database. Default 5 s.
    pub wait: Duration,
    /// Whether a server without fsync will do: for tests only. Default false.
    pub allow_no_fsync: bool,
    /// Bytes from which no new operation is opened. Default 1 GiB.
    pub max_bytes: ByteSize,
    /// Calls that may wait for the writer. Default 1024.
    pub queue: u32,
    /// Where to count. Default: nowhere that shows.
    pub metrics: Metrics,
}

impl OpenOptions {
    /// What the configuration says.
    #[must_use]
    pub fn new(config: &Config, metrics: Metrics) -> Self {
        let PostgresConfig {
            lease,
            password_file,
            ca_file,
            pool,
            connect_timeout,
            statement_timeout,
            wait,
            allow_no_fsync,
        } = config.postgres.clone();
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            name: name.trim().to_owned(),
            lease: lease.0,
            password_file,
            ca_file,
            pool,
            connect_timeout: connect_timeout.0,
            statement_timeout: statement_timeout.0,
            wait: wait.0,
            allow_no_fsync,
            max_bytes: config.max_bytes,
            queue: config.queue,
            metrics,
        }
    }

    /// How long a lease holds in the database. The rest is for others, who look for it at a ninth
    /// of this, to notice that it ran out and to go on.
    pub(super) fn granted(&self) -> Duration {
        self.lease * 4 / 5
    }

    pub(super) fn max_bytes(&self) -> u64 {
        u64::try_from(self.max_bytes.0).unwrap_or(u64::MAX)
    }

    /// The password, as the file has it now.
    pub(super) fn password(&self) -> std::io::Result<Option<Vec<u8>>> {
        let Some(path) = &self.password_file else { return Ok(None) };
        Ok(Some(std::fs::read(path)?.trim_ascii_end().to_vec()))
    }
}
