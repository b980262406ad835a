//! The journal in one SQLite file.
//!
//! All writes go through one thread with one connection, which commits whatever has queued up
//! meanwhile in one transaction (group commit): under load many calls share one wait for the
//! disk, and nobody waits for a timer. Reads go through a second thread with a connection of
//! its own: the write-ahead log gives it a snapshot of all that is committed, so a read waits
//! for no disk, and a write for no read.

mod count;
mod file;
mod read;
mod schema;
mod store;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;

use self::count::Count;
use self::file::Lock;
use self::read::Reader;
use self::store::SqliteStore;
use super::clock::JournalClock;
use super::standing::Standing;
use super::writer::Queue;
use super::{Append, Error, Journal, OpenError, OpenOptions, Place, Window};
use crate::model::{Clock, OperationId, Resource, Stored, Timestamp};

/// A journal in an SQLite file.
///
/// Dropping it commits what is queued, closes the file and gives up its lock; that may block
/// for as long as a commit takes.
#[derive(Debug)]
pub struct SqliteJournal {
    // The order of the fields matters: the threads end once the channels are closed.
    queue: Queue<SqliteStore>,
    reader: Reader,
    standing: Arc<Standing>,
    clock: Arc<JournalClock>,
    _threads: Threads,
}

impl SqliteJournal {
    /// Opens the journal at `path`, making it where there is none; its directory must exist,
    /// because one made on the fly would as a rule not be on the volume that was meant.
    ///
    /// Blocks while the file is checked and recovered.
    ///
    /// # Errors
    /// When the file can't be used, another process has it open, or it is damaged.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let lock = file::acquire(path)?;
        let count = Count::open(path)?;
        let connection = schema::open(path, &count)?;
        let clock = Arc::new(schema::clock(path, &connection)?);
        let reading = schema::open_reader(path)?;
        let standing = Arc::new(Standing::default());
        let (length, metrics) = (options.queue, options.metrics.clone());
        let log = file::beside(path, "-wal");
        let store =
            SqliteStore { connection, count, standing: Arc::clone(&standing), options, log };
        let (queue, writer) = Queue::new(length, store, Arc::clone(&standing), metrics);
        let (reader, reads) = Reader::new(Arc::clone(&standing));
        let start = || {
            let mut threads = Threads { running: Vec::new(), _lock: lock };
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            threads.spawn("journal-write", move || runtime.block_on(writer.run()))?;
            threads.spawn("journal-read", move || reads.run(&reading))?;
            Ok(threads)
        };
        let unusable = |error: std::io::Error| file::unusable(path, &error, "free some memory");
        let threads = start().map_err(unusable)?;
        Ok(Self { queue, reader, standing, clock, _threads: threads })
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append(&self, append: Append) -> Result<(), Error> {
        self.queue.append(append).await
    }

    async fn unfinished_page(
        &self,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.reader.ask(move |connection| read::unfinished(connection, after, limit)).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        self.reader.ask(move |connection| read::operation(connection, id)).await
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        let resource = resource.clone();
        self.reader.ask(move |connection| read::holder(connection, &resource)).await
    }

    async fn overlapping(
        &self,
        window: &Window,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let window = window.clone();
        let read = move |connection: &_| read::overlapping(connection, &window, after, limit);
        self.reader.ask(read).await
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        let mut forgotten = 0;
        // Chunk by chunk, so that appends get their turn in between.
        loop {
            let chunk = self.queue.turn(move |store| store.prune(now, before)).await?;
            forgotten += chunk;
            if chunk == 0 {
                return Ok(forgotten);
            }
        }
    }

    fn health(&self) -> Result<(), Error> {
        self.standing.check()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<JournalClock>::clone(&self.clock)
    }
}

/// The running threads, joined on drop; the lock is given up after they closed the file.
#[derive(Debug)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    _lock: Lock,
}

impl Threads {
    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.running.push(thread::Builder::new().name(name.into()).spawn(run)?);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.running.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
    }
}
