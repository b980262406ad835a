//! The journal in one SQLite file.
//!
//! All writes go through one thread with one connection. Reads have a connection of their own: the
//! write-ahead log gives it a snapshot of all that is committed, so a read waits for no disk, and a write
//! for no read.

mod count;
mod file;
mod query;
mod schema;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::Mutex;

use self::count::Count;
use self::file::Lock;
use self::store::SqliteStore;
use super::database::{Reads, SqlJournal};
use super::problem::Problem;
use super::sql::{Row, Value};
use super::standing::Standing;
use super::writer::Queue;
use super::{Config, Error, Metrics};

/// Opens the journal at `path`, making it where there is none; its directory must exist,
/// because one made on the fly would as a rule not be on the volume that was meant.
///
/// Blocks while the file is checked and recovered.
///
/// # Errors
/// When the file can't be used, another process has it open, or it is damaged.
pub(super) fn open(path: &Path, config: &Config, metrics: Metrics) -> Result<SqlJournal, Problem> {
    let lock = file::acquire(path)?;
    let count = Count::open(path)?;
    let connection = schema::open(path, &count)?;
    let clock = Arc::new(schema::clock(&connection)?);
    let reading = Arc::new(Mutex::new(schema::open_reader(path)?));
    let standing = Arc::new(Standing::default());
    let store = SqliteStore {
        connection,
        count,
        standing: Arc::clone(&standing),
        max_bytes: config.max_bytes(),
        metrics: metrics.clone(),
        log: file::beside(path, "-wal"),
    };
    let (queue, writer) = Queue::new(config.queue, store, Arc::clone(&standing), metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let writer = thread::Builder::new()
        .name("journal-write".into())
        .spawn(move || runtime.block_on(writer.run()))?;
    let standing_of_reads = Arc::clone(&standing);
    let reads =
        SqliteReads { reading, standing: standing_of_reads, writer: Some(writer), _lock: lock };
    Ok(SqlJournal { queue, reads: Arc::new(reads), standing, clock, shared: None })
}

/// The connection for reading, and what goes when the journal goes.
struct SqliteReads {
    reading: Arc<Mutex<Connection>>,
    standing: Arc<Standing>,
    /// Joined on drop; the lock is given up after it has closed the file.
    writer: Option<JoinHandle<()>>,
    _lock: Lock,
}

#[async_trait]
impl Reads for SqliteReads {
    /// A read that fails breaks the journal: what can't be read can't be recovered from either, and the
    /// operator must know now.
    async fn rows(
        &self,
        statement: &'static str,
        values: Vec<Value<'static>>,
    ) -> Result<Vec<Row>, Error> {
        let connection = Arc::clone(&self.reading).lock_owned().await;
        let read = tokio::task::spawn_blocking(move || query::run(&connection, statement, &values));
        let broken = |why: &dyn std::fmt::Display| self.standing.broken(why.to_string());
        read.await.map_err(|died| broken(&died))?.map_err(|error| broken(&error))
    }
}

impl Drop for SqliteReads {
    fn drop(&mut self) {
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the journal's writer panicked");
        }
    }
}
