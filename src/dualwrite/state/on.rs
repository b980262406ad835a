//! The function itself: operation × event → transition. Pure.

use std::collections::BTreeSet;

use super::late::late;
use super::{Event, Policy, Reply, Settled, Transition};
use crate::dualwrite::operation::{Illegal, Operation, Phase};
use crate::dualwrite::outcome::{CreateOutcome, DeleteOutcome};
use crate::dualwrite::rows::Verdict;
use crate::dualwrite::settle::{is_over, until};
use crate::model::{
    DeletePlan, Effect, Evidence, Kind, Late, Mode, Order, PassReason, Record, Resolution,
    Resource, ResourceId, Timestamp, UndoReason,
};

/// What follows from `event`.
///
/// # Errors
/// When the event can't happen in the operation's phase; nothing changed then.
pub fn on(operation: &mut Operation, event: Event, policy: &Policy) -> Result<Transition, Illegal> {
    let name = event.name();
    let transition = match (operation.phase.clone(), event) {
        (Phase::Prepared, Event::CreateAnswered(outcome, parent)) if operation.is_create() => {
            create_answered(operation, outcome, parent)
        }
        (Phase::Prepared, Event::DeleteAnswered(outcome)) if !operation.is_create() => {
            Some(delete_answered(operation, outcome))
        }
        (Phase::Prepared, Event::Restarted) => Some(closed(Effect::MayCome)),
        (Phase::Committed, Event::Restarted) => {
            not_acknowledged(operation, UndoReason::Crash, true)
        }
        (Phase::Finished(_) | Phase::Reported(_), Event::Restarted) => Some(Transition::default()),
        // What an earlier process sent last may still land, and its times may be of another start of the machine.
        (_, Event::Restarted) => Some(recorded(Record::Resumed)),
        (Phase::Committed, Event::Acknowledged { ambiguous }) => {
            let record = |id| Record::Registered { id, ambiguous };
            operation.bound.clone().map(|id| recorded(record(id)).reply(Reply::Success))
        }
        (Phase::Committed, Event::NotAcknowledged { reason, ambiguous }) => {
            not_acknowledged(operation, reason, ambiguous)
        }
        // Another operation holds the row. A create that is not enforced is not refused for that.
        (Phase::Prepared, Event::Taken { condemned, .. })
            if passes(operation) && (!condemned || operation.plan.mode == Mode::Observe) =>
        {
            Some(recorded(Record::Finished { resolution: Resolution::Found }).reply(Reply::Success))
        }
        // The row is being removed; which create made it does not matter, and this one goes on looking.
        (Phase::Prepared, Event::Taken { condemned: true, .. }) if operation.is_create() => {
            Some(closed(Effect::Past).reply(Reply::Conflict))
        }
        (Phase::Prepared, Event::Taken { id, .. }) => {
            let why = "the service answered an id that another operation already holds".into();
            let reported = recorded(Record::Reported { rows: vec![id], why });
            operation.is_create().then(|| reported.reply(Reply::Conflict))
        }
        (Phase::Unknown, Event::LateAnswer(outcome)) => Some(late_answer(operation, outcome)),
        (Phase::Reported(_), Event::LateAnswer(CreateOutcome::Committed(id))) => {
            Some(late(operation, Late::Row { id }))
        }
        (_, Event::LateAnswer(_)) => Some(Transition::default()),
        (_, Event::Evidence(seen)) => Some(late(operation, seen)),
        (Phase::Unknown | Phase::Reported(_), Event::Probed(verdict, asked)) => {
            Some(probed(operation, verdict, asked, policy))
        }
        (Phase::Unknown, Event::Expired) => Some(expired(operation)),
        (phase, Event::Settled(seen)) => settled(operation, &phase, &seen),
        (Phase::Undoing(_), Event::GivenUp(why)) => {
            let report = |id| recorded(Record::Reported { rows: vec![id], why });
            operation.bound.clone().map(report)
        }
        (phase, Event::Deregistered(ids)) => deregistered(operation, &phase, ids),
        (_, Event::Ordered(order)) => ordered(operation, order),
        _ => None,
    };
    transition.ok_or_else(|| operation.illegal(name))
}

/// Whether a client is told of this create's row, registered or not.
fn passes(operation: &Operation) -> bool {
    operation.is_create() && !operation.is_enforced()
}

