//! The writer's side of the database, and what to do where an answer is lost.
//!
//! A cut connection breaks nothing: it connects again, reads how far its commits came, and goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::super::row::Rows;
use super::super::writer::{Store, Verdict};
use super::super::{Error, OpenOptions};
use super::connect::{Connector, Problem, failed, told};
use super::lease::Lease;
use super::write::{Failure, Outcome, Session};
use crate::model::Backoff;

/// What the writer's task has.
pub(super) struct PostgresStore {
    pub(super) connector: Connector,
    pub(super) options: Arc<OpenOptions>,
    pub(super) lease: Arc<Lease>,
    pub(super) session: Option<Session>,
    /// Commits of this epoch that are known to be durable.
    pub(super) committed: i64,
}

impl Store for PostgresStore {
    /// All go together; where one is refused, each goes alone.
    async fn write(&mut self, calls: &[&Rows]) -> Result<Vec<Verdict>, Error> {
        if calls.len() > 1 && matches!(self.commit(calls).await?, Outcome::Committed) {
            return Ok(vec![Ok(()); calls.len()]);
        }
        let mut verdicts = Vec::with_capacity(calls.len());
        for call in calls {
            verdicts.push(match self.commit(std::slice::from_ref(call)).await {
                Ok(Outcome::Committed) => Ok(()),
                Ok(Outcome::Refused(error)) | Err(error) => Err(error),
                Ok(Outcome::Fenced) => Err(self.lease.lost()),
            });
        }
        Ok(verdicts)
    }
}

impl PostgresStore {
    /// Tries until it is known what became of `calls`. The error is that of all that comes.
    async fn commit(&mut self, calls: &[&Rows]) -> Result<Outcome, Error> {
        let backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut in_doubt = false;
        for attempt in 0.. {
            // What may be durable is looked for first, also after a take-over.
            match self.lease.standing.check() {
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
                    Some(found) => {
                        return Err(self.lease.standing.broken(lost(self.committed, found)));
                    }
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
        Err(self.lease.standing.broken("out of attempts".into()))
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
        let began = Instant::now();
        let write = session.write(self.lease.identity, self.committed + 1, calls, full);
        let failure =
            match tokio::time::timeout(self.options.postgres.statement_timeout.0, write).await {
                Ok(Ok(outcome)) => {
                    if matches!(outcome, Outcome::Committed) {
                        self.committed += 1;
                        metrics.committed(began, calls.len());
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
                return Err(self.lease.standing.broken(told(&error)));
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
            Ok((_, None)) => Err(self.lease.standing.broken(
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
        let found = tokio::time::timeout(self.options.postgres.statement_timeout.0, asked).await;
        Ok(found.map_err(late)??.map(|row| row.get(0)))
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
