//! The function itself: operation × event → record. Pure.

use std::collections::BTreeSet;

use super::late::late;
use super::{Event, Policy, Settled};
use crate::dualwrite::operation::{Illegal, Operation, Phase};
use crate::dualwrite::outcome::{CreateOutcome, DeleteOutcome};
use crate::dualwrite::rows::Verdict;
use crate::dualwrite::settle::{is_over, until};
use crate::model::{
    Effect, Evidence, Kind, Mode, Order, PassReason, Record, Resolution, ResourceId, Timestamp,
    UndoReason,
};

/// What follows from `event`: a record, or a step that needs none.
///
/// # Errors
/// When the event can't happen in the operation's phase; nothing changed then.
pub fn on(
    operation: &mut Operation,
    event: Event,
    policy: &Policy,
) -> Result<Option<Record>, Illegal> {
    let name = format!("{event:?}");
    let bound = operation.bound.clone();
    Ok(match (operation.phase.clone(), event) {
        (Phase::Prepared, Event::CreateAnswered(outcome)) if operation.is_create() => {
            Some(create_answered(operation, outcome))
        }
        (Phase::Prepared, Event::DeleteAnswered(outcome)) if !operation.is_create() => {
            Some(delete_answered(outcome))
        }
        (Phase::Prepared, Event::Restarted) => Some(closed(Effect::MayCome)),
        (Phase::Committed, Event::Restarted) => {
            bound.map(|id| not_acknowledged(operation, id, UndoReason::Crash, true))
        }
        (Phase::Finished(_), Event::Restarted) => None,
        // What an earlier process sent last may still land, and its times may be of another start of the machine.
        (_, Event::Restarted) => Some(Record::Resumed),
        (Phase::Committed, Event::Acknowledged { ambiguous }) => {
            bound.map(|id| Record::Registered { id, ambiguous })
        }
        (Phase::Committed, Event::NotAcknowledged { reason, ambiguous }) => {
            bound.map(|id| not_acknowledged(operation, id, reason, ambiguous))
        }
        (Phase::Prepared, Event::Taken { id, condemned }) if operation.is_create() => {
            Some(taken(operation, id, condemned))
        }
        (_, Event::Evidence(seen)) => late(operation, seen),
        (Phase::Unknown | Phase::Reported(_), Event::Probed(verdict, asked)) => {
            probed(operation, verdict, asked, policy)
        }
        (Phase::Unknown, Event::Expired) => Some(expired(operation)),
        (_, Event::Settled(seen)) => settled(operation, &seen, end(operation, &name)?),
        (Phase::Undoing(_), Event::GivenUp(why)) => bound.map(|id| reported(vec![id], why)),
        (Phase::Looking, Event::Deregistered(ids)) => {
            operation.deregistered.extend(ids);
            None
        }
        (_, Event::Deregistered(_)) => Some(finished(end(operation, &name)?)),
        (_, Event::Ordered(order)) if may_be_ordered(operation, &order) => {
            Some(ordered(operation, order))
        }
        _ => return Err(operation.illegal(&name)),
    })
}

fn create_answered(operation: &Operation, outcome: CreateOutcome) -> Record {
    match outcome {
        CreateOutcome::NotSent => finished(Resolution::NotSent),
        CreateOutcome::Rejected => finished(Resolution::Rejected),
        CreateOutcome::Unknown => closed(Effect::MayCome),
        CreateOutcome::Committed(id) if operation.pass.is_some() => stands(operation, id),
        // Before anything is registered the journal durably holds the id. A delete may remove the
        // row at any time, and then only this record tells what to deregister after a crash.
        CreateOutcome::Committed(id) => Record::Committed { id, is_new: true },
        CreateOutcome::Found { held: true, .. } => finished(Resolution::Found),
        // The list tells later who made it. If the create is not enforced, its client gets the answer.
        CreateOutcome::Disputed(_) if operation.is_enforced() => closed(Effect::Past),
        CreateOutcome::Found { id, held: false } | CreateOutcome::Disputed(id) => found(id),
        CreateOutcome::Unproven { id, .. }
            if operation.is_enforced() && keeps_owner(operation, &id) =>
        {
            Record::Committed { id, is_new: false }
        }
        CreateOutcome::Unproven { id, why } => unproven(operation, id, why),
    }
}

/// Another operation holds the row that the service answered, and removes it if that is `condemned`.
fn taken(operation: &Operation, id: ResourceId, condemned: bool) -> Record {
    let passes = !operation.is_enforced();
    if passes && (!condemned || operation.plan.mode == Mode::Observe) {
        // A create that is not enforced is not refused for that.
        finished(Resolution::Found)
    } else if condemned {
        // Which create made it does not matter, and this one goes on looking.
        closed(Effect::Past)
    } else {
        reported(vec![id], "the service answered an id that another operation already holds")
    }
}

/// Whether a registration changes nothing of a row that is registered already, and the row can be asked for.
fn keeps_owner(operation: &Operation, id: &ResourceId) -> bool {
    let Kind::Create(plan) = &operation.plan.kind else { return false };
    plan.keeps_owner && plan.confirm.call.for_id(id).is_some()
}

