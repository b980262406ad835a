//! The writer's thread: batches, commits, answers.
//!
//! Its order is what the product's promises rest on: write, commit (which syncs the log), and
//! only then answer. Nothing is answered from memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::row::Rows;
use super::schema::{drain, pragma};
use super::write::{self, Room};
use super::{Error, Metrics, Standing};
use crate::failpoint;
use crate::model::{OperationId, Timestamp};

/// Most calls in one transaction. Enough to share one sync of the disk among all that arrive
/// while the one before it takes its milliseconds; small enough (some hundred pages) that the first
/// call of a batch does not wait for long on account of the last.
const BATCH: usize = 256;

/// How long an enqueued call may wait for another to commit with. Longer than a group commit
/// takes, so that enqueuing saves a sync; short, because what is enqueued is lost in a crash.
const IDLE: Duration = Duration::from_millis(20);

/// Operations forgotten in one step: some milliseconds, for which appends wait.
pub(super) const PRUNE_CHUNK: usize = 200;

/// Operations whose enqueued call was refused and whose next append has not come. No saga enqueues a
/// record that binds an id, so a thousand at once are a fault, not a load.
const REFUSED: usize = 1024;

/// Size of the write-ahead log from which the writer waits for the reader to let it start over.
/// SQLite's own checkpoints, at 4 MiB, don't wait, and fail while somebody reads.
const LOG_BYTES: u64 = 48 << 20;

/// Free pages that stay in the file for what comes, and those given back in one step.
const SPARE_PAGES: i64 = 1024;
const RELEASE_PAGES: i64 = 256;

/// How many operations were forgotten (of an append: none), or why nothing was done.
pub(super) type Verdict = Result<usize, Error>;

/// One thing to do, and who waits for it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) work: Work,
    pub(super) reply: Option<oneshot::Sender<Verdict>>,
    /// The call's place in the bounded queue, given back with the answer.
    pub(super) _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) enum Work {
    Append(Rows),
    Prune {
        now: Timestamp,
        before: Timestamp,
    },
    /// Nothing, in its turn.
    Flush,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) standing: Arc<Standing>,
    pub(super) metrics: Metrics,
    pub(super) max_bytes: u64,
    /// The path of the write-ahead log.
    pub(super) log: PathBuf,
    /// Refusals that nobody has been told of yet.
    pub(super) refused: HashMap<OperationId, Error>,
}

