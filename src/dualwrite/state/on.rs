//! The function itself: operation × event → transition. Pure.

use std::collections::BTreeSet;

use super::late::late;
use super::{Event, Look, Policy, Presence, Reply, Transition, Wait, look_ends};
use crate::dualwrite::operation::{Illegal, Operation, Phase, Step};
use crate::dualwrite::outcome::{CreateOutcome, DeleteOutcome};
use crate::dualwrite::rows::{Verdict, ids_are_fresh};
use crate::model::{
    DeletePlan, Effect, Evidence, Kind, Late, Mode, Order, PassReason, Record, Resolution,
    Resource, ResourceId, Timestamp, UndoReason,
};

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
    let name = event.name();
    let transition = match (operation.phase.clone(), event) {
        (Phase::Prepared, Event::CreateAnswered(outcome, parent)) if operation.is_create() => {
            create_answered(operation, outcome, parent)
        }
        (Phase::Prepared, Event::DeleteAnswered(outcome)) if !operation.is_create() => {
            delete_answered(operation, outcome, policy)
        }
        (Phase::Prepared, Event::Restarted) => closed(Effect::MayCome, None),
        (Phase::Committed, Event::Restarted) => not_acknowledged(operation, UndoReason::Crash),
        (_, Event::Restarted) => Some(restarted(operation, now, policy)),
        (Phase::Committed, Event::Acknowledged { ambiguous }) => {
            let record = |id| Record::Registered { id, ambiguous };
            operation.bound.clone().map(|id| durable(record(id)).reply(Reply::Success))
        }
        (Phase::Committed, Event::NotAcknowledged(reason)) => not_acknowledged(operation, reason),
        // What is not enforced is not refused: the row is another operation's, and the client is told of it.
        (Phase::Prepared, Event::Taken { condemned, .. })
            if passes(operation) && (!condemned || operation.plan.mode == Mode::Observe) =>
        {
            Some(durable(Record::Finished { resolution: Resolution::Found }).reply(Reply::Success))
        }
        // The row is being removed; which create made it does not matter, and this one goes on looking.
        (Phase::Prepared, Event::Taken { condemned: true, .. }) if operation.is_create() => {
            closed(Effect::Past, Some(Reply::Conflict))
        }
        (Phase::Unknown, Event::Taken { condemned: true, .. }) => Some(Transition::default()),
        (Phase::Prepared | Phase::Unknown, Event::Taken { id, .. }) => {
            let why = "the service answered an id that another operation already holds".into();
            let reported = durable(Record::Reported { rows: vec![id], why });
            operation.is_create().then(|| reported.reply(Reply::Conflict))
        }
        (Phase::Unknown, Event::LateAnswer(outcome)) => Some(late_answer(operation, outcome)),
        (Phase::Reported(_), Event::LateAnswer(CreateOutcome::Committed(id))) => {
            Some(late(operation, Late::Answer { id }))
        }
        (_, Event::LateAnswer(_)) => Some(Transition::default()),
        (_, Event::Evidence(seen)) => Some(late(operation, seen)),
        (Phase::Unknown | Phase::Reported(_), Event::Probed(verdict, asked)) => {
            Some(probed(operation, verdict, asked, policy))
        }
        (Phase::Unknown, Event::Expired) => Some(expired(operation)),
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
        (phase, Event::Deregistered { ids, young }) => {
            deregistered(operation, &phase, (ids, young), now, policy)
        }
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
        CreateOutcome::Unknown => return closed(Effect::MayCome, Some(Reply::AsClassified)),
        CreateOutcome::Committed(id) => {
            if let Some(why) = operation.pass {
                return Some(durable(Record::Passed { id, why }).reply(Reply::Success));
            }
            // Before anything is registered the journal durably holds the id. A delete may remove the
            // row at any time, and then only this record tells what to deregister after a crash.
            durable(Record::Committed { id, parent })
        }
        CreateOutcome::Found { held: true, .. } => {
            durable(Record::Finished { resolution: Resolution::Found }).reply(Reply::Success)
        }
        CreateOutcome::Found { id, held: false } => {
            let why = operation.pass.unwrap_or(PassReason::Found);
            durable(Record::Passed { id, why }).reply(Reply::Success)
        }
        // The list tells later who made it. If the create is not enforced, its client gets the answer.
        CreateOutcome::Disputed(_) if operation.is_enforced() => {
            return closed(Effect::Past, Some(Reply::Conflict));
        }
        CreateOutcome::Disputed(id) => stands(operation, id).reply(Reply::Success),
        CreateOutcome::Unproven { id, why } => {
            let reply = if operation.is_enforced() { Reply::Conflict } else { Reply::Success };
            unproven(operation, id, why).reply(reply)
        }
    })
}

/// Nobody may undo it, and nobody may be told of it; of one that is not enforced the client is told.
fn unproven(operation: &Operation, id: ResourceId, why: &str) -> Transition {
    if operation.is_enforced() {
        return durable(Record::Reported { rows: vec![id], why: why.to_owned() });
    }
    stands(operation, id)
}