/// Nobody may undo it, and nobody may be told of it; of one that is not enforced the client is told.
pub(super) fn unproven(operation: &Operation, id: ResourceId, why: &str) -> Record {
    if operation.is_enforced() { reported(vec![id], why) } else { found(id) }
}

/// The client is told of a row that another request may have made.
fn found(id: ResourceId) -> Record {
    Record::Passed { id, why: PassReason::Found }
}

fn reported(rows: Vec<ResourceId>, why: impl Into<String>) -> Record {
    Record::Reported { rows, why: why.into() }
}

fn delete_answered(outcome: DeleteOutcome) -> Record {
    match outcome {
        DeleteOutcome::NotSent => finished(Resolution::NotSent),
        DeleteOutcome::Refused => finished(Resolution::NotDeleted),
        DeleteOutcome::Look(effect) => closed(effect),
    }
}

fn not_acknowledged(
    operation: &Operation,
    id: ResourceId,
    reason: UndoReason,
    ambiguous: bool,
) -> Record {
    if !operation.is_enforced() {
        stands(operation, id)
    } else if operation.is_new {
        Record::Undoing { id, evidence: Evidence::Answer, reason, ambiguous }
    } else {
        reported(
            vec![id],
            "it is not proven that this create made the row, and it could not be registered and seen",
        )
    }
}

fn expired(operation: &Operation) -> Record {
    if !operation.is_enforced() {
        return finished(Resolution::Unsettled);
    }
    reported(Vec::new(), "no complete list told within bounds.unresolved whether there is a row")
}

fn probed(
    operation: &Operation,
    verdict: Verdict,
    asked: Timestamp,
    policy: &Policy,
) -> Option<Record> {
    if !is_over(until(operation, policy), asked) {
        return None;
    }
    match verdict {
        Verdict::NoRow if operation.sees_all() => Some(finished(Resolution::Rejected)),
        Verdict::NoRow if operation.phase == Phase::Unknown => {
            Some(reported(Vec::new(), "no row was found, and the list may hide some (probe.sees)"))
        }
        // One that was reported goes on looking, so that the report names the rows that there are.
        Verdict::Unprovable { rows, why } if is_news(operation, &rows) => Some(reported(rows, why)),
        Verdict::NoRow | Verdict::Unprovable { .. } | Verdict::Wait => None,
    }
}

fn is_news(operation: &Operation, rows: &[ResourceId]) -> bool {
    let told = || operation.reported.iter().ne(rows.iter().collect::<BTreeSet<_>>());
    operation.phase == Phase::Unknown || !rows.is_empty() && told()
}

/// How an operation ends whose rows were looked at, if it may end so.
fn end(operation: &Operation, event: &str) -> Result<Resolution, Illegal> {
    Ok(match operation.phase {
        Phase::Undoing(_) => Resolution::Undone,
        Phase::Registered if operation.gone.is_empty() => Resolution::Registered,
        Phase::Passed if operation.gone.is_empty() => Resolution::Passed,
        Phase::Looking if operation.gone.is_empty() => Resolution::NotDeleted,
        Phase::Registered | Phase::Passed | Phase::Looking | Phase::Reported(_) => {
            Resolution::Deregistered
        }
        Phase::Prepared | Phase::Committed | Phase::Unknown | Phase::Finished(_) => {
            return Err(operation.illegal(event));
        }
    })
}

fn settled(operation: &Operation, seen: &Settled, end: Resolution) -> Option<Record> {
    let fresh: Vec<_> = seen.gone.difference(&operation.gone).cloned().collect();
    if fresh.is_empty() {
        return seen.over.then(|| finished(end));
    }
    Some(Record::Deleted { ids: fresh })
}

/// How many orders to retry are kept of one operation (promise P8).
const MOST_RETRIES: u32 = 1000;

/// A person decides, once no request of the operation is under way any more: before, its own answer
/// decides, and a client waits for that.
fn may_be_ordered(operation: &Operation, order: &Order) -> bool {
    let is_open =
        !matches!(operation.phase, Phase::Prepared | Phase::Committed | Phase::Finished(_));
    is_open && (operation.retries < MOST_RETRIES || matches!(order, Order::Discard { .. }))
}

fn ordered(operation: &Operation, order: Order) -> Record {
    match order {
        Order::Retry { by, reason } => Record::Retried { by, reason },
        Order::Discard { by, reason } => {
            Record::Discarded { by, reason, phase: operation.phase.name().into() }
        }
    }
}

fn closed(effect: Effect) -> Record {
    Record::Closed { effect }
}

/// The row of a create that is not enforced stands, unregistered.
pub(super) fn stands(operation: &Operation, id: ResourceId) -> Record {
    let why = operation.pass.unwrap_or(PassReason::Observed);
    Record::Passed { id, why }
}

fn finished(resolution: Resolution) -> Record {
    Record::Finished { resolution }
}
