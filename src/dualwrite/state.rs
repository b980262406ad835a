//! The saga as one total function: operation × event → what to record, what to answer. Pure.
//!
//! [`next`] says what an operation needs; the runner does it and feeds what it saw to [`on`],
//! which says which records that makes. The runner appends them and, once they are as durable as
//! [`Transition::wait`] demands, takes them into the operation and acts on [`Transition::reply`].
//! Nothing here performs I/O or reads a clock.

use std::collections::BTreeSet;
use std::time::Duration;

use super::claim::Verdict;
use super::operation::{Illegal, Operation, Phase, Step};
use super::outcome::{CreateOutcome, DeleteOutcome};
use crate::model::{
    Bounds, Effect, Evidence, Kind, PassReason, Record, Resolution, Resource, ResourceId,
    Timestamp, UndoReason,
};

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
    /// The journal binds the id that the service answered to another operation.
    Taken(ResourceId),
    /// A create's answer came after its time-out.
    LateAnswer(CreateOutcome),
    /// The process that ran the operation is gone.
    Restarted,
    /// The probe of an unknown create was judged; it was sent at the given time.
    Probed(Verdict, Timestamp),
    /// L has passed for a create that would not be undone anyway.
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
    Deregistered(BTreeSet<ResourceId>),
}

/// The answer to `confirm`, where it proves something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The row is there.
    Present,
    /// It is gone.
    Gone,
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
    /// L and S.
    pub bounds: Bounds,
    /// Whether every create passes through sidecars on this journal (`journal.exclusive_writer`).
    pub exclusive_writer: bool,
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
        Phase::Unknown | Phase::Reported(_) if operation.is_enforced() => Task::Probe,
        Phase::Reported(_) => Task::Nothing,
        Phase::Unknown => match effect_ends(operation, policy) {
            end if now >= end => Task::Expire,
            end => Task::Wait(end),
        },
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

/// The last instant at which the request of `operation` may take effect.
#[must_use]
pub fn effect_ends(operation: &Operation, policy: &Policy) -> Timestamp {
    let closed = operation.closed.map_or(operation.intent, |closed| closed.at);
    closed.plus(policy.bounds.late_effect)
}

/// What follows from `event` at `now`.
///
/// # Errors
/// When the event can't happen in the operation's phase; nothing changed then.
pub fn on(
    operation: &mut Operation,
    event: Event,
    now: Timestamp,
    policy: &Policy,
) -> Result<Transition, Illegal> {
    let name = event_name(&event);
    let transition = match (operation.phase.clone(), event) {
        (Phase::Prepared, Event::CreateAnswered(outcome, parent)) if operation.is_create() => {
            create_answered(operation, outcome, parent, policy)
        }
        (Phase::Prepared, Event::DeleteAnswered(outcome)) if !operation.is_create() => {
            delete_answered(operation, outcome)
        }
        (Phase::Prepared, Event::Restarted) => closed(Effect::MayCome, None),
        (Phase::Committed, Event::Restarted) => not_acknowledged(operation, UndoReason::Crash),
        (_, Event::Restarted) => Some(Transition::default()),
        (Phase::Committed, Event::Acknowledged { ambiguous }) => {
            let record = |id| Record::Registered { id, ambiguous };
            operation.bound.clone().map(|id| durable(record(id)).reply(Reply::Success))
        }
        (Phase::Committed, Event::NotAcknowledged(reason)) => not_acknowledged(operation, reason),
        (Phase::Prepared | Phase::Committed | Phase::Unknown, Event::Taken(id)) => {
            let why = "the service answered an id that another operation already holds".into();
            let reported = durable(Record::Reported { rows: vec![id], why });
            operation.is_create().then(|| reported.reply(Reply::Conflict))
        }
        (Phase::Unknown, Event::LateAnswer(outcome)) => Some(late_answer(operation, outcome)),
        (_, Event::LateAnswer(_)) => Some(Transition::default()),
        (Phase::Unknown | Phase::Reported(_), Event::Probed(verdict, asked)) => {
            Some(probed(operation, verdict, asked, policy))
        }
        (Phase::Unknown, Event::Expired) if !operation.is_enforced() => {
            Some(finished(Resolution::Unsettled))
        }
        (Phase::Undoing(reason, Step::Delete), Event::Removed) => {
            Some(step(operation, Phase::Undoing(reason, Step::Confirm)))
        }
        (Phase::Sweeping(due, Step::Delete), Event::Removed) => {
            Some(step(operation, Phase::Sweeping(due, Step::Confirm)))
        }
        (phase, Event::Confirmed(presence)) => confirmed(operation, phase, presence),
        (Phase::Registered, Event::Undisturbed) => Some(finished(Resolution::Registered)),
        (Phase::Passed, Event::Undisturbed) => Some(finished(Resolution::Passed)),
        (Phase::Looking, Event::Looked(look)) => Some(looked(operation, &look, now, policy)),
        (phase, Event::Deregistered(ids)) => deregistered(operation, &phase, ids, now, policy),
        _ => None,
    };
    transition.ok_or_else(|| operation.illegal(name))
}

