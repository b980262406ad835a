//! Which row is whose: the claim rule and the overlap rule of DESIGN §3. Pure.

mod matters;
mod presence;

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

pub use self::matters::matters;
pub use self::presence::{absence, presence};
use super::operation::{Operation, Phase};
use super::state::{Policy, effect_ends};
use crate::model::{
    Bounds, Condition, DeletePlan, Effect, Kind, Resolution, ResourceId, Timestamp,
};

/// A row that a probe saw and that satisfies the probe's conditions.
#[derive(Clone, PartialEq)]
pub struct SightedRow {
    /// Its id.
    pub id: ResourceId,
    /// When the service made it, where the rule says how to read that.
    pub created_at: Option<Timestamp>,
    /// The row itself, to compare with what other creates asked for. Memory only.
    pub json: Value,
}

impl fmt::Debug for SightedRow {
    /// Without what the service says of it (promise P7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SightedRow").field(&self.id).field(&self.created_at).finish()
    }
}

/// What the rows that a probe saw mean for an unknown create.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// No row can be this create's.
    NoRow,
    /// This row is undone: it was made by this create, or by another that is also undone.
    Claim {
        /// Its id.
        id: ResourceId,
        /// When the service made it.
        created_at: Timestamp,
        /// When the probe saw it.
        sighted: Timestamp,
    },
    /// A create that is still under way may have made it.
    Wait,
    /// Rows may be this create's, and that can't be proven (promise P4).
    Unprovable {
        /// Their ids.
        rows: Vec<ResourceId>,
        /// What is missing.
        why: String,
    },
}

/// What is known besides the rows.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a, O> {
    /// When the probe's answer was complete.
    pub at: Timestamp,
    /// Every other operation on the type that may have made or bound one of the rows.
    pub others: &'a [O],
    /// Whether the service's clock was seen to be further from ours than S.
    pub skewed: bool,
}

/// Judges the rows that a probe saw for the unknown create `own`.
#[must_use]
pub fn judge<O: Borrow<Operation>>(
    own: &Operation,
    rows: &[SightedRow],
    seen: &Sighting<'_, O>,
    policy: &Policy,
) -> Verdict {
    let others = || seen.others.iter().map(Borrow::borrow);
    let bound: BTreeSet<&ResourceId> =
        others().filter_map(|other: &Operation| other.bound.as_ref()).collect();
    let free = rows.iter().filter(|row| !bound.contains(&row.id));
    // With skewed clocks no time says anything: then no row is out of the question.
    let in_window: Vec<&SightedRow> = free
        .filter(|row| {
            seen.skewed || row.created_at.is_none_or(|at| may_have_made_at(own, at, policy))
        })
        .collect();
    if in_window.is_empty() {
        return Verdict::NoRow;
    }
    let unprovable = |why: &str| Verdict::Unprovable {
        rows: in_window.iter().map(|row| row.id.clone()).collect(),
        why: why.to_owned(),
    };
    let rivals: Vec<&Operation> = others()
        .filter(|other| in_window.iter().any(|row| is_rival(other, row, seen.at, policy)))
        .collect();
    if rivals.iter().any(|rival| matches!(rival.phase, Phase::Prepared)) {
        return Verdict::Wait;
    }
    // Rows go to whoever stops looking first, so that the others can still catch one that lands late.
    let turn = |operation: &Operation| (effect_ends(operation, policy), operation.id);
    let before_us = |rival: &&Operation| {
        rival.phase == Phase::Unknown && rival.is_enforced() && turn(rival) < turn(own)
    };
    if policy.exclusive_writer && rivals.iter().any(before_us) {
        return Verdict::Wait;
    }
    if !policy.exclusive_writer {
        return unprovable("journal.exclusive_writer is not set: others may write to the service");
    }
    if seen.skewed {
        return unprovable("the service's clock is further from ours than bounds.clock_skew");
    }
    if in_window.iter().any(|row| row.created_at.is_some_and(|at| is_unkept(own, at, policy))) {
        return unprovable("the create that made it may have been forgotten before evidence came");
    }
    if rivals.iter().any(|rival| rival.is_discarded()) {
        return unprovable("a create that an operator discarded may have made it");
    }
    if rivals.iter().any(|rival| !rival.is_enforced()) {
        return unprovable(
            "a create that is not enforced, and whose outcome is unknown, may have made it",
        );
    }
    if in_window.len() > 1 + rivals.len() {
        return unprovable("there are more such rows than creates with an unknown outcome");
    }
    let oldest = in_window.iter().filter_map(|row| Some((row.created_at?, &row.id))).min();
    match oldest {
        Some((created_at, id)) if in_window.iter().all(|row| row.created_at.is_some()) => {
            Verdict::Claim { id: id.clone(), created_at, sighted: seen.at }
        }
        _ => unprovable("a row has no readable created_at"),
    }
}

