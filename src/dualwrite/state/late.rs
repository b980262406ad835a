//! Evidence: what was learnt of an operation after another process had taken it over, or from a late answer. It is never
//! refused (docs/DESIGN.md, section 2). Pure.

use super::Event;
use super::on::{stands, unproven};
use crate::dualwrite::operation::{Operation, Phase};
use crate::dualwrite::outcome::{CreateOutcome, DeleteOutcome};
use crate::model::{Effect, Evidence, Late, Record, UndoReason};

/// What the owner of the operation must learn of `event`, where the journal refused what follows from
/// it because another process has taken the operation over. `None` where the other finds out by
/// itself, or where nothing left.
#[must_use]
pub fn evidence(operation: &Operation, event: &Event) -> Option<Late> {
    match event {
        Event::CreateAnswered(CreateOutcome::Committed(id)) => Some(Late::Row { id: id.clone() }),
        Event::CreateAnswered(
            CreateOutcome::Unknown
            | CreateOutcome::Found { .. }
            | CreateOutcome::Disputed(_)
            | CreateOutcome::Unproven { .. },
        )
        | Event::DeleteAnswered(DeleteOutcome::Look(_)) => Some(Late::Sent),
        // Also where none was acknowledged: an attempt may land.
        Event::Acknowledged { .. } | Event::NotAcknowledged { .. } => {
            Some(Late::Row { id: operation.bound.clone()? })
        }
        // Evidence itself is passed on by the driver, which knows whether it waits in the journal.
        _ => None,
    }
}

/// What follows from evidence for an operation that has not ended. It may come twice.
pub(super) fn late(operation: &Operation, late: Late) -> Option<Record> {
    let knows_no_row = matches!(
        operation.phase,
        Phase::Prepared | Phase::Unknown | Phase::Reported(_) | Phase::Looking
    );
    match late {
        Late::Sent if knows_no_row => Some(Record::Closed { effect: Effect::MayCome }),
        Late::Row { .. } if !operation.is_create() => None,
        // It is not proven, or no longer, that this create made the row: nobody undoes it.
        Late::Row { .. } if !operation.is_new => None,
        Late::Row { id } if knows_no_row && is_stale(operation) => {
            Some(unproven(operation, id, STALE))
        }
        Late::Row { id } if knows_no_row && !operation.is_enforced() => Some(stands(operation, id)),
        // The process that asked for the row can answer nobody any more, and its registration may land from now on.
        Late::Row { id }
            if knows_no_row
                || operation.is_condemned() && operation.bound.as_ref() == Some(&id) =>
        {
            let (evidence, reason) = (Evidence::LateAnswer, UndoReason::Unknown);
            Some(Record::Undoing { id, evidence, reason, ambiguous: true })
        }
        _ => None,
    }
}

/// Why a row is reported that late evidence names.
pub const STALE: &str =
    "late evidence names the row, and another may have its id, or its answer, by now";

/// Whether late evidence proves nothing any more: what became of the row's id meanwhile may be forgotten, or the answer
/// may repeat an earlier one.
fn is_stale(operation: &Operation) -> bool {
    let is_forgotten = operation.reuses_ids() && matches!(operation.phase, Phase::Reported(_));
    operation.is_enforced() && (operation.is_replayed() || is_forgotten)
}

#[cfg(test)]
mod tests;