fn create_answered(
    operation: &Operation,
    outcome: CreateOutcome,
    parent: Option<Resource>,
    policy: &Policy,
) -> Option<Transition> {
    Some(match outcome {
        CreateOutcome::NotSent => finished(Resolution::NotSent).reply(Reply::AsClassified),
        CreateOutcome::Rejected => finished(Resolution::Rejected).reply(Reply::AsClassified),
        CreateOutcome::Unknown => return closed(Effect::MayCome, Some(Reply::AsClassified)),
        CreateOutcome::Committed(id) => {
            if let Some(why) = operation.pass {
                return Some(durable(Record::Passed { id, why }).reply(Reply::Success));
            }
            let record = Record::Committed { id, parent };
            // A crash before it is durable finds the row by the probe (DESIGN §3, step 5).
            let found_by_probe = policy.exclusive_writer && has_probe(operation);
            if found_by_probe { enqueued(record) } else { durable(record) }
        }
    })
}

fn has_probe(operation: &Operation) -> bool {
    matches!(&operation.plan.kind, Kind::Create(create) if create.probe.is_some())
}

fn delete_answered(operation: &Operation, outcome: DeleteOutcome) -> Option<Transition> {
    let transition = match outcome {
        DeleteOutcome::NotSent => finished(Resolution::NotSent),
        DeleteOutcome::Refused => finished(Resolution::NotDeleted),
        DeleteOutcome::Done if operation.targets.seen => {
            let ids = operation.targets.ids.iter().cloned().collect();
            enqueued(Record::Deleted { ids })
        }
        DeleteOutcome::Done => return closed(Effect::Past, Some(Reply::AsClassified)),
        DeleteOutcome::Look(effect) => return closed(effect, Some(Reply::AsClassified)),
    };
    Some(transition.reply(Reply::AsClassified))
}

fn not_acknowledged(operation: &Operation, reason: UndoReason) -> Option<Transition> {
    let id = operation.bound.clone()?;
    Some(if operation.is_enforced() {
        let evidence = Evidence::Answer;
        durable(Record::Undoing { id, evidence, reason }).reply(Reply::NotRegistered)
    } else {
        let why = operation.pass.unwrap_or(PassReason::Observed);
        durable(Record::Passed { id, why }).reply(Reply::Success)
    })
}

fn late_answer(operation: &Operation, outcome: CreateOutcome) -> Transition {
    match outcome {
        CreateOutcome::Committed(id) if operation.is_enforced() => {
            let (evidence, reason) = (Evidence::LateAnswer, UndoReason::Unknown);
            durable(Record::Undoing { id, evidence, reason })
        }
        CreateOutcome::Committed(id) => {
            let why = operation.pass.unwrap_or(PassReason::Observed);
            durable(Record::Passed { id, why })
        }
        CreateOutcome::Rejected => finished(Resolution::Rejected),
        CreateOutcome::NotSent | CreateOutcome::Unknown => Transition::default(),
    }
}

fn probed(
    operation: &Operation,
    verdict: Verdict,
    asked: Timestamp,
    policy: &Policy,
) -> Transition {
    let last = asked >= effect_ends(operation, policy);
    match verdict {
        Verdict::Claim { id, created_at, sighted } => {
            let evidence = Evidence::Claim { created_at, sighted };
            durable(Record::Undoing { id, evidence, reason: UndoReason::Unknown })
        }
        Verdict::NoRow if last => finished(Resolution::Rejected),
        Verdict::Unprovable { rows, why } if last && operation.phase == Phase::Unknown => {
            durable(Record::Reported { rows, why })
        }
        Verdict::NoRow | Verdict::Unprovable { .. } | Verdict::Wait => Transition::default(),
    }
}

