//! The writer's task: batches, commits, answers, and what to do where an answer is lost.
//!
//! Its order is what the product's promises rest on: write, commit, and only then answer. A cut
//! connection breaks nothing: it connects again, reads how far its commits came, and goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::super::Error;
use super::super::row::Rows;
use super::OpenOptions;
use super::connect::{Connector, Problem, failed, told};
use super::lease::Lease;
use super::write::{Failure, Outcome, Session, Verdict};
use crate::model::{Backoff, OperationId};

/// Most calls in one transaction. Enough to share one sync of the disk among all that arrive while
/// the one before it takes its milliseconds.
const BATCH: usize = 256;

/// How long an enqueued call may wait for another to commit with.
const IDLE: Duration = Duration::from_millis(20);

/// Operations whose enqueued call was refused and whose next append has not come. No saga enqueues a
/// record that binds an id, so a thousand at once are a fault, not a load.
const REFUSED: usize = 1024;

/// One thing to write, and who waits for it.
#[derive(Debug)]
pub(super) struct Call {
    /// None where only its turn is waited for.
    pub(super) rows: Option<Rows>,
    pub(super) reply: Option<oneshot::Sender<Verdict>>,
}

/// The task's state.
pub(super) struct Writer {
    pub(super) connector: Connector,
    pub(super) options: Arc<OpenOptions>,
    pub(super) lease: Arc<Lease>,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) session: Option<Session>,
    /// Commits of this epoch that are known to be durable.
    pub(super) committed: i64,
    /// Refusals that nobody has been told of yet.
    pub(super) refused: HashMap<OperationId, Error>,
}

