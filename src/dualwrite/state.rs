//! The saga as one total function: operation × event → what to record. Pure.
//!
//! [`next`] says what an operation needs; the runner does it and feeds what it saw to [`on`],
//! which says which record that makes. The runner appends it and, once it is durable, takes it into the
//! operation. What the client may get follows from where the operation stands then.
//! Nothing here performs I/O or reads a clock.

mod late;
mod on;

use std::collections::BTreeSet;
use std::time::Duration;

pub use self::late::{STALE, evidence};
pub use self::on::on;
use super::operation::{Operation, Phase};
use super::outcome::{CreateOutcome, DeleteOutcome};
use super::rows::Verdict;
use super::settle::{registered, until};
use crate::model::{Bounds, Late, Order, ResourceId, Timestamp, UndoReason};

/// Something that was seen.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The exchange of a create is over.
    CreateAnswered(CreateOutcome),
    /// The exchange of a delete is over.
    DeleteAnswered(DeleteOutcome),
    /// The back end acknowledged the registration; an earlier attempt may land late.
    Acknowledged {
        /// Whether one may.
        ambiguous: bool,
    },
    /// The registration will not be tried again; an attempt may land late.
    NotAcknowledged {
        /// Why it failed.
        reason: UndoReason,
        /// Whether one may.
        ambiguous: bool,
    },
    /// Another operation holds the id that the service answered.
    Taken {
        /// The id.
        id: ResourceId,
        /// Whether that operation removes the row.
        condemned: bool,
    },
    /// What was learnt of it too late: by a process that no longer owns it, or from an answer after its time-out.
    Evidence(Late),
    /// The process that ran the operation is gone.
    Restarted,
    /// The probe of an unknown create was judged; it was sent at the given time.
    Probed(Verdict, Timestamp),
    /// The outcome of a create was unknown for as long as it may be.
    Expired,
    /// The operation's rows were looked at.
    Settled(Settled),
    /// A person has to decide on the row that is undone, for this reason.
    GivenUp(String),
    /// The back end acknowledged the deregistration of these.
    Deregistered(BTreeSet<ResourceId>),
    /// A person gave an order.
    Ordered(Order),
}

/// What the rows of an operation turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The rows that are proven gone.
    pub gone: BTreeSet<ResourceId>,
    /// Whether nothing is left to ask: each of the others is proven to stand.
    pub over: bool,
}

/// What an operation needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Nothing, by itself: the request is under way, an operator has to decide, or it ended.
    Nothing,
    /// Nothing before this time.
    Wait(Timestamp),
    /// Report [`Event::Expired`].
    Expire,
    /// An attempt at this.
    Make(Call),
}

/// What is asked of the service or the back end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Look for rows that may be this create's.
    Probe,
    /// Ask which of the operation's rows are there; remove the one that is undone.
    Settle,
    /// Deregister these.
    Deregister(BTreeSet<ResourceId>),
}

/// What the rule and the journal allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// L, λ and the others.
    pub bounds: Bounds,
    /// How far the times of two processes on the journal may be apart: a time that one recorded is compared with
    /// another's clock with this margin. Zero where one process has the journal to itself.
    pub apart: Duration,
}

impl Policy {
    /// For how long a read may not show yet what the service has done: λ, by the clock of any process.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.bounds.read_lag + self.apart
    }
}

/// What `operation` needs at `now`.
#[must_use]
pub fn next(operation: &Operation, now: Timestamp, policy: &Policy) -> Task {
    match &operation.phase {
        Phase::Prepared | Phase::Committed | Phase::Finished(_) => Task::Nothing,
        // Reported ones are looked at again: the operation ends once a person removed the row.
        Phase::Reported(_) if operation.bound.is_none() => {
            if operation.may_be_looked_at() {
                Task::Make(Call::Probe)
            } else {
                Task::Nothing
            }
        }
        // One that would not be undone anyway is not looked for.
        Phase::Unknown if !operation.is_enforced() => Task::Expire,
        Phase::Unknown if now >= expires(operation, policy) => Task::Expire,
        Phase::Unknown => Task::Make(Call::Probe),
        // A reported create that holds a row may be registered; that registration is removed once the row is gone.
        Phase::Registered
        | Phase::Passed
        | Phase::Undoing(_)
        | Phase::Looking
        | Phase::Reported(_) => {
            let left: BTreeSet<_> =
                operation.gone.difference(&operation.deregistered).cloned().collect();
            match registered(operation, policy) {
                _ if left.is_empty() => Task::Make(Call::Settle),
                // What lands after the deregistration would stay.
                Some(end) if now < end => Task::Wait(end),
                _ => Task::Make(Call::Deregister(left)),
            }
        }
    }
}

/// When an unknown create stops being looked for.
fn expires(operation: &Operation, policy: &Policy) -> Timestamp {
    let closed = operation.closed.map_or(operation.intent, |closed| closed.at);
    let end = until(operation, policy).unwrap_or(closed);
    end.max(closed.plus(policy.bounds.unresolved))
}

/// How long to wait before asking again about something that nobody announces: often at first,
/// since a service that commits after its answer is late by milliseconds, then ever more rarely,
/// and once more right after `end`.
#[must_use]
pub fn poll_delay(round: u32, now: Timestamp, end: Timestamp, policy: &Policy) -> Duration {
    let doubled = Duration::from_millis(25) * 2_u32.saturating_pow(round.min(16));
    let capped = doubled.min(policy.bounds.late_effect / 8).max(Duration::from_millis(5));
    let left = end.since(now);
    if left.is_zero() { capped } else { capped.min(left + Duration::from_millis(1)) }
}

#[cfg(test)]
mod tests;