fn create_answered(
    operation: &Operation,
    outcome: CreateOutcome,
    parent: Option<Resource>,
) -> Option<Transition> {
    Some(match outcome {
        CreateOutcome::NotSent => finished(Resolution::NotSent).reply(Reply::AsClassified),
        CreateOutcome::Rejected => finished(Resolution::Rejected).reply(Reply::AsClassified),
        CreateOutcome::Unknown => closed(Effect::MayCome).reply(Reply::AsClassified),
        CreateOutcome::Committed(id) => {
            if let Some(why) = operation.pass {
                return Some(recorded(Record::Passed { id, why }).reply(Reply::Success));
            }
            // Before anything is registered the journal durably holds the id. A delete may remove the
            // row at any time, and then only this record tells what to deregister after a crash.
            recorded(Record::Committed { id, parent, is_new: true })
        }
        CreateOutcome::Found { held: true, .. } => {
            recorded(Record::Finished { resolution: Resolution::Found }).reply(Reply::Success)
        }
        CreateOutcome::Found { id, held: false } => found(id).reply(Reply::Success),
        // The list tells later who made it. If the create is not enforced, its client gets the answer.
        CreateOutcome::Disputed(_) if operation.is_enforced() => {
            closed(Effect::Past).reply(Reply::Conflict)
        }
        CreateOutcome::Disputed(id) => found(id).reply(Reply::Success),
        CreateOutcome::Unproven { id, .. }
            if operation.is_enforced() && keeps_owner(operation, &id) =>
        {
            recorded(Record::Committed { id, parent, is_new: false })
        }
        CreateOutcome::Unproven { id, why } => {
            let reply = if operation.is_enforced() { Reply::Conflict } else { Reply::Success };
            unproven(operation, id, why).reply(reply)
        }
    })
}

/// Whether a registration changes nothing of a row that is registered already, and the row can be asked for.
fn keeps_owner(operation: &Operation, id: &ResourceId) -> bool {
    let Kind::Create(plan) = &operation.plan.kind else { return false };
    plan.keeps_owner && plan.confirm.call.for_id(id).is_some()
}

/// Nobody may undo it, and nobody may be told of it; of one that is not enforced the client is told.
pub(super) fn unproven(operation: &Operation, id: ResourceId, why: &str) -> Transition {
    if operation.is_enforced() {
        return recorded(Record::Reported { rows: vec![id], why: why.to_owned() });
    }
    found(id)
}

/// The client is told of a row that another request may have made.
fn found(id: ResourceId) -> Transition {
    recorded(Record::Passed { id, why: PassReason::Found })
}

fn delete_answered(operation: &Operation, outcome: DeleteOutcome) -> Transition {
    let by_id = matches!(operation.plan.kind, Kind::Delete(DeletePlan::ById { .. }));
    let was_unseen = by_id && !operation.targets.seen;
    let transition = match outcome {
        DeleteOutcome::NotSent => finished(Resolution::NotSent),
        DeleteOutcome::Refused => finished(Resolution::NotDeleted),
        // There was no such row, neither before nor then. Where ids come back, the way to the service may repeat the
        // request, which then meets a row that came under that id.
        DeleteOutcome::NoRow if was_unseen && !operation.reuses_ids() => {
            finished(Resolution::NotDeleted)
        }
        DeleteOutcome::NoRow => closed(Effect::Past),
        DeleteOutcome::Look(effect) => closed(effect),
    };
    transition.reply(Reply::AsClassified)
}

fn not_acknowledged(
    operation: &Operation,
    reason: UndoReason,
    ambiguous: bool,
) -> Option<Transition> {
    let id = operation.bound.clone()?;
    Some(if operation.is_enforced() && !operation.is_new {
        let why = "it is not proven that this create made the row, and it could not be registered and seen";
        let reported = recorded(Record::Reported { rows: vec![id], why: why.into() });
        reported.reply(Reply::Conflict)
    } else if operation.is_enforced() {
        let evidence = Evidence::Answer;
        recorded(Record::Undoing { id, evidence, reason, ambiguous }).reply(Reply::NotRegistered)
    } else {
        stands(operation, id).reply(Reply::Success)
    })
}

fn late_answer(operation: &Operation, outcome: CreateOutcome) -> Transition {
    match outcome {
        CreateOutcome::Committed(id) if operation.is_enforced() => {
            let (evidence, reason) = (Evidence::LateAnswer, UndoReason::Unknown);
            recorded(Record::Undoing { id, evidence, reason, ambiguous: false })
        }
        CreateOutcome::Committed(id) => stands(operation, id),
        CreateOutcome::Rejected => finished(Resolution::Rejected),
        // The wait for a connection may end as late as the one for the answer.
        CreateOutcome::NotSent => finished(Resolution::NotSent),
        CreateOutcome::Unproven { id, why } => unproven(operation, id, why),
        // A row that was found is not this create's: whether it made one is looked for.
        CreateOutcome::Found { .. } | CreateOutcome::Disputed(_) | CreateOutcome::Unknown => {
            Transition::default()
        }
    }
}

