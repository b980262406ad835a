//! The one writer of a journal, and the bounded queue to it.
//!
//! Its order is what the product's promises rest on: write, commit, and only then answer. Whatever has
//! queued up meanwhile is written in one transaction (group commit): under load many calls share one wait
//! for the disk, and nobody waits for a timer.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::encoded::Encoded;
use super::standing::Standing;
use super::{Append, Error, Metrics};
use crate::model::Timestamp;

/// Most calls in one transaction. Enough to share one sync of the disk among all that arrive while the one
/// before it takes its milliseconds; small enough (some hundred pages) that the first call of a batch does
/// not wait for long on account of the last.
const BATCH: usize = 256;

/// Nothing, or why nothing was written.
pub(super) type Verdict = Result<(), Error>;

/// Where a writer writes.
pub(super) trait Store {
    /// Writes `calls`, as far as they are not refused, and returns once that is durable. The error is that
    /// of all of them.
    async fn write(&mut self, calls: &[&Encoded]) -> Result<Vec<Verdict>, Error>;

    /// Forgets some operations; returns how many.
    async fn prune(&mut self, now: Timestamp, before: Timestamp) -> Result<usize, Error>;

    /// Does what need not be done before the answers.
    fn rest(&mut self) {}
}

#[derive(Debug)]
enum Call {
    Append(Encoded, oneshot::Sender<Verdict>),
    Prune(Timestamp, Timestamp, oneshot::Sender<Result<usize, Error>>),
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    calls: mpsc::Sender<Call>,
    standing: Arc<Standing>,
    metrics: Metrics,
}

impl Queue {
    /// A queue of at most `length` calls, and its writer.
    pub(super) fn new<S: Store>(
        length: u32,
        store: S,
        standing: Arc<Standing>,
        metrics: Metrics,
    ) -> (Self, Writer<S>) {
        let length = usize::try_from(length.max(1)).unwrap_or(usize::MAX);
        let (calls, queued) = mpsc::channel(length.min(tokio::sync::Semaphore::MAX_PERMITS));
        let writer = Writer { store, calls: queued, metrics: metrics.clone() };
        (Self { calls, standing, metrics }, writer)
    }

    /// Appends, and waits until that is durable. It is encoded here, on the caller's thread, so that the
    /// writer's is for the disk.
    pub(super) async fn append(&self, append: Append) -> Verdict {
        // Somebody waits for what begins, and nothing has been sent yet.
        if append.begins {
            self.standing.check_reachable()?;
        }
        let unwritable =
            |error| self.standing.broken(format!("a record can't be written: {error}"));
        let call = Encoded::new(append).map_err(unwritable)?;
        let (reply, answer) = oneshot::channel();
        self.send(Call::Append(call, reply)).await?;
        // A writer that died with the call in hand may have committed it.
        answer.await.unwrap_or_else(|_| Err(Error::Unknown("the writer has died".into())))
    }

    /// Forgets some operations, in its turn; returns how many.
    pub(super) async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Call::Prune(now, before, reply)).await?;
        answer.await.unwrap_or_else(|_| Err(Error::Broken("the writer has died".into())))
    }

    /// Hands a call to the writer; waits for room only.
    async fn send(&self, call: Call) -> Result<(), Error> {
        let stopped = || Error::Broken("the writer has stopped".into());
        let room = self.calls.reserve().await.map_err(|_| stopped())?;
        self.standing.check()?;
        self.metrics.queue_depth.inc();
        room.send(call);
        Ok(())
    }
}

/// The writer itself.
pub(super) struct Writer<S> {
    store: S,
    calls: mpsc::Receiver<Call>,
    metrics: Metrics,
}

impl<S: Store> Writer<S> {
    /// Works until all senders are gone and the queue is empty.
    pub(super) async fn run(mut self) {
        let mut calls = Vec::new();
        while self.calls.recv_many(&mut calls, BATCH).await > 0 {
            self.metrics.queue_depth.dec_by(i64::try_from(calls.len()).unwrap_or(i64::MAX));
            let (mut batch, mut prunes) = (Vec::new(), Vec::new());
            for call in calls.drain(..) {
                match call {
                    Call::Append(call, reply) => batch.push((call, reply)),
                    Call::Prune(now, before, reply) => prunes.push((now, before, reply)),
                }
            }
            if !batch.is_empty() {
                self.write(batch).await;
            }
            for (now, before, reply) in prunes {
                drop(reply.send(self.store.prune(now, before).await));
            }
            self.store.rest();
        }
    }

    async fn write(&mut self, batch: Vec<(Encoded, oneshot::Sender<Verdict>)>) {
        let calls: Vec<&Encoded> = batch.iter().map(|(call, _)| call).collect();
        let written = self.store.write(&calls).await;
        let verdicts = written.unwrap_or_else(|error| vec![Err(error); batch.len()]);
        for ((_, reply), verdict) in batch.into_iter().zip(verdicts) {
            let counter =
                if verdict.is_ok() { &self.metrics.appends } else { &self.metrics.refusals };
            counter.inc();
            // A caller that is gone has left its entries behind all the same.
            drop(reply.send(verdict));
        }
    }
}

impl Metrics {
    /// Counts a transaction of so many calls that began then and is durable now.
    pub(super) fn committed(&self, began: Instant, calls: usize) {
        self.commits.inc();
        self.commit_latency.observe(began.elapsed().as_secs_f64());
        self.batch_size.observe(f64::from(u32::try_from(calls).unwrap_or(u32::MAX)));
    }
}