fn delete_answered(
    operation: &Operation,
    outcome: DeleteOutcome,
    policy: &Policy,
) -> Option<Transition> {
    // The service may have looked where the row was not to be seen yet.
    let proves = operation.targets.seen && policy.bounds.read_lag.is_zero();
    let transition = match outcome {
        DeleteOutcome::NotSent => finished(Resolution::NotSent),
        DeleteOutcome::Refused => finished(Resolution::NotDeleted),
        DeleteOutcome::Done if proves => {
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
    if operation.is_enforced() && operation.is_unproven() {
        let why = "an earlier release recorded it, without a proof that its row was new".into();
        return Some(durable(Record::Reported { rows: vec![id], why }).reply(Reply::Conflict));
    }
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

/// The times of an earlier process may be off by a step of the wall clock: what it waited for is waited
/// for anew.
fn restarted(operation: &Operation, now: Timestamp, policy: &Policy) -> Transition {
    match (&operation.phase, operation.closed) {
        (Phase::Unknown | Phase::Looking, Some(closed)) => {
            enqueued(Record::Closed { effect: closed.effect })
        }
        (Phase::Sweeping(..), _) => sweep(operation, now, policy),
        _ => Transition::default(),
    }
}

fn expired(operation: &Operation) -> Transition {
    if !operation.is_enforced() {
        return finished(Resolution::Unsettled);
    }
    let why = "no complete list told within bounds.unresolved whether there is a row".into();
    durable(Record::Reported { rows: Vec::new(), why })
}

fn probed(
    operation: &Operation,
    verdict: Verdict,
    asked: Timestamp,
    policy: &Policy,
) -> Transition {
    let last = asked >= look_ends(operation, policy);
    match verdict {
        Verdict::NoRow if last => finished(Resolution::Rejected),
        // One that was reported goes on looking, so that the report names the rows that there are.
        Verdict::Unprovable { rows, why } if last && is_news(operation, &rows) => {
            durable(Record::Reported { rows, why })
        }
        Verdict::NoRow | Verdict::Unprovable { .. } | Verdict::Wait => Transition::default(),
    }
}

fn is_news(operation: &Operation, rows: &[ResourceId]) -> bool {
    let told = || operation.reported.iter().ne(rows.iter().collect::<BTreeSet<_>>());
    operation.phase == Phase::Unknown || !rows.is_empty() && told()
}

fn confirmed(operation: &mut Operation, phase: Phase, presence: Presence) -> Option<Transition> {
    let id = operation.bound.clone()?;
    let removal = match presence {
        Presence::Present => Step::Delete,
        Presence::Gone => Step::Deregister,
        Presence::Unsettled => {
            let may_be_asked_again = matches!(
                phase,
                Phase::Registered
                    | Phase::Passed
                    | Phase::Undoing(_, Step::Confirm)
                    | Phase::Sweeping(_, Step::Confirm)
            );
            return may_be_asked_again.then(Transition::default);
        }
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
        // It was gone before. Where ids come back, this may be another row, and its registration too.
        (Phase::Sweeping(_, Step::Confirm), Presence::Present) if !ids_are_fresh(operation) => {
            let why =
                "it was undone, and a row with its id is there: it came late, or is another".into();
            durable(Record::Reported { rows: vec![id], why })
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
    let complete = look.complete && !may_still_remove(operation);
    // Rows of creates that another's clock puts later may be born after all looks have ended.
    let over = look.asked >= look_ends(operation, policy) && !look.unsettled;
    let last = complete || over;
    match (last, operation.gone.is_empty()) {
        (false, _) => Transition::default(),
        (true, true) => finished(Resolution::NotDeleted),
        (true, false) => end_of_delete(operation, now, policy),
    }
}

/// Whether the DELETE may take effect yet, on a row that nobody has seen: then a look that finds
/// nothing left to look for is not the last.
fn may_still_remove(operation: &Operation) -> bool {
    let by_probe = matches!(&operation.plan.kind, Kind::Delete(DeletePlan::ByProbe { .. }));
    by_probe && operation.closed.is_some_and(|closed| closed.effect == Effect::MayCome)
}

fn deregistered(
    operation: &mut Operation,
    phase: &Phase,
    (ids, young): (BTreeSet<ResourceId>, bool),
    now: Timestamp,
    policy: &Policy,
) -> Option<Transition> {
    Some(match phase {
        Phase::Undoing(_, Step::Deregister) => sweep(operation, now, policy),
        Phase::Gone if operation.is_create() => sweep(operation, now, policy),
        Phase::Gone => {
            operation.young |= young;
            end_of_delete(operation, now, policy)
        }
        Phase::Looking => {
            operation.young |= young;
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
    let young = operation.targets.young || operation.young;
    let all_old = !young && operation.gone.is_subset(&operation.targets.ids);
    if all_old { finished(Resolution::Deregistered) } else { sweep(operation, now, policy) }
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
            (operation.retries < MOST_RETRIES).then(|| durable(Record::Retried { by, reason }))
        }
        Order::Discard { by, reason } => {
            let phase = operation.phase.name().to_owned();
            let mut end = durable(Record::Discarded { by, reason, phase });
            end.records.extend(finished(Resolution::Discarded).records);
            Some(end)
        }
    }
}

fn sweep(operation: &Operation, now: Timestamp, policy: &Policy) -> Transition {
    let ids = match &operation.bound {
        Some(id) => vec![id.clone()],
        None => operation.gone.iter().cloned().collect(),
    };
    let due = now.plus(policy.bounds.late_sight() + policy.apart());
    durable(Record::Sweep { ids, due })
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

/// The request may take effect from now on, whatever was concluded before.
pub(super) fn closed_again() -> Transition {
    durable(Record::Closed { effect: Effect::MayCome })
}

/// The row of a create that is not enforced stands, unregistered.
pub(super) fn stands(operation: &Operation, id: ResourceId) -> Transition {
    let why = operation.pass.unwrap_or(PassReason::Observed);
    durable(Record::Passed { id, why })
}

fn finished(resolution: Resolution) -> Transition {
    enqueued(Record::Finished { resolution })
}

fn enqueued(record: Record) -> Transition {
    Transition { records: vec![record], wait: Wait::Enqueued, reply: None }
}

pub(super) fn durable(record: Record) -> Transition {
    Transition { wait: Wait::Durable, ..enqueued(record) }
}

impl Transition {
    fn reply(self, reply: Reply) -> Self {
        Self { reply: Some(reply), ..self }
    }
}
