//! The saga as one total function: operation × event → what to record, what to answer. Pure.
//!
//! [`next`] says what an operation needs; the runner does it and feeds what it saw to [`on`],
//! which says which records that makes. The runner appends them and, once they are as durable as
//! [`Transition::wait`] demands, takes them into the operation and acts on its reply.
//! Nothing here performs I/O or reads a clock.

mod late;
mod on;

use std::collections::BTreeSet;
use std::time::Duration;

pub use self::late::{evidence, legacy};
pub use self::on::on;
use super::operation::{Operation, Phase, Step};
use super::outcome::{CreateOutcome, DeleteOutcome};
use super::rows::Verdict;
use crate::model::{Bounds, Late, Order, Record, Resource, ResourceId, Timestamp, UndoReason};

/// Something that was seen.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The exchange of a create is over. The parent is given where it is known by now.
    CreateAnswered(CreateOutcome, Option<Resource>),
    /// The exchange of a delete is over.
    DeleteAnswered(DeleteOutcome),
    /// The back end acknowledged the registration; an earlier attempt may land late.
    Acknowledged {
        /// Whether one may.
        ambiguous: bool,
    },
    /// The registration will not be tried again.
    NotAcknowledged(UndoReason),
    /// Another operation holds the id that the service answered.
    Taken {
        /// The id.
        id: ResourceId,
        /// Whether that operation removes the row.
        condemned: bool,
    },
    /// A create's answer came after its time-out.
    LateAnswer(CreateOutcome),
    /// What a process that no longer owns the operation learnt of it.
    Evidence(Late),
    /// The process that ran the operation is gone.
    Restarted,
    /// The probe of an unknown create was judged; it was sent at the given time.
    Probed(Verdict, Timestamp),
    /// The outcome of a create was unknown for as long as it may be.
    Expired,
    /// The service accepted the undo's DELETE. That proves nothing.
    Removed,
    /// `confirm` was answered for the bound row.
    Confirmed(Presence),
    /// Nothing that ran beside a create can have removed its row.
    Undisturbed,
    /// The rows that a delete may have removed were looked at.
    Looked(Look),
    /// The back end acknowledged the deregistration of these.
    Deregistered {
        /// Their ids.
        ids: BTreeSet<ResourceId>,
        /// Whether a registration of one of them may still land.
        young: bool,
    },
    /// A person gave an order.
    Ordered(Order),
}

/// The answer to `confirm`, where it proves something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The row is there.
    Present,
    /// It is gone.
    Gone,
    /// It can't be seen, and may be yet to come; or it is there, and may be about to go.
    Unsettled,
}

/// One round of looking at a delete's rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// When the round began.
    pub asked: Timestamp,
    /// The rows now known to be gone.
    pub gone: BTreeSet<ResourceId>,
    /// Whether nothing can be found any more: every row that the delete may have meant is gone,
    /// and no create that ran beside it is without an id.
    pub complete: bool,
    /// Whether a row that could not be seen may be yet to come, so that nothing is known of it.
    pub unsettled: bool,
}

/// What follows from an event. Either records, or (without any) a step that needs no record.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Transition {
    /// To be appended, and then taken into the operation.
    pub records: Vec<Record>,
    /// How durable they must be before anything else is done.
    pub wait: Wait,
    /// What the client may now get.
    pub reply: Option<Reply>,
}

/// How durable records must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wait {
    /// Enqueued: losing them costs no more than doing something idempotent again.
    #[default]
    Enqueued,
    /// On disk.
    Durable,
}

/// What the client may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The service's success: the create stands.
    Success,
    /// What the classifier says: no success of a create.
    AsClassified,
    /// 503: the registration failed; the undo is under way.
    NotRegistered,
    /// 503: the id belongs to another operation; nothing is undone.
    Conflict,
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
    /// Look for rows that may be this create's.
    Probe,
    /// Send the undo's DELETE for this row.
    Delete(ResourceId),
    /// Ask whether this row exists.
    Confirm(ResourceId),
    /// Look at the rows that this delete may have removed.
    Look,
    /// Deregister these.
    Deregister(BTreeSet<ResourceId>),
}

/// What the rule and the journal allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// L, λ and the others.
    pub bounds: Bounds,
    /// Whether every create passes through sidecars on this journal (`journal.exclusive_writer`).
    pub exclusive_writer: bool,
    /// Whether other processes work on the same journal.
    pub shared: bool,
}

impl Policy {
    /// Whether a read that was asked for at `asked` shows what the service had done at `done`.
    #[must_use]
    pub fn shows(&self, asked: Timestamp, done: Timestamp) -> bool {
        let lag = self.bounds.read_lag;
        lag.is_zero() || asked >= done.plus(lag + self.apart())
    }

