//! From a configuration to a journal that accepts entries.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Config, Journal, Location, Metrics, PostgresConfig, PostgresJournal, SqliteJournal};
use crate::model::ByteSize;

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What this process is called, for operators: its host's name.
    pub name: String,
    /// Bytes in use from which no new operation is opened. Default 1 GiB.
    pub max_bytes: ByteSize,
    /// Calls that may wait for the writer. Default 1024.
    pub queue: u32,
    /// What only a journal in PostgreSQL has.
    pub postgres: PostgresConfig,
    /// Where to count. Default: nowhere that shows.
    pub metrics: Metrics,
}

impl OpenOptions {
    /// What the configuration says.
    #[must_use]
    pub fn new(config: &Config, metrics: Metrics) -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let Config { max_bytes, queue, postgres, .. } = config.clone();
        Self { name: name.trim().to_owned(), max_bytes, queue, postgres, metrics }
    }

    pub(super) fn max_bytes(&self) -> u64 {
        u64::try_from(self.max_bytes.0).unwrap_or(u64::MAX)
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            max_bytes: Config::default_max_bytes(),
            queue: Config::default_queue(),
            postgres: PostgresConfig::default(),
            metrics: Metrics::default(),
        }
    }
}

/// Opens the journal that `config` names, making it where there is none.
///
/// Blocks while a file is checked and recovered: a start does nothing without it.
///
/// # Errors
/// When the journal can't be used; the error says what to do.
pub async fn open(config: &Config, metrics: Metrics) -> Result<Arc<dyn Journal>, OpenError> {
    let options = OpenOptions::new(config, metrics);
    match &config.url {
        Location::Sqlite(path) => Ok(Arc::new(SqliteJournal::open(path, options)?)),
        Location::Postgres(url) => Ok(Arc::new(PostgresJournal::open(url, options).await?)),
    }
}

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file, or its directory, is not as it must be.
    #[error("journal {path}: {problem}; {mend}", path = path.display())]
    Unusable {
        /// The journal's file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// Another process has it open.
    #[error(
        "journal {path}: process {holder} has it open; a journal belongs to one sidecar, so stop \
         the other or give this one a journal.url of its own",
        path = path.display()
    )]
    Locked {
        /// The journal's file.
        path: PathBuf,
        /// The other's process id, as it is in its own PID namespace, and the name of its host.
        holder: String,
    },
    /// Another release wrote it, in another form.
    #[error(
        "journal {place}: another release wrote it (format {found}; this release has {known}); run that release \
         until `authz-sidecar operations list` shows nothing, then {mend}"
    )]
    OtherFormat {
        /// The journal's file or URL, which holds no password.
        place: String,
        /// The number of its format; 0 for releases that had none.
        found: u32,
        /// The number that this release writes.
        known: u32,
        /// How to make place for a new journal.
        mend: &'static str,
    },
    /// It lost records that were acknowledged. SQLite would start without them.
    #[error(
        "journal {path}: {problem}; the log {path}-wal is damaged or lost, so restore the volume from a \
         copy that holds all files of one moment, or accept the loss as docs/OPERATIONS.md tells",
        path = path.display()
    )]
    Damaged {
        /// The journal's file.
        path: PathBuf,
        /// How much is missing.
        problem: String,
    },
    /// It is not a journal, or one no more.
    #[error(
        "journal {path}: {problem}; restore it from a copy, or move it away and reconcile the \
         service and the back end by hand",
        path = path.display()
    )]
    Corrupt {
        /// The journal's file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The database can't be reached or is not as it must be.
    #[error("journal {place}: {problem}; {mend}")]
    Database {
        /// The journal's URL, which holds no password.
        place: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        mend: &'static str,
    },
}
