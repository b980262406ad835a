//! This process's lease, and whether the journal still takes anything from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::super::Error;
use super::super::clock::JournalClock;
use super::super::machine::host;
use super::super::machine::uptime;
use super::super::problem::Problem;
use super::super::standing::Standing;
use super::link::Link;

/// The database's time in microseconds since 1970, for a statement.
macro_rules! database_time {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}
pub(super) use database_time;

/// Who this process is to the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) epoch: i64,
    pub(super) token: Uuid,
}

/// What is known here of the lease. Only the database decides whether it has been lost.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) identity: Identity,
    pub(super) length: Duration,
    /// The time by which leases are given.
    pub(super) clock: Arc<JournalClock>,
    /// Until when, by [`uptime`], it holds for certain; in nanoseconds.
    certain_until: AtomicU64,
    /// Whether entries are accepted.
    pub(super) standing: Arc<Standing>,
}

impl Lease {
    /// A lease that was asked for at `asked`.
    pub(super) fn new(identity: Identity, length: Duration, asked: Duration) -> Self {
        let lease = Self {
            identity,
            length,
            clock: Arc::default(),
            certain_until: AtomicU64::new(0),
            standing: Arc::default(),
        };
        lease.renewed(asked);
        lease
    }

    /// It was renewed; the question left at `asked`, so it holds at least a length from then. A
    /// sixth is left for what is between a check and its effect.
    pub(super) fn renewed(&self, asked: Duration) {
        let until = nanoseconds(asked + self.length * 5 / 6);
        self.certain_until.fetch_max(until, Ordering::AcqRel);
    }

    /// Another replica has taken over.
    pub(super) fn lost(&self) -> Error {
        if self.standing.fence() {
            tracing::error!(
                epoch = self.identity.epoch,
                "the lease is lost: another replica carries on what was unfinished here; this \
                 process takes no intercepted request until a restart"
            );
        }
        Error::Fenced
    }

    /// Whether an effect may leave.
    pub(super) fn may_act(&self) -> Result<(), Error> {
        self.standing.check()?;
        if nanoseconds(uptime()) < self.certain_until.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::Unavailable("the lease may have run out (journal.postgres.lease)".into()))
    }
}

/// Begins an epoch.
pub(super) async fn begin(link: &Link, length: Duration) -> Result<Lease, Problem> {
    let query = concat!(
        "WITH begun AS ( \
             INSERT INTO replicas (token, name, lease, lease_until) \
             SELECT $1, $2, lease, clock_timestamp() + lease \
             FROM (SELECT $3 * interval '1 microsecond') AS of(lease) RETURNING epoch) \
         INSERT INTO writers (epoch, batch) SELECT epoch, 0 FROM begun RETURNING epoch, ",
        database_time!()
    );
    let (token, name) = (Uuid::now_v7(), host());
    let asked = uptime();
    let row = link.client.query_one(query, &[&token, &name, &micros(length)]).await?;
    let (epoch, time): (i64, i64) = (row.get(0), row.get(1));
    let lease = Lease::new(Identity { epoch, token }, length, asked);
    if !lease.clock.measure(asked, time) {
        let what = "the server took more than a second to answer, so that its time is not known";
        return Err(Problem::unreachable(what));
    }
    tracing::info!(epoch, name, "the journal's lease begins");
    Ok(lease)
}

/// A duration for `* interval '1 microsecond'`.
pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(asked: Duration) -> Lease {
        let identity = Identity { epoch: 1, token: Uuid::nil() };
        Lease::new(identity, Duration::from_secs(6), asked)
    }

    #[test]
    fn a_lease_holds_from_when_it_was_asked_for_less_a_margin() {
        let now = uptime();
        let ago = |seconds| now.saturating_sub(Duration::from_secs(seconds));
        assert!(now > Duration::from_secs(10), "the machine has just started");
        assert_eq!(lease(ago(4)).may_act(), Ok(()));
        let old = lease(ago(5));
        assert!(matches!(old.may_act(), Err(Error::Unavailable(_))));
        old.renewed(ago(1));
        assert_eq!(old.may_act(), Ok(()));
    }

    #[test]
    fn a_lost_lease_is_lost_for_good() {
        let lease = lease(uptime());
        lease.lost();
        lease.renewed(uptime());
        assert_eq!(
            (lease.may_act(), lease.standing.check()),
            (Err(Error::Fenced), Err(Error::Fenced))
        );
    }
}