impl Writer {
    /// Works until all senders are gone and the queue is empty.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            let verdicts = self.perform(&batch).await;
            self.count(&verdicts);
            for (call, verdict) in batch.into_iter().zip(verdicts) {
                if let Some(reply) = call.reply {
                    // A caller that is gone has left its entries behind all the same.
                    drop(reply.send(verdict));
                }
            }
        }
    }

    /// All that is queued, at most [`BATCH`]; waits for company only while nobody waits for it.
    async fn next_batch(&mut self) -> Option<Vec<Call>> {
        let first = self.calls.recv().await?;
        let due = Instant::now() + IDLE;
        let mut awaited = first.reply.is_some();
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let next = if awaited {
                self.calls.try_recv().ok()
            } else {
                tokio::time::timeout_at(due, self.calls.recv()).await.ok().flatten()
            };
            let Some(call) = next else { break };
            awaited |= call.reply.is_some();
            batch.push(call);
        }
        let metrics = &self.options.metrics;
        metrics.queue_depth.dec_by(i64::try_from(batch.len()).unwrap_or(i64::MAX));
        Some(batch)
    }

    /// One verdict for each call. All go together; where one is refused, each goes alone.
    async fn perform(&mut self, batch: &[Call]) -> Vec<Verdict> {
        let all: Vec<&Rows> = batch.iter().filter_map(|call| call.rows.as_ref()).collect();
        let together = all.iter().all(|rows| !self.refused.contains_key(&rows.operation));
        if together && batch.len() > 1 {
            match self.write(&all).await {
                Ok(Outcome::Committed) => return vec![Ok(()); batch.len()],
                Ok(Outcome::Refused(_)) => {}
                Ok(Outcome::Fenced) => return vec![Err(self.lease.lost()); batch.len()],
                Err(error) => return vec![Err(error); batch.len()],
            }
        }
        let mut verdicts = Vec::with_capacity(batch.len());
        for Call { rows, reply } in batch {
            verdicts.push(self.perform_alone(rows.as_ref(), reply.is_some()).await);
        }
        verdicts
    }

    /// Does one call's work, or passes on a refusal that the operation has not been told of.
    async fn perform_alone(&mut self, rows: Option<&Rows>, awaited: bool) -> Verdict {
        let told = rows.and_then(|rows| self.refused.get(&rows.operation).cloned());
        if let (Some(rows), Some(error)) = (rows, told) {
            if awaited {
                self.refused.remove(&rows.operation);
            }
            return Err(error);
        }
        let verdict = match self.write(rows.as_slice()).await {
            Ok(Outcome::Committed) => Ok(()),
            Ok(Outcome::Refused(mut verdicts)) => verdicts.pop().unwrap_or(Ok(())),
            Ok(Outcome::Fenced) => return Err(self.lease.lost()),
            Err(error) => return Err(error),
        };
        if let (Some(rows), false, Err(error)) = (rows, awaited, &verdict) {
            self.refused.insert(rows.operation, error.clone());
            if self.refused.len() > REFUSED {
                return Err(self.lease.broken("too many enqueued records were refused".into()));
            }
        }
        verdict
    }

    /// Tries until it is known what became of `calls`. The error is that of all that comes.
    async fn write(&mut self, calls: &[&Rows]) -> Result<Outcome, Error> {
        let backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut in_doubt = false;
        for attempt in 0.. {
            // What may be durable is looked for first, also after a take-over.
            match self.lease.check() {
                Err(Error::Fenced) if in_doubt => {}
                checked => checked?,
            }
            if self.session.is_none() {
                match self.connect().await? {
                    Some(found) if in_doubt && found == self.committed + 1 => {
                        self.committed = found;
                        return Ok(Outcome::Committed);
                    }
                    Some(found) if found == self.committed => in_doubt = false,
                    Some(found) => return Err(self.lease.broken(lost(self.committed, found))),
                    None => {}
                }
            }
            if self.session.is_some()
                && let Some(outcome) = self.attempt(calls, &mut in_doubt).await?
            {
                self.lease.set_down(false);
                return Ok(outcome);
            }
            tokio::time::sleep(backoff.delay(attempt, fastrand::u64(..))).await;
        }
        Err(self.lease.broken("out of attempts".into()))
    }

    /// One attempt; `None` where there was no answer.
    async fn attempt(
        &mut self,
        calls: &[&Rows],
        in_doubt: &mut bool,
    ) -> Result<Option<Outcome>, Error> {
        let Some(session) = &self.session else { return Ok(None) };
        let metrics = &self.options.metrics;
        let max_bytes = self.options.max_bytes();
        let full = (metrics.bytes.get() >= max_bytes).then_some(max_bytes);
        let started = Instant::now();
        let write = session.write(self.lease.identity, self.committed + 1, calls, full);
        let failure = match tokio::time::timeout(self.options.statement_timeout, write).await {
            Ok(Ok(outcome)) => {
                if matches!(outcome, Outcome::Committed) {
                    self.committed += 1;
                    metrics.commits.inc();
                    metrics.commit_latency.observe(started.elapsed().as_secs_f64());
                    let size = u32::try_from(calls.len()).unwrap_or(u32::MAX);
                    metrics.batch_size.observe(f64::from(size));
                }
                return Ok(Some(outcome));
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::InDoubt("no answer within statement_timeout".into()),
        };
        // Whatever it was, the next attempt begins with a look at how far the commits came.
        self.session = None;
        match failure {
            Failure::Nothing(error) if !may_pass(&error) => {
                return Err(self.lease.broken(told(&error)));
            }
            Failure::Nothing(error) => {
                tracing::warn!(error = told(&error), "the journal's write failed; tried again");
            }
            Failure::InDoubt(why) => {
                *in_doubt = true;
                tracing::warn!(why, "a commit of the journal was not answered; asking for it");
            }
        }
        Ok(None)
    }

    /// Connects anew; gives how many commits of this epoch the server has, or `None` where there
    /// is no connection yet.
    async fn connect(&mut self) -> Result<Option<i64>, Error> {
        let connected = async {
            let session = Session::prepare(self.connector.connect().await?).await?;
            let found = self.commits(&session).await?;
            Ok::<_, Problem>((session, found))
        };
        match connected.await {
            Ok((session, Some(found))) => {
                self.session = Some(session);
                Ok(Some(found))
            }
            Ok((_, None)) => Err(self.lease.broken(
                "the database doesn't know this process any more: it fell back to a state before \
                 its start"
                    .into(),
            )),
            Err(problem) => {
                if !self.lease.is_down() {
                    tracing::error!(%problem, "the journal can't be reached; trying on");
                }
                self.lease.set_down(true);
                Ok(None)
            }
        }
    }

    /// How many commits there are. The update waits for one that is under way in an earlier
    /// connection, and its own commit, where there are synchronous standbys, for their having both.
    async fn commits(&self, session: &Session) -> Result<Option<i64>, Problem> {
        let query = "UPDATE writers SET batch = writers.batch FROM replicas r \
                     WHERE writers.epoch = $1 AND r.epoch = $1 AND r.token = $2 \
                     RETURNING writers.batch";
        let identity = self.lease.identity;
        let asked = async {
            let client = &session.link.client;
            client.query_opt(query, &[&identity.epoch, &identity.token]).await.map_err(failed)
        };
        let late = |_| Problem::Unreachable("no answer within statement_timeout".into());
        let found = tokio::time::timeout(self.options.statement_timeout, asked).await;
        Ok(found.map_err(late)??.map(|row| row.get(0)))
    }

    fn count(&self, verdicts: &[Verdict]) {
        let metrics = &self.options.metrics;
        for verdict in verdicts {
            if verdict.is_ok() {
                metrics.appends.inc()
            } else {
                metrics.refusals.inc()
            };
        }
    }
}

/// Why a server whose count of commits is not ours can't be gone on with.
fn lost(known: i64, found: i64) -> String {
    format!(
        "the database holds {found} commits of this process, and acknowledged {known}: it fell \
         back to an earlier state, as after a failover to a standby that was not synchronous; \
         acknowledged records are lost, so reconcile the service and the back end"
    )
}

/// Whether a statement that failed with this may succeed later.
fn may_pass(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        // Of the connection; and not of a value that fits no column.
        let source = std::error::Error::source(error);
        return error.is_closed()
            || source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    };
    let passing = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::IN_FAILED_SQL_TRANSACTION,
    ];
    // Connections, deadlocks, resources, locks, interventions, the disk.
    let classes = ["08", "40", "53", "55", "57", "58"];
    passing.contains(code) || classes.iter().any(|class| code.code().starts_with(class))
}
