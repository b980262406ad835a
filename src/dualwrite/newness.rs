//! What an answer with an id means: a new row, one that was found, or neither proven
//! (docs/design/CORE.md, section 2). Pure.

use std::sync::Arc;

use super::operation::{Operation, Phase};
use super::outcome::CreateOutcome;
use super::overlap::are_disjoint;
use super::rows::{may_have_a_row, was_undone};
use crate::model::{CreatePlan, Newness, PassReason, Resolution, ResourceId};

/// What the rule's proof says of a row, by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    New,
    Found,
    None(&'static str),
}

/// Whether a create can only come to a row that nobody could undo, whatever the service answers: that is
/// known before it is sent.
#[must_use]
pub fn is_hopeless(plan: &CreatePlan) -> bool {
    plan.replayed && plan.new == Newness::Always && !plan.keeps_owner
}

/// Whether it takes the journal to tell what an answer with an id means.
#[must_use]
pub fn needs_others(plan: &CreatePlan) -> bool {
    plan.new != Newness::Always || plan.replayed
}

/// What an answer with `status` and `id` means for the create `own`. `holder` is the operation that holds
/// the id; `others` are the creates on the type that may not know their row. Both are asked for only if
/// the plan [needs](needs_others) them.
#[must_use]
pub fn judge(
    own: &Operation,
    plan: &CreatePlan,
    status: u16,
    id: ResourceId,
    holder: Option<&Operation>,
    others: &[Arc<Operation>],
) -> CreateOutcome {
    if plan.undo.call.for_id(&id).is_none() || plan.confirm.call.for_id(&id).is_none() {
        let why = "the id can't be one segment of a path, so that the row could not be undone";
        return CreateOutcome::Unproven { id, why };
    }
    let proof = proof(own, plan, status, &id);
    let was_undone = others.iter().any(|other| was_undone(other, &id));
    let others = || {
        let others = others.iter().map(Arc::as_ref);
        let is_recorded = |other: &Operation| other.pass != Some(PassReason::Unrecorded);
        others.filter(move |other| {
            is_recorded(other) && may_have_a_row(other) && !are_disjoint(own, other)
        })
    };
    match (proof, holder) {
        // The journal refuses an id that is held: the create is told of the conflict.
        (Proof::New, Some(_)) => CreateOutcome::Committed(id),
        (_, Some(holder)) if !stands(holder) => CreateOutcome::Disputed(id),
        (Proof::Found, Some(_)) => CreateOutcome::Found { id, held: true },
        (Proof::None(_), Some(holder)) if holder.since < own.intent => {
            CreateOutcome::Found { id, held: true }
        }
        (Proof::New, None) if plan.new != Newness::Always && others().any(is_not_enforced) => {
            let why =
                "a create that is not enforced, and whose outcome is unknown, may have made it";
            CreateOutcome::Unproven { id, why }
        }
        (Proof::New, None) => CreateOutcome::Committed(id),
        (Proof::Found, None) if was_undone || others().any(is_unresolved) => {
            CreateOutcome::Disputed(id)
        }
        (Proof::Found, None) => CreateOutcome::Found { id, held: false },
        (Proof::None(why), _) => CreateOutcome::Unproven { id, why },
    }
}

fn proof(own: &Operation, plan: &CreatePlan, status: u16, id: &ResourceId) -> Proof {
    let proof = match (&plan.new, &own.before) {
        (Newness::Always, _) => Proof::New,
        (Newness::Status(new), _) if new.contains(&status) => Proof::New,
        (Newness::Status(_), _) => Proof::Found,
        (Newness::ListedBefore, Some(before)) if before.contains(id) => Proof::Found,
        (Newness::ListedBefore, Some(_)) => Proof::New,
        (Newness::ListedBefore, None) => {
            Proof::None("there is no complete list from before the create was sent")
        }
    };
    if proof == Proof::New && plan.replayed {
        return Proof::None(
            "the request has a replay key, so that its answer may be an earlier one",
        );
    }
    proof
}

/// Whether the row that an operation holds stays, as far as that operation knows.
fn stands(holder: &Operation) -> bool {
    matches!(
        holder.phase,
        Phase::Registered
            | Phase::Passed
            | Phase::Finished(Resolution::Registered | Resolution::Passed)
    )
}

fn is_not_enforced(other: &Operation) -> bool {
    !other.is_enforced() || !is_unresolved(other)
}

/// Whether it may yet turn out which row is its own.
fn is_unresolved(other: &Operation) -> bool {
    matches!(other.phase, Phase::Prepared | Phase::Unknown)
}

#[cfg(test)]
mod tests;