/// Whether `operation` may have made a row whose `created_at` is `at`:
/// `at` is in `[intent − S, end + L + S]`, less the time for which it was looked for in vain before
/// evidence came.
#[must_use]
pub fn may_have_made_at(operation: &Operation, at: Timestamp, policy: &Policy) -> bool {
    let skew = policy.bounds.clock_skew;
    let open = operation.closed.is_none() && matches!(operation.phase, Phase::Prepared);
    let from = operation.cleared.unwrap_or(operation.intent).minus(skew);
    at >= from && (open || at <= effect_ends(operation, policy).plus(skew))
}

/// Whether the create that made a row at `at` may have been forgotten: the journal kept nothing for
/// `own` then.
fn is_unkept(own: &Operation, at: Timestamp, policy: &Policy) -> bool {
    let Bounds { late_effect, clock_skew } = policy.bounds;
    own.unkept.iter().any(|(since, until)| {
        at > since.plus(late_effect + clock_skew) && at < until.minus(policy.reach())
    })
}

/// Whether `other` may have made `row`: a create that was intended before the row was seen, whose
/// own `where` the row satisfies, and whose outcome is open or unknown. How the parent was
/// spelled never counts, and a create without a probe may have made any row.
fn is_rival(other: &Operation, row: &SightedRow, sighted: Timestamp, policy: &Policy) -> bool {
    let Kind::Create(create) = &other.plan.kind else { return false };
    let satisfied = create
        .probe
        .as_ref()
        .is_none_or(|probe| probe.conditions.iter().all(|condition| condition.holds(&row.json)));
    let in_time = row.created_at.is_none_or(|at| may_have_made_at(other, at, policy));
    may_have_a_row(other) && satisfied && in_time && other.intent <= sighted.plus(policy.apart())
}

/// Whether a create may have made a row that it does not know.
fn may_have_a_row(create: &Operation) -> bool {
    match create.phase {
        Phase::Prepared | Phase::Unknown | Phase::Reported(_) => true,
        Phase::Finished(Resolution::Unsettled) => true,
        // A person ended it; that tells nothing of a row whose id nobody knows.
        Phase::Finished(Resolution::Discarded) => create.bound.is_none(),
        _ => false,
    }
}

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

/// Whether no row that `create` can make is one that `delete` can mean: both compare the same
/// field, with different values.
fn are_disjoint(create: &Operation, delete: &Operation) -> bool {
    let made = conditions(create);
    conditions(delete)
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

/// Whether a row that is known to be `maker`'s was made, by the service's clock, outside the time
/// in which it can have been made by ours: then the clocks are further apart than S.
#[must_use]
pub fn shows_skew(
    maker: &Operation,
    created_at: Timestamp,
    known_by: Timestamp,
    policy: &Policy,
) -> bool {
    let skew = policy.bounds.clock_skew;
    created_at < maker.intent.minus(skew) || created_at > known_by.plus(skew)
}

#[cfg(test)]
mod tests;
