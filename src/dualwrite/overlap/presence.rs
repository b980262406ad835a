//! What it means that a row is, or is not, to be seen. Pure.
//!
//! Services commit after they answer. So a row that can't be seen may be yet to come, and one that
//! is there may be about to go: whoever took the one for a removal would deregister a row that is
//! about to stand, and whoever took the other for an end would leave an edge behind.

use std::borrow::Borrow;

use super::{answered, removers};
use crate::dualwrite::operation::Operation;
use crate::dualwrite::state::{Policy, Presence, born_by};
use crate::model::{DeletePlan, Kind, ResourceId, Timestamp};

/// What it means for `create`, which stands, that its row was `seen` so at `asked`.
#[must_use]
pub fn presence<O: Borrow<Operation>>(
    seen: Presence,
    create: &Operation,
    deletes: &[O],
    asked: Timestamp,
    policy: &Policy,
) -> Presence {
    let Some(id) = &create.bound else { return Presence::Unsettled };
    let ended = |delete: &Operation| {
        let late = policy.bounds.late_sight() + policy.apart();
        answered(delete).is_some_and(|at| asked >= at.plus(late))
    };
    match seen {
        Presence::Gone => {
            absence(id, Some(create), deletes.iter().map(Borrow::borrow), asked, policy)
        }
        Presence::Present if removers(create, deletes, policy).all(ended) => Presence::Present,
        Presence::Present | Presence::Unsettled => Presence::Unsettled,
    }
}

/// What it means that the row with `id` was not to be seen at `asked`. `maker` is the create that
/// holds the id, if one does.
///
/// It is gone if somebody saw it λ before, or if it can't be yet to come.
#[must_use]
pub fn absence<'a>(
    id: &ResourceId,
    maker: Option<&Operation>,
    mut deletes: impl Iterator<Item = &'a Operation>,
    asked: Timestamp,
    policy: &Policy,
) -> Presence {
    let born = maker.is_none_or(|maker| asked >= born_by(maker, policy));
    let seen = |delete: &Operation| saw(delete, id) && policy.shows(asked, delete.intent);
    if born || deletes.any(seen) { Presence::Gone } else { Presence::Unsettled }
}

/// Whether the probe before `delete` saw the row with `id`, or it is proven gone since.
fn saw(delete: &Operation, id: &ResourceId) -> bool {
    let seen = match &delete.plan.kind {
        Kind::Delete(DeletePlan::ByProbe { .. }) => true,
        Kind::Delete(DeletePlan::ById { .. }) => delete.targets.seen,
        Kind::Create(_) => false,
    };
    seen && delete.targets.ids.contains(id) || delete.gone.contains(id)
}
