//! From a configuration to a journal that accepts entries.

use std::path::PathBuf;
use std::sync::Arc;

use super::{
    Config, Journal, Location, Metrics, OpenOptions, PostgresJournal, PostgresOptions,
    SqliteJournal,
};

/// Opens the journal that `config` names, making it where there is none.
///
/// Blocks while a file is checked and recovered: a start does nothing without it.
///
/// # Errors
/// When the journal can't be used; the error says what to do.
pub async fn open(config: &Config, metrics: Metrics) -> Result<Arc<dyn Journal>, OpenError> {
    match &config.url {
        Location::Sqlite(path) => {
            let options = OpenOptions { max_bytes: config.max_bytes, queue: config.queue, metrics };
            Ok(Arc::new(SqliteJournal::open(path, options)?))
        }
        Location::Postgres(url) => {
            let options = PostgresOptions::new(config, metrics);
            Ok(Arc::new(PostgresJournal::open(url, options).await?))
        }
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
    /// Its write-ahead log lost records that were acknowledged. SQLite would start without them.
    #[error(
        "journal {path}: {problem}; records that were acknowledged would be dropped, so restore the \
         volume from a copy that holds {path}, {path}-wal and {path}-shm of one moment, or accept \
         the loss as docs/OPERATIONS.md tells, with {usable} as the log's usable length",
        path = path.display()
    )]
    Damaged {
        /// The journal's file.
        path: PathBuf,
        /// What is damaged, and where.
        problem: String,
        /// Bytes at the log's beginning that can still be used.
        usable: u64,
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