    /// How far the clocks of two processes on this journal may be apart: each is within S of the true
    /// time. A time that one of them recorded is compared with another's clock with this margin.
    #[must_use]
    pub fn apart(&self) -> Duration {
        if self.shared { 2 * self.bounds.clock_skew } else { Duration::ZERO }
    }
}

/// What `operation` needs at `now`.
#[must_use]
pub fn next(operation: &Operation, now: Timestamp, policy: &Policy) -> Task {
    let bound = || operation.bound.clone();
    let step = |step: Step| match (step, bound()) {
        (Step::Delete, Some(id)) => Task::Delete(id),
        (Step::Confirm, Some(id)) => Task::Confirm(id),
        (Step::Deregister, Some(id)) => Task::Deregister(BTreeSet::from([id])),
        (Step::Deregister, None) => Task::Deregister(operation.gone.clone()),
        (Step::Delete | Step::Confirm, None) => Task::Nothing,
    };
    match &operation.phase {
        Phase::Prepared | Phase::Committed | Phase::Finished(_) => Task::Nothing,
        // Reported ones are looked at again: the operation ends once a person removed the row.
        Phase::Reported(_) if !operation.may_be_looked_at() => Task::Nothing,
        Phase::Reported(_) => Task::Probe,
        Phase::Unknown if now >= expires(operation, policy) => Task::Expire,
        Phase::Unknown if operation.is_enforced() => Task::Probe,
        Phase::Unknown => Task::Wait(expires(operation, policy)),
        Phase::Registered | Phase::Passed => bound().map_or(Task::Nothing, Task::Confirm),
        Phase::Undoing(_, at) => step(*at),
        Phase::Looking => {
            let left: BTreeSet<_> =
                operation.gone.difference(&operation.deregistered).cloned().collect();
            if left.is_empty() { Task::Look } else { Task::Deregister(left) }
        }
        Phase::Gone => Task::Deregister(operation.gone.clone()),
        Phase::Sweeping(due, _) if now < *due => Task::Wait(*due),
        Phase::Sweeping(_, at) => step(*at),
    }
}

/// The last instant at which the request of `operation` may take effect, by the clock of whoever
/// closed it.
#[must_use]
pub fn effect_ends(operation: &Operation, policy: &Policy) -> Timestamp {
    let closed = operation.closed.map_or(operation.intent, |closed| closed.at);
    closed.plus(policy.bounds.late_effect)
}

/// From when on, by the clock of whichever process looks, a look shows every effect.
#[must_use]
pub fn look_ends(operation: &Operation, policy: &Policy) -> Timestamp {
    effect_ends(operation, policy).plus(policy.bounds.read_lag + policy.apart())
}

/// When an unknown create stops being looked for. One that would not be undone anyway is not looked for.
#[must_use]
pub fn expires(operation: &Operation, policy: &Policy) -> Timestamp {
    let end = look_ends(operation, policy);
    if !operation.is_enforced() {
        return end;
    }
    let closed = operation.closed.map_or(operation.intent, |closed| closed.at);
    end.max(closed.plus(policy.bounds.unresolved))
}

/// From when on the row of `create` is there unless it was removed, by the clock of whichever
/// process looks: what its request did can't come any later.
#[must_use]
pub fn born_by(create: &Operation, policy: &Policy) -> Timestamp {
    let answered = create.answered.unwrap_or(create.since);
    answered.plus(policy.bounds.late_sight() + policy.apart())
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

impl Event {
    /// The event's name, for errors.
    fn name(&self) -> &'static str {
        match self {
            Self::CreateAnswered(..) => "create answered",
            Self::DeleteAnswered(..) => "delete answered",
            Self::Acknowledged { .. } => "acknowledged",
            Self::NotAcknowledged(_) => "not acknowledged",
            Self::Taken { .. } => "taken",
            Self::LateAnswer(_) => "late answer",
            Self::Evidence(_) => "evidence",
            Self::Restarted => "restarted",
            Self::Probed(..) => "probed",
            Self::Expired => "expired",
            Self::Removed => "removed",
            Self::Confirmed(_) => "confirmed",
            Self::Undisturbed => "undisturbed",
            Self::Looked(_) => "looked",
            Self::Deregistered { .. } => "deregistered",
            Self::Ordered(Order::Retry { .. }) => "retry",
            Self::Ordered(Order::Discard { .. }) => "discard",
        }
    }
}

#[cfg(test)]
mod tests;
