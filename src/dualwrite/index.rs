//! The index row of an operation: how the journal finds it, and which others are kept for its sake.
//! The journal draws no conclusions from records; they are drawn here. Pure.

use super::operation::{Illegal, Operation, Phase};
use super::state::Policy;
use crate::journal::{Append, Index, Of, State, Window};
use crate::model::{
    Entry, Kind, Opening, OperationId, Plan, Resolution, ResourceId, Stored, Timestamp,
};

/// The operation that begins with `entries`, and what is to be appended.
///
/// # Errors
/// When the entries are not a possible history.
pub fn begin(id: OperationId, entries: Vec<Entry>) -> Result<(Operation, Append), Illegal> {
    let stored = Stored { id, entries };
    let operation = Operation::replay(&stored)?;
    let index = index(&operation);
    Ok((operation, Append { operation: id, begins: true, index, entries: stored.entries }))
}

/// What `operation` comes to with `entries`, and what is to be appended.
///
/// # Errors
/// When the entries can't follow.
pub fn go_on(operation: &Operation, entries: Vec<Entry>) -> Result<(Operation, Append), Illegal> {
    let mut after = operation.clone();
    for entry in &entries {
        after.apply(entry)?;
    }
    let index = index(&after);
    Ok((after, Append { operation: operation.id, begins: false, index, entries }))
}

/// What `operation` began with.
#[must_use]
pub fn opening(operation: &Operation) -> Opening {
    Opening {
        plan: Plan::clone(&operation.plan),
        intent: operation.intent,
        principal: operation.principal.clone(),
        pass: operation.pass,
        before: operation.before.clone(),
        targets: operation.targets.clone(),
    }
}

/// How the journal finds `operation`.
#[must_use]
pub fn index(operation: &Operation) -> Index {
    Index {
        resource_type: operation.plan.resource_type.clone(),
        of: match operation.plan.kind {
            Kind::Create(_) => Of::Creates,
            Kind::Delete(_) => Of::Deletes,
        },
        opened_at: operation.intent,
        settled_at: settled_at(operation),
        state: state(operation),
        holds: operation.bound.clone().filter(|_| !is_row_over(operation)),
        frees: if is_row_over(operation) { freed(operation) } else { Vec::new() },
    }
}

/// The ids of the rows that are gone: where ids come back, another row may get them. Elsewhere those of a
/// create that stood stay its own, since a list that lags behind may show them yet.
fn freed(operation: &Operation) -> Vec<ResourceId> {
    let gone = operation.gone.iter().filter(|_| operation.reuses_ids());
    operation.bound.iter().chain(gone).cloned().collect()
}

/// Where the journal finds what may matter to `own`: all whose life reaches to within L + λ before its intent, or later.
#[must_use]
pub fn window(own: &Operation, of: Of, policy: &Policy) -> Window {
    Window {
        resource_type: own.plan.resource_type.clone(),
        of,
        from: own.intent.minus(policy.bounds.late_sight() + 2 * policy.apart),
    }
}

fn state(operation: &Operation) -> State {
    match operation.phase {
        Phase::Finished(_) if is_void(operation) => State::Void(operation.since),
        Phase::Finished(_) => State::Finished(operation.since),
        // Its rows are known, or a person decides: what was reported is never condemned.
        Phase::Undoing(_) | Phase::Reported(_) => State::Alone,
        _ if operation.is_row_gone() => State::Alone,
        // It asks for one row, and for who holds it.
        Phase::Looking if operation.is_by_id() => State::Alone,
        // Looks for rows yet (a create that stands: for deletes that may have removed its own).
        Phase::Prepared
        | Phase::Committed
        | Phase::Unknown
        | Phase::Registered
        | Phase::Passed
        | Phase::Looking => State::Open,
    }
}

/// Until when others have to know of it. Where ids come back, requests that name the row of a removal must, until that
/// has ended.
fn settled_at(operation: &Operation) -> Option<Timestamp> {
    match (operation.reuses_ids(), operation.is_finished()) {
        (true, true) => operation.settled.max(Some(operation.since)),
        (true, false) if !operation.is_create() || operation.is_condemned() => None,
        _ => operation.settled,
    }
}

/// Whether its row is gone, and deregistered.
fn is_row_over(operation: &Operation) -> bool {
    matches!(operation.phase, Phase::Finished(Resolution::Undone | Resolution::Deregistered))
}

/// Whether no other operation ever needs to know of this one: it is known to have done nothing, and was
/// never in doubt. Thousands of them come within seconds while the service is down.
fn is_void(operation: &Operation) -> bool {
    use Resolution::{NotDeleted, NotSent, Rejected};
    let did_nothing = matches!(operation.phase, Phase::Finished(NotSent | Rejected | NotDeleted));
    operation.closed.is_none() && did_nothing
}

#[cfg(test)]
mod tests;