impl Writer {
    /// Works until all senders are gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            let verdicts = self.perform(&batch);
            let pruned = batch.iter().any(|call| matches!(call.work, Work::Prune { .. }));
            answer(batch, verdicts);
            // After the answers, which don't depend on it.
            if self.standing.check().is_ok()
                && let Err(error) = self.tidy(pruned)
            {
                self.standing.broken(error.to_string());
            }
        }
    }

    /// All that is queued, at most [`BATCH`]; waits for company only while nobody waits for it.
    fn next_batch(&self) -> Option<Vec<Call>> {
        let first = self.calls.recv().ok()?;
        let due = Instant::now() + IDLE;
        let mut awaited = first.reply.is_some();
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let next = if awaited {
                self.calls.try_recv().ok()
            } else {
                let left = due.saturating_duration_since(Instant::now());
                self.calls.recv_timeout(left).ok()
            };
            let Some(call) = next else { break };
            awaited |= call.reply.is_some();
            batch.push(call);
        }
        self.metrics.queue_depth.dec_by(i64::try_from(batch.len()).unwrap_or(i64::MAX));
        Some(batch)
    }

    /// One verdict for each call: its own, or all the same where the transaction failed.
    fn perform(&mut self, batch: &[Call]) -> Vec<Verdict> {
        let performed = self.standing.check().and_then(|()| self.commit(batch));
        performed.unwrap_or_else(|error| vec![Err(error); batch.len()])
    }

    fn commit(&mut self, batch: &[Call]) -> Result<Vec<Verdict>, Error> {
        let started = Instant::now();
        failpoint::records("before", names(batch));
        let Self { connection, refused, metrics, standing, .. } = self;
        // Until COMMIT the transaction can only vanish, so nothing was written.
        let broken = |error: rusqlite::Error| standing.broken(error.to_string());
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(broken)?;
        let used = used_bytes(&transaction).map_err(broken)?;
        metrics.bytes.set(used);
        let room = if used < self.max_bytes {
            Room::Left
        } else {
            Room::Full { max_bytes: self.max_bytes }
        };
        let mut verdicts = Vec::with_capacity(batch.len());
        for call in batch {
            verdicts.push(step(&transaction, refused, call, room).map_err(broken)?);
        }
        if refused.len() > REFUSED {
            return Err(standing.broken("too many enqueued records were refused".into()));
        }
        failpoint::records("written", names(batch));
        // A failed COMMIT may have reached the disk, and a failed sync is never repaired by
        // another: the kernel reports it once and may drop the pages. Only what a restart reads
        // back tells.
        transaction.commit().map_err(|error| standing.unknown(error.to_string()))?;
        failpoint::records("committed", names(batch));
        metrics.commits.inc();
        metrics.commit_latency.observe(started.elapsed().as_secs_f64());
        metrics.batch_size.observe(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        for (call, verdict) in batch.iter().zip(&verdicts) {
            match (&call.work, verdict) {
                (_, Err(_)) => metrics.refusals.inc(),
                (Work::Append(_), Ok(_)) => metrics.appends.inc(),
                (Work::Prune { .. } | Work::Flush, Ok(_)) => continue,
            };
        }
        Ok(verdicts)
    }

    fn tidy(&self, pruned: bool) -> rusqlite::Result<()> {
        if pruned {
            let free: i64 = pragma(&self.connection, "freelist_count")?;
            let release = (free - SPARE_PAGES).min(RELEASE_PAGES);
            if release > 0 {
                drain(&self.connection, &format!("PRAGMA incremental_vacuum({release})"))?;
            }
        }
        let length = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        if length > LOG_BYTES {
            drain(&self.connection, "PRAGMA wal_checkpoint(TRUNCATE)")?;
        }
        Ok(())
    }
}

/// The names of the records that a batch holds.
fn names(batch: &[Call]) -> impl Iterator<Item = &'static str> {
    let rows = batch.iter().filter_map(|call| match &call.work {
        Work::Append(rows) => Some(rows),
        Work::Prune { .. } | Work::Flush => None,
    });
    rows.flat_map(Rows::names)
}

/// Does one call's work, or passes on a refusal that the operation has not been told of.
fn step(
    connection: &Connection,
    refused: &mut HashMap<OperationId, Error>,
    call: &Call,
    room: Room,
) -> rusqlite::Result<Verdict> {
    let rows = match &call.work {
        Work::Prune { now, before } => return write::prune(connection, *now, *before).map(Ok),
        Work::Flush => return Ok(Ok(0)),
        Work::Append(rows) => rows,
    };
    let (operation, awaited) = (rows.operation, call.reply.is_some());
    if let Some(error) = refused.get(&operation).cloned() {
        if awaited {
            refused.remove(&operation);
        }
        return Ok(Err(error));
    }
    let appended = write::append(connection, rows, room)?;
    if let (false, Err(error)) = (awaited, &appended) {
        refused.insert(operation, error.clone());
    }
    Ok(appended.map(|()| 0))
}

fn answer(batch: Vec<Call>, verdicts: Vec<Verdict>) {
    for (call, verdict) in batch.into_iter().zip(verdicts) {
        if let Some(reply) = call.reply {
            // A caller that is gone has left its entries behind all the same.
            drop(reply.send(verdict));
        }
    }
}

/// What the bound bounds: pages in use, since free ones will be used again.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: i64 = pragma(connection, "page_count")?;
    let free: i64 = pragma(connection, "freelist_count")?;
    let size: i64 = pragma(connection, "page_size")?;
    Ok(u64::try_from((pages - free).saturating_mul(size)).unwrap_or(0))
}
