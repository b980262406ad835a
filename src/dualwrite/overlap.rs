//! Creates and deletes that overlap: who may have removed whose row (docs/DESIGN.md, section 6). Pure.

mod matters;
mod presence;

use std::borrow::Borrow;
use std::collections::BTreeSet;

pub use self::matters::matters;
pub use self::presence::{absence, presence};
use super::operation::{Operation, Phase};
use super::state::{Policy, effect_ends};
use crate::model::{Condition, DeletePlan, Effect, Kind, Resolution, ResourceId, Timestamp};

/// Whether a delete among `others` may have removed the row that `create` made, so that the
/// create has to confirm it (the overlap rule, for the one that closes second).
#[must_use]
pub fn may_be_removed<O: Borrow<Operation>>(
    create: &Operation,
    others: &[O],
    policy: &Policy,
) -> bool {
    removers(create, others, policy).next().is_some()
}

/// The deletes among `others` that may have removed the row that `create` made, or still may.
fn removers<'a, O: Borrow<Operation>>(
    create: &'a Operation,
    others: &'a [O],
    policy: &'a Policy,
) -> impl Iterator<Item = &'a Operation> {
    others.iter().map(Borrow::borrow).filter(move |other: &&Operation| {
        let means = match (&other.plan.kind, &create.bound) {
            (Kind::Create(_), _) | (_, None) => false,
            (Kind::Delete(DeletePlan::ById { .. }), Some(id)) => other.targets.ids.contains(id),
            (Kind::Delete(DeletePlan::ByProbe { .. }), Some(_)) => !are_disjoint(create, other),
        };
        means && had_effect(other) && !was_over(other, create, policy)
    })
}

/// Whether `delete` was answered before `create` was sent, and so can't have chosen its row.
fn was_over(delete: &Operation, create: &Operation, policy: &Policy) -> bool {
    let past = delete.closed.is_none_or(|closed| closed.effect == Effect::Past);
    past && answered(delete).is_some_and(|at| at.plus(policy.apart()) < create.intent)
}

/// When the exchange of `delete` was over.
fn answered(delete: &Operation) -> Option<Timestamp> {
    delete.closed.map(|closed| closed.at).or(delete.answered)
}

/// Whether a delete did, or may still do, something: it was neither refused nor left unsent.
fn had_effect(delete: &Operation) -> bool {
    let ended_without = Phase::Finished(Resolution::NotDeleted);
    let never_left = Phase::Finished(Resolution::NotSent);
    delete.phase != never_left && (delete.phase != ended_without || delete.closed.is_some())
}

/// The rows that `delete` may have removed, and whether a create that is still without an id may
/// have made one more.
#[must_use]
pub fn candidates<O: Borrow<Operation>>(
    delete: &Operation,
    others: &[O],
    policy: &Policy,
) -> (BTreeSet<ResourceId>, bool) {
    let mut ids = delete.targets.ids.clone();
    let mut open = false;
    if matches!(delete.plan.kind, Kind::Delete(DeletePlan::ByProbe { .. })) {
        let end = match delete.closed {
            Some(closed) if closed.effect == Effect::Past => closed.at,
            _ => effect_ends(delete, policy),
        };
        let end = end.plus(policy.apart());
        let others = others.iter().map(Borrow::borrow);
        let beside = others.filter(|other: &&Operation| {
            other.is_create() && other.intent <= end && !are_disjoint(other, delete)
        });
        for create in beside {
            match (&create.phase, &create.bound) {
                // What is undone is deregistered by its own operation.
                (Phase::Undoing(..) | Phase::Sweeping(..), _) => {}
                (_, Some(id)) => _ = ids.insert(id.clone()),
                (Phase::Prepared, None) => open = true,
                (_, None) => {}
            }
        }
    }
    (ids, open)
}

/// The rows that others have on record as gone. Whoever recorded a row owes its deregistration,
/// and its sweep where it is young: nobody else needs to see to it, so that many deletes of one
/// name don't each deregister what the others removed. A discarded one owes nothing any more.
#[must_use]
pub fn owed_by<'a>(others: impl Iterator<Item = &'a Operation>) -> BTreeSet<ResourceId> {
    let others = others.filter(|other| !other.is_discarded());
    others.flat_map(|other| other.gone.iter().cloned()).collect()
}

/// Whether no row that `create` can make is one that `other` can make or mean: both compare the same
/// field, with different values.
pub(super) fn are_disjoint(create: &Operation, other: &Operation) -> bool {
    let made = conditions(create);
    conditions(other)
        .iter()
        .any(|meant| made.iter().any(|made| made.field == meant.field && made.value != meant.value))
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
