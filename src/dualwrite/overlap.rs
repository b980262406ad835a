//! Creates and deletes that overlap: who may have removed whose row (docs/DESIGN.md, section 6). Pure.

mod matters;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::matters::matters;
use super::operation::{Operation, Phase};
use super::settle::{chosen, until};
use super::state::Policy;
use crate::model::{Condition, DeletePlan, Kind, Resolution, ResourceId};

/// The deletes among `others` that may have removed the row that `create` made, or still may, so that the
/// create has to confirm it (the overlap rule, for the one that closes second).
pub fn removers<'a>(
    create: &'a Operation,
    others: &'a [Arc<Operation>],
    policy: &'a Policy,
) -> impl Iterator<Item = &'a Operation> {
    others.iter().map(Arc::as_ref).filter(move |other: &&Operation| {
        let means = match (&other.plan.kind, &create.bound) {
            (Kind::Create(_), _) | (_, None) => false,
            (Kind::Delete(DeletePlan::ById { .. }), Some(id)) => other.targets.ids.contains(id),
            (Kind::Delete(DeletePlan::ByProbe { .. }), Some(_)) => !are_disjoint(create, other),
        };
        means
            && had_effect(other)
            && !was_over(other, create, policy)
            && !came_later(other, create, policy)
    })
}

/// Whether `delete` began after the registration of `create` was on record. Then it deals with the row itself, so that
/// nobody holds a create up by repeating deletes.
fn came_later(delete: &Operation, create: &Operation, policy: &Policy) -> bool {
    let stands = matches!(create.phase, Phase::Registered | Phase::Passed);
    stands && create.since.plus(policy.apart) < delete.intent
}

/// Whether `delete` had chosen its rows before `create` was sent. Where ids come back, a proxy may
/// repeat a DELETE, which then removes whatever row has the id by then.
fn was_over(delete: &Operation, create: &Operation, policy: &Policy) -> bool {
    let end = if create.reuses_ids() { until(delete, policy) } else { chosen(delete, policy) };
    end.is_some_and(|end| end < create.intent)
}

/// Whether a delete did, or may still do, something: it was neither refused nor left unsent.
fn had_effect(delete: &Operation) -> bool {
    match delete.phase {
        Phase::Finished(Resolution::NotSent) => false,
        Phase::Finished(Resolution::NotDeleted) => delete.closed.is_some(),
        _ => true,
    }
}

/// The rows that `delete` may have removed, and whether a create that is still without an id may
/// have made one more.
#[must_use]
pub fn candidates(
    delete: &Operation,
    others: &[Arc<Operation>],
    policy: &Policy,
) -> (BTreeSet<ResourceId>, bool) {
    let mut ids = delete.targets.ids.clone();
    let mut open = false;
    if delete.is_by_name() {
        let overlapping = others.iter().filter(|other| {
            other.is_create() && !was_over(delete, other, policy) && !are_disjoint(other, delete)
        });
        for create in overlapping {
            match (&create.phase, &create.bound) {
                // What is undone is deregistered by its own operation.
                (Phase::Undoing(_) | Phase::Finished(Resolution::Undone), _) => {}
                (_, Some(id)) => _ = ids.insert(id.clone()),
                (Phase::Prepared, None) => open = true,
                (_, None) => {}
            }
        }
    }
    (ids, open)
}

/// The rows that others have on record as gone. The operation that recorded a row deregisters it, so that
/// many deletes of one name don't each deregister what the others removed. A discarded one no longer does.
/// Where ids come back, a row that `own` listed may be another than the one that an operation which ended removed.
#[must_use]
pub fn owed_by<'a>(
    own: &Operation,
    others: impl Iterator<Item = &'a Operation>,
) -> BTreeSet<ResourceId> {
    let others = others.filter(|other| !other.is_discarded());
    let owed = others.flat_map(|other| {
        let is_over = other.is_finished() && own.reuses_ids();
        other.gone.iter().filter(move |id| !(is_over && own.targets.ids.contains(*id)))
    });
    owed.cloned().collect()
}

/// Whether no row that `create` can make is one that `other` can make or mean: both compare the same
/// field, with different values.
pub(super) fn are_disjoint(create: &Operation, other: &Operation) -> bool {
    let made = conditions(create);
    conditions(other).iter().any(|meant| made.iter().any(|made| made.contradicts(meant)))
}

fn conditions(operation: &Operation) -> &[Condition] {
    let probe = match &operation.plan.kind {
        Kind::Create(create) => create.probe.as_ref(),
        Kind::Delete(DeletePlan::ByProbe { probe, .. }) => Some(probe),
        Kind::Delete(DeletePlan::ById { .. }) => None,
    };
    probe.map_or(&[], |probe| &probe.conditions)
}

#[cfg(test)]
mod tests;
