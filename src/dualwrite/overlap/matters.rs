//! Which of the others that the journal gives are worth holding. Pure.

use super::are_disjoint;
use crate::dualwrite::operation::{Operation, Phase};
use crate::dualwrite::rows::may_have_a_row;
use crate::model::Resolution;

/// Whether `other` may change what is concluded for `own`: for most, which are about other rows, it
/// is plain that they can't. Rows of which it is known whose they are are asked for by id.
#[must_use]
pub fn matters(own: &Operation, other: &Operation) -> bool {
    match (own.is_create(), other.is_create()) {
        (true, true) => {
            let is_undone = other.phase == Phase::Finished(Resolution::Undone);
            may_have_a_row(other) || own.reuses_ids() && is_undone
        }
        (true, false) => may_mean(other, own),
        (false, true) => !other.gone.is_empty() || may_be_meant(other, own),
        (false, false) => !other.gone.is_empty(),
    }
}

/// Whether the request of `create` names a row that `delete` means.
fn names_its_row(create: &Operation, delete: &Operation) -> bool {
    create.named().is_some_and(|id| delete.targets.ids.contains(id) || delete.gone.contains(id))
}

/// Whether `delete` may have removed the row of `create`, or saw it.
fn may_mean(delete: &Operation, create: &Operation) -> bool {
    let may_be_of_name = delete.is_by_name() && !are_disjoint(create, delete);
    match &create.bound {
        Some(id) => may_be_of_name || delete.targets.ids.contains(id) || delete.gone.contains(id),
        // A create that does not know its row asks after which deletes one may have come back.
        None => may_be_of_name || delete.is_by_id() || names_its_row(create, delete),
    }
}

/// Whether `create` has, or may yet have, a row that `delete` may have removed.
fn may_be_meant(create: &Operation, delete: &Operation) -> bool {
    let has_a_row = create.bound.is_some() || create.phase == Phase::Prepared;
    has_a_row && (!are_disjoint(create, delete) || names_its_row(create, delete))
}

#[cfg(test)]
mod tests;