fn confirmed(operation: &mut Operation, phase: Phase, presence: Presence) -> Option<Transition> {
    let id = operation.bound.clone()?;
    let removal = match presence {
        Presence::Present => Step::Delete,
        Presence::Gone => Step::Deregister,
    };
    Some(match (phase, presence) {
        (Phase::Registered, Presence::Present) => finished(Resolution::Registered),
        (Phase::Passed, Presence::Present) => finished(Resolution::Passed),
        (Phase::Registered | Phase::Passed, Presence::Gone) => {
            durable(Record::Deleted { ids: vec![id] })
        }
        (Phase::Undoing(reason, Step::Confirm), _) => {
            step(operation, Phase::Undoing(reason, removal))
        }
        (Phase::Sweeping(due, Step::Confirm), _) => step(operation, Phase::Sweeping(due, removal)),
        _ => return None,
    })
}

fn looked(operation: &Operation, look: &Look, now: Timestamp, policy: &Policy) -> Transition {
    let fresh: Vec<_> = look.gone.difference(&operation.gone).cloned().collect();
    if !fresh.is_empty() {
        return enqueued(Record::Deleted { ids: fresh });
    }
    let last = look.complete || look.asked >= effect_ends(operation, policy);
    match (last, operation.gone.is_empty()) {
        (false, _) => Transition::default(),
        (true, true) => finished(Resolution::NotDeleted),
        (true, false) => end_of_delete(operation, now, policy),
    }
}

fn deregistered(
    operation: &mut Operation,
    phase: &Phase,
    ids: BTreeSet<ResourceId>,
    now: Timestamp,
    policy: &Policy,
) -> Option<Transition> {
    Some(match phase {
        Phase::Undoing(_, Step::Deregister) => sweep(operation, now, policy),
        Phase::Gone if operation.is_create() => sweep(operation, now, policy),
        Phase::Gone => end_of_delete(operation, now, policy),
        Phase::Looking => {
            operation.deregistered.extend(ids);
            Transition::default()
        }
        Phase::Sweeping(_, Step::Deregister) if operation.undone => finished(Resolution::Undone),
        Phase::Sweeping(_, Step::Deregister) => finished(Resolution::Deregistered),
        _ => return None,
    })
}

/// A registration may still land late for a row that is young, and for every row that a create
/// beside this delete made: those are swept.
fn end_of_delete(operation: &Operation, now: Timestamp, policy: &Policy) -> Transition {
    let all_old = !operation.targets.young && operation.gone.is_subset(&operation.targets.ids);
    if all_old { finished(Resolution::Deregistered) } else { sweep(operation, now, policy) }
}

fn sweep(operation: &Operation, now: Timestamp, policy: &Policy) -> Transition {
    let ids = match &operation.bound {
        Some(id) => vec![id.clone()],
        None => operation.gone.iter().cloned().collect(),
    };
    durable(Record::Sweep { ids, due: now.plus(policy.bounds.late_effect) })
}

fn step(operation: &mut Operation, phase: Phase) -> Transition {
    operation.phase = phase;
    Transition::default()
}

// `Option` because its callers return one.
#[expect(clippy::unnecessary_wraps, reason = "every arm of `on` is an Option")]
fn closed(effect: Effect, reply: Option<Reply>) -> Option<Transition> {
    Some(Transition { reply, ..enqueued(Record::Closed { effect }) })
}

fn finished(resolution: Resolution) -> Transition {
    enqueued(Record::Finished { resolution })
}

fn enqueued(record: Record) -> Transition {
    Transition { records: vec![record], wait: Wait::Enqueued, reply: None }
}

fn durable(record: Record) -> Transition {
    Transition { wait: Wait::Durable, ..enqueued(record) }
}

impl Transition {
    fn reply(self, reply: Reply) -> Self {
        Self { reply: Some(reply), ..self }
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::CreateAnswered(..) => "create answered",
        Event::DeleteAnswered(..) => "delete answered",
        Event::Acknowledged { .. } => "acknowledged",
        Event::NotAcknowledged(_) => "not acknowledged",
        Event::Taken(_) => "taken",
        Event::LateAnswer(_) => "late answer",
        Event::Restarted => "restarted",
        Event::Probed(..) => "probed",
        Event::Expired => "expired",
        Event::Removed => "removed",
        Event::Confirmed(_) => "confirmed",
        Event::Undisturbed => "undisturbed",
        Event::Looked(_) => "looked",
        Event::Deregistered(_) => "deregistered",
    }
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