fn expired(operation: &Operation) -> Transition {
    if !operation.is_enforced() {
        return finished(Resolution::Unsettled);
    }
    let why = "no complete list told within bounds.unresolved whether there is a row".into();
    recorded(Record::Reported { rows: Vec::new(), why })
}

fn probed(
    operation: &Operation,
    verdict: Verdict,
    asked: Timestamp,
    policy: &Policy,
) -> Transition {
    let last = is_over(until(operation, policy), asked);
    match verdict {
        Verdict::NoRow if last && operation.sees_all() => finished(Resolution::Rejected),
        Verdict::NoRow if last && operation.phase == Phase::Unknown => recorded(Record::Reported {
            rows: Vec::new(),
            why: "no row was found, and the list may hide some (probe.sees)".into(),
        }),
        // One that was reported goes on looking, so that the report names the rows that there are.
        Verdict::Unprovable { rows, why } if last && is_news(operation, &rows) => {
            recorded(Record::Reported { rows, why })
        }
        Verdict::NoRow | Verdict::Unprovable { .. } | Verdict::Wait => Transition::default(),
    }
}

fn is_news(operation: &Operation, rows: &[ResourceId]) -> bool {
    let told = || operation.reported.iter().ne(rows.iter().collect::<BTreeSet<_>>());
    operation.phase == Phase::Unknown || !rows.is_empty() && told()
}

fn settled(operation: &Operation, phase: &Phase, seen: &Settled) -> Option<Transition> {
    let fresh: Vec<_> = seen.gone.difference(&operation.gone).cloned().collect();
    let end = match phase {
        Phase::Registered => Resolution::Registered,
        Phase::Passed => Resolution::Passed,
        Phase::Undoing(_) => Resolution::Undone,
        Phase::Looking if operation.gone.is_empty() => Resolution::NotDeleted,
        Phase::Looking | Phase::Reported(_) => Resolution::Deregistered,
        _ => return None,
    };
    Some(match (fresh.is_empty(), seen.over) {
        (false, _) => recorded(Record::Deleted { ids: fresh }),
        (true, true) => finished(end),
        (true, false) => Transition::default(),
    })
}

fn deregistered(
    operation: &mut Operation,
    phase: &Phase,
    ids: BTreeSet<ResourceId>,
) -> Option<Transition> {
    Some(match phase {
        Phase::Undoing(_) => finished(Resolution::Undone),
        Phase::Registered | Phase::Passed | Phase::Reported(_) => {
            finished(Resolution::Deregistered)
        }
        Phase::Looking => {
            operation.deregistered.extend(ids);
            Transition::default()
        }
        _ => return None,
    })
}

/// How many orders to retry are kept of one operation (promise P8).
const MOST_RETRIES: u32 = 1000;

/// A person decides, once no request of the operation is under way any more: before, its own answer
/// decides, and a client waits for that.
fn ordered(operation: &Operation, order: Order) -> Option<Transition> {
    if matches!(operation.phase, Phase::Prepared | Phase::Committed | Phase::Finished(_)) {
        return None;
    }
    match order {
        Order::Retry { by, reason } => {
            (operation.retries < MOST_RETRIES).then(|| recorded(Record::Retried { by, reason }))
        }
        Order::Discard { by, reason } => {
            let phase = operation.phase.name().to_owned();
            let end = Record::Finished { resolution: Resolution::Discarded };
            Some(recorded(Record::Discarded { by, reason, phase }).and(end))
        }
    }
}

fn closed(effect: Effect) -> Transition {
    recorded(Record::Closed { effect })
}

/// The row of a create that is not enforced stands, unregistered.
pub(super) fn stands(operation: &Operation, id: ResourceId) -> Transition {
    let why = operation.pass.unwrap_or(PassReason::Observed);
    recorded(Record::Passed { id, why })
}

fn finished(resolution: Resolution) -> Transition {
    recorded(Record::Finished { resolution })
}

pub(super) fn recorded(record: Record) -> Transition {
    Transition { records: vec![record], reply: None }
}

impl Transition {
    fn and(mut self, record: Record) -> Self {
        self.records.push(record);
        self
    }

    fn reply(self, reply: Reply) -> Self {
        Self { reply: Some(reply), ..self }
    }
}
