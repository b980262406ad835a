//! The journal in one SQLite file.
//!
//! All writes go through one thread with one connection, which commits whatever has queued up
//! meanwhile in one transaction (group commit): under load many calls share one wait for the
//! disk, and nobody waits for a timer. Reads go through a second thread with a connection of
//! its own: the write-ahead log gives it a snapshot of all that is committed, so a read waits
//! for no disk, and a write for no read.

mod file;
mod read;
mod schema;
mod wal;
mod write;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

use self::file::Lock;
use self::read::Reader;
use self::writer::{Call, Verdict, Work, Writer};
use super::clock::JournalClock;
use super::config::Config;
use super::row::Rows;
use super::{Append, Error, Journal, Metrics, OpenError, Place, Window};
use crate::model::{ByteSize, Clock, OperationId, Resource, Stored, Timestamp};

/// How a [`SqliteJournal`] is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bytes in use from which no new operation is opened. Default 1 GiB.
    pub max_bytes: ByteSize,
    /// Calls that may wait for the writer. Default 1024.
    pub queue: u32,
    /// Where to count. Default: nowhere that shows.
    pub metrics: Metrics,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            max_bytes: Config::default_max_bytes(),
            queue: Config::default_queue(),
            metrics: Metrics::default(),
        }
    }
}

/// A journal in an SQLite file.
///
/// Dropping it commits what is queued, closes the file and gives up its lock; that may block
/// for as long as a commit takes.
#[derive(Debug)]
pub struct SqliteJournal {
    // The order of the fields matters: the threads end once the channels are closed.
    calls: mpsc::Sender<Call>,
    reader: Reader,
    room: Arc<Semaphore>,
    standing: Arc<Standing>,
    metrics: Metrics,
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
        wal::check(path)?;
        let writing = schema::open(path)?;
        let clock = Arc::new(schema::clock(path, &writing)?);
        let reading = schema::open_reader(path)?;
        let standing = Arc::new(Standing::default());
        let (calls, queued) = mpsc::channel();
        let writer = Writer {
            connection: writing,
            calls: queued,
            standing: Arc::clone(&standing),
            metrics: options.metrics.clone(),
            max_bytes: u64::try_from(options.max_bytes.0).unwrap_or(u64::MAX),
            log: file::beside(path, "-wal"),
            refused: HashMap::new(),
        };
        let (reader, reads) = Reader::new(Arc::clone(&standing));
        let unusable = |error: std::io::Error| file::unusable(path, &error, "free some memory");
        let mut threads = Threads { running: Vec::new(), _lock: lock };
        threads.spawn("journal-write", move || writer.run()).map_err(unusable)?;
        threads.spawn("journal-read", move || reads.run(&reading)).map_err(unusable)?;
        let permits = usize::try_from(options.queue.max(1)).unwrap_or(usize::MAX);
        let room = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let metrics = options.metrics;
        Ok(Self { calls, reader, room, standing, metrics, clock, _threads: threads })
    }

    /// Hands `work` to the writer; waits for room only.
    async fn send(&self, work: Work, reply: Option<oneshot::Sender<Verdict>>) -> Result<(), Error> {
        let stopped = || Error::Broken("the writer has stopped".into());
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| stopped())?;
        self.standing.check()?;
        self.metrics.queue_depth.inc();
        self.calls.send(Call { work, reply, _room: room }).map_err(|_| stopped())
    }

    async fn ask(&self, work: Work) -> Verdict {
        let (reply, answer) = oneshot::channel();
        self.send(work, Some(reply)).await?;
        // A writer that died with the call in hand may have committed it.
        answer.await.unwrap_or_else(|_| Err(Error::Unknown("the writer has died".into())))
    }

    /// Encoding is done here, on the caller's thread, so that the writer's is for the disk.
    fn encode(&self, append: Append) -> Result<Work, Error> {
        let rows = Rows::encode(append).map(Work::Append);
        rows.map_err(|error| self.standing.broken(format!("a record can't be written: {error}")))
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append(&self, append: Append) -> Result<(), Error> {
        self.ask(self.encode(append)?).await.map(drop)
    }

    async fn enqueue(&self, append: Append) -> Result<(), Error> {
        self.send(self.encode(append)?, None).await
    }

    async fn flush(&self) -> Result<(), Error> {
        self.ask(Work::Flush).await.map(drop)
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
            let chunk = self.ask(Work::Prune { now, before }).await?;
            forgotten += chunk;
            if chunk == 0 {
                return Ok(forgotten);
            }
        }
    }

    fn health(&self) -> Result<(), Error> {
        self.standing.check()
    }

    fn clock(&self) -> Option<Arc<dyn Clock>> {
        Some(Arc::<JournalClock>::clone(&self.clock))
    }
}

/// Whether the journal still accepts entries; once it does not, it never does again.
#[derive(Debug, Default)]
struct Standing {
    broken: OnceLock<String>,
}

impl Standing {
    fn check(&self) -> Result<(), Error> {
        self.broken.get().map_or(Ok(()), |why| Err(Error::Broken(why.clone())))
    }

    /// Breaks the journal. The first reason stands: later ones follow from it.
    fn broken(&self, why: String) -> Error {
        if self.broken.set(why.clone()).is_ok() {
            tracing::error!(reason = %why, "the journal is broken until a restart");
        }
        Error::Broken(why)
    }

    /// Breaks the journal by a write of which nobody knows whether it is durable.
    fn unknown(&self, why: String) -> Error {
        self.broken(why.clone());
        Error::Unknown(why)
    }
}

/// The running threads, joined on drop; the lock is given up after they closed the file.
#[derive(Debug)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    _lock: Lock,
}

impl Threads {
    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), std::io::Error> {
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
