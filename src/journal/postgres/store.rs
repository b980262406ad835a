//! The writer's side of the database, and what to do where an answer is lost.
//!
//! A cut connection breaks nothing: it connects again, reads how far its commits came, and goes on.
//! COMMIT is sent only once all else was answered. So a transaction whose COMMIT is under way holds the lock on its
//! row of `writers`, and a process that gets that lock later knows what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use super::super::encoded::{Encoded, names};
use super::super::problem::Problem;
use super::super::sql::{self, Sql, Value};
use super::super::writer::{Store, Verdict};
use super::super::{Error, Metrics};
use super::connect::{Connector, told};
use super::lease::{Identity, Lease};
use super::link::Link;
use crate::failpoint;
use crate::model::{Backoff, Timestamp};

/// What the writer's task has.
pub(super) struct PostgresStore {
    pub(super) connector: Connector,
    pub(super) lease: Arc<Lease>,
    pub(super) link: Option<Link>,
    /// Commits of this epoch that are known to be durable.
    pub(super) committed: i64,
    pub(super) max_bytes: u64,
    /// How long each step may take.
    pub(super) timeout: Duration,
    pub(super) metrics: Metrics,
}

/// Why a transaction was not committed, for all that is known.
enum Failure {
    /// Nothing was written, and nothing will be.
    Final(Error),
    /// Nothing was written.
    Nothing(String),
    /// COMMIT left and was not answered well. If it took place, this became of the calls.
    InDoubt(String, Vec<Verdict>),
}

/// KEY SHARE goes together with a renewal, and not with a take-over, which waits for it.
const FENCE: &str =
    "SELECT epoch FROM replicas WHERE epoch = $1 AND token = $2 AND NOT dead FOR KEY SHARE";

const COUNT: &str =
    "UPDATE writers SET batch = batch + 1 WHERE epoch = $1 AND batch + 1 = $2 RETURNING batch";

/// How many commits there are. The update waits for one that is under way in an earlier connection, and its own
/// commit, where there are synchronous standbys, for their having both.
const COMMITS: &str = "UPDATE writers SET batch = writers.batch FROM replicas r \
     WHERE writers.epoch = $1 AND r.epoch = $1 AND r.token = $2 RETURNING writers.batch";

/// Held by the one replica that forgets: `AuSd` in ASCII, next to the schema's.
const PRUNE_LOCK: &str = "SELECT 0::bigint WHERE pg_try_advisory_xact_lock(1098208100)";

/// Replicas that died long ago; a replica without a row counts as dead.
const FORGET_REPLICAS: &str = "WITH gone AS ( \
         DELETE FROM replicas WHERE dead AND lease_until < clock_timestamp() - interval '1 day' \
         RETURNING epoch) \
     DELETE FROM writers USING gone WHERE writers.epoch = gone.epoch";

impl Store for PostgresStore {
    /// Tries until it is known what became of `calls`.
    async fn write(&mut self, calls: &[&Encoded]) -> Result<Vec<Verdict>, Error> {
        let backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut doubted = None;
        for attempt in 0.. {
            // What may be durable is looked for first, also after a take-over.
            match self.lease.standing.check() {
                Err(Error::Fenced) if doubted.is_some() => {}
                checked => checked?,
            }
            if self.link.is_none()
                && let Some(found) = self.connect().await?
            {
                match doubted.take() {
                    Some(verdicts) if found == self.committed + 1 => {
                        self.committed = found;
                        return Ok(verdicts);
                    }
                    _ if found == self.committed => {}
                    _ => return Err(self.lease.standing.broken(lost(self.committed, found))),
                }
            }
            if let Some(link) = self.link.take() {
                match self.transaction(&link, calls).await {
                    Ok(verdicts) => {
                        self.link = Some(link);
                        self.committed += 1;
                        return Ok(verdicts);
                    }
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Nothing(why)) => {
                        tracing::warn!(why, "the journal's write failed; tried again");
                    }
                    Err(Failure::InDoubt(why, verdicts)) => {
                        doubted = Some(verdicts);
                        tracing::warn!(
                            why,
                            "a commit of the journal was not answered; asking for it"
                        );
                    }
                }
            }
            tokio::time::sleep(backoff.delay(attempt, fastrand::u64(..))).await;
        }
        Err(self.lease.standing.broken("out of attempts".into()))
    }

    /// None where another replica is at it.
    async fn prune(&mut self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        self.lease.standing.check()?;
        let unavailable = || Error::Unavailable("there is no connection".into());
        let link = self.link.take().ok_or_else(unavailable)?;
        let pruned = async {
            link.client.batch_execute("BEGIN").await?;
            let mut forgotten = 0;
            if !link.run(PRUNE_LOCK, &[]).await?.is_empty() {
                forgotten = sql::prune(&link, now, before).await?;
                link.client.batch_execute(FORGET_REPLICAS).await?;
            }
            link.client.batch_execute("COMMIT").await?;
            Ok(forgotten)
        };
        let forgotten = within(self.timeout, pruned).await;
        let forgotten = forgotten.map_err(|(why, _)| Error::Unavailable(why))?;
        self.link = Some(link);
        Ok(forgotten)
    }
}

impl PostgresStore {
    /// One attempt.
    async fn transaction(&self, link: &Link, calls: &[&Encoded]) -> Result<Vec<Verdict>, Failure> {
        let began = Instant::now();
        let Identity { epoch, token } = self.lease.identity;
        let full = (self.metrics.bytes.get() >= self.max_bytes).then_some(self.max_bytes);
        failpoint::records("before", names(calls));
        let (fence, count) = (
            [Value::Number(epoch), Value::Id(token)],
            [epoch, self.committed + 1].map(Value::Number),
        );
        let written = async {
            tokio::try_join!(
                biased;
                link.client.batch_execute("BEGIN"),
                link.run(FENCE, &fence),
                link.run(COUNT, &count),
                append(link, epoch, calls, full),
            )
        };
        let written = within(self.timeout, written).await;
        let ((), fence, counted, verdicts) = written.map_err(|(why, may_pass)| {
            if may_pass {
                Failure::Nothing(why)
            } else {
                Failure::Final(self.lease.standing.broken(why))
            }
        })?;
        if fence.is_empty() {
            return Err(Failure::Final(self.lease.lost()));
        }
        if counted.is_empty() {
            // A server that has forgotten commits is found out when it is asked for them.
            return Err(Failure::Nothing("the count of commits differs".into()));
        }
        failpoint::records("written", names(calls));
        let committed = within(self.timeout, link.client.batch_execute("COMMIT")).await;
        if let Err((why, _)) = committed {
            return Err(Failure::InDoubt(why, verdicts));
        }
        failpoint::records("committed", names(calls));
        self.metrics.committed(began, calls.len());
        Ok(verdicts)
    }

    /// Connects anew; gives how many commits of this epoch the server has, or `None` where there
    /// is no connection yet.
    async fn connect(&mut self) -> Result<Option<i64>, Error> {
        let Identity { epoch, token } = self.lease.identity;
        let connected = async {
            let link = self.connector.connect().await?;
            let asked = async {
                for statement in sql::WRITES {
                    link.prepare(statement).await?;
                }
                link.run(COMMITS, &[Value::Number(epoch), Value::Id(token)]).await
            };
            let found = within(self.timeout, asked).await;
            let found = found.map_err(|(why, _)| Problem::unreachable(why))?;
            Ok::<_, Problem>((link, found))
        };
        let connected = connected.await;
        let was_known = self.lease.standing.set_unreachable(connected.is_err());
        match connected {
            Ok((link, found)) => {
                let Some([Value::Number(found)]) = found.first().map(Vec::as_slice) else {
                    let why = "the database doesn't know this process any more: it fell back to a \
                               state before its start";
                    return Err(self.lease.standing.broken(why.into()));
                };
                self.link = Some(link);
                Ok(Some(*found))
            }
            Err(problem) => {
                if !was_known {
                    tracing::error!(%problem, "the journal can't be reached; trying on");
                }
                Ok(None)
            }
        }
    }
}

/// Appends all calls: those of one operation in their order, all others at once.
async fn append(
    link: &Link,
    epoch: i64,
    calls: &[&Encoded],
    full: Option<u64>,
) -> Result<Vec<Verdict>, tokio_postgres::Error> {
    let mut operations = BTreeMap::<_, Vec<_>>::new();
    for (at, call) in calls.iter().enumerate() {
        operations.entry(call.operation).or_default().push((at, *call));
    }
    let append = async |calls: Vec<(usize, &Encoded)>| {
        let mut verdicts = Vec::with_capacity(calls.len());
        for (at, call) in calls {
            verdicts.push((at, sql::append(link, epoch, call, full).await?));
        }
        Ok(verdicts)
    };
    let verdicts: Vec<Vec<_>> = try_join_all(operations.into_values().map(append)).await?;
    let verdicts: BTreeMap<usize, Verdict> = verdicts.into_iter().flatten().collect();
    Ok(verdicts.into_values().collect())
}

/// What came within `limit`; else why not, and whether that may pass.
async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, (String, bool)> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| (told(&error), may_pass(&error))),
        Err(_) => Err(("no answer within statement_timeout".into(), true)),
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
