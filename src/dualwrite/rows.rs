//! Whose a listed row may be: rows are judged, not operations (docs/design/CORE.md, section 3). Pure.
//!
//! A create whose outcome is unknown lists the rows that it may have made. A row that no operation
//! holds was made by one of its *makers*: the creates that do not know their row and may have made this
//! one. If each of them is certain to have told no client of a row, the row is *condemned*: an operation
//! of its own removes it. Which of the makers made it does not matter, and all of them go on looking.

use std::sync::Arc;

use std::fmt;

use serde_json::Value;

use super::operation::{Operation, Phase};
use crate::model::{Kind, PassReason, Resolution, ResourceId};

/// A row of a list that satisfies the probe's conditions.
#[derive(Clone, PartialEq)]
pub struct SightedRow {
    /// Its id.
    pub id: ResourceId,
    /// Whether a create that found it has passed it on to its client.
    pub is_found: bool,
    /// Whether an earlier row with its id may have gone, so that this one may have come since.
    pub is_back: bool,
    /// The row itself, to compare with what other creates asked for. Memory only.
    pub json: Value,
}

impl SightedRow {
    /// Notes whose the row is: `holder` is another operation that holds its id, `creates` are the other creates on the
    /// type, and `deletes`, where ids come back, those that may have removed an earlier row. Gives whether a create that
    /// does not know its row may have made it.
    pub(super) fn assess(
        &mut self,
        holder: Option<&Operation>,
        creates: &[Arc<Operation>],
        deletes: &[Arc<Operation>],
    ) -> bool {
        // Where ids come back, the row that an operation holds may have gone, and this be another.
        let is_removed = |holder: &Operation| {
            holder.reuses_ids() && (holder.is_condemned() || holder.is_row_gone())
        };
        self.is_back = holder.is_some_and(is_removed)
            || deletes.iter().any(|delete| may_have_removed(delete, &self.id))
            || creates.iter().any(|create| was_undone(create, &self.id));
        // A create that found the row did not make it.
        self.is_found = holder.is_some_and(Operation::has_found);
        self.is_back || self.is_found || holder.is_none()
    }
}

impl fmt::Debug for SightedRow {
    /// Without what the service says of it (promise P7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SightedRow").field(&self.id).finish()
    }
}

/// What a list means for the create that asked for it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Judgement {
    /// Rows that no client was told of and no create may keep.
    pub condemned: Vec<ResourceId>,
    /// What the other rows mean.
    pub rest: Verdict,
}

/// What rows that are not condemned mean for an unknown create.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Verdict {
    /// No row can be this create's.
    #[default]
    NoRow,
    /// A create that is in flight may have made one.
    Wait,
    /// Rows may be this create's, and that can't be proven (promise P4).
    Unprovable {
        /// Their ids.
        rows: Vec<ResourceId>,
        /// What is missing.
        why: String,
    },
}

/// What follows for one row.
enum Ruling {
    Condemn,
    Wait,
    Report(&'static str),
}

/// Judges `free`, the listed rows that no operation holds, for the unknown create `own`. `others` are
/// all other creates on the type that may not know their row, as of a time after the list was answered;
/// `all_known` tells whether the journal knows every create of the type.
#[must_use]
pub fn judge(
    own: &Operation,
    free: &[SightedRow],
    others: &[Arc<Operation>],
    all_known: bool,
) -> Judgement {
    let (mut judgement, mut reported, mut reason) = (Judgement::default(), Vec::new(), None);
    for row in free {
        if !may_have_made(own, row) {
            continue;
        }
        let makers = others.iter().map(Arc::as_ref).filter(|other| may_have_made(other, row));
        match rule_on(std::iter::once(own).chain(makers), all_known) {
            Ruling::Condemn if row.is_found => {
                reported.push(row.id.clone());
                reason = Some("a later create found the row, and passed it on to its client");
            }
            Ruling::Condemn => judgement.condemned.push(row.id.clone()),
            Ruling::Wait => judgement.rest = Verdict::Wait,
            Ruling::Report(why) => {
                reported.push(row.id.clone());
                reason = Some(why);
            }
        }
    }
    // While one row waits, nothing ends, and so nothing is reported yet.
    if let (Some(why), Verdict::NoRow) = (reason, &judgement.rest) {
        judgement.rest = Verdict::Unprovable { rows: reported, why: why.to_owned() };
    }
    judgement
}

/// Why a row can't be proven to be nobody else's if the journal may not know every create of its type.
const UNRECORDED: &str = "creates of this type may pass unrecorded: a rule observes, or others write to the service (no \
                          journal.exclusive_writer)";

/// What becomes of a row that one of `makers` made.
fn rule_on<'a>(makers: impl Iterator<Item = &'a Operation>, all_known: bool) -> Ruling {
    let mut doubt = (!all_known).then_some(UNRECORDED);
    for maker in makers {
        doubt = doubt.or(match &maker.phase {
            Phase::Prepared => return Ruling::Wait,
            Phase::Finished(Resolution::Discarded) => {
                Some("a create that an operator discarded may have made it")
            }
            _ if maker.pass == Some(PassReason::Unrecorded) => Some(UNRECORDED),
            _ if !maker.is_enforced() => Some(
                "a create that is not enforced, and whose outcome is unknown, may have made it",
            ),
            Phase::Unknown if maker.reuses_ids() => {
                Some("ids come back under the rule's `new`, so that it may be an older row")
            }
            Phase::Unknown if maker.is_replayed() => {
                Some("its request has a replay key, so that another answer may name the row")
            }
            Phase::Unknown if maker.before.is_none() => Some(
                "there is no complete list from before a create that may have made it was sent",
            ),
            Phase::Unknown => None,
            _ => Some("a create that was reported may have made it"),
        });
    }
    doubt.map_or(Ruling::Condemn, Ruling::Report)
}

/// Whether `create` may have made `row`: it does not know its own row, `row` is as it asked for, and was
/// not there before it was sent. How the parent was spelled never counts, and a create without a probe may have
/// made any row.
fn may_have_made(create: &Operation, row: &SightedRow) -> bool {
    let Kind::Create(plan) = &create.plan.kind else { return false };
    let is_as_asked = plan.probe.as_ref().is_none_or(|probe| probe.matches(&row.json));
    let was_there = create.before.as_ref().is_some_and(|before| before.contains(&row.id));
    // What was reported stays so: by now the journal may have forgotten that the row is back.
    let is_back = row.is_back || create.reported.contains(&row.id);
    may_have_a_row(create) && is_as_asked && (!was_there || is_back)
}

/// Whether the row `id` of `create` was undone lately: an answer may name a row which is gone, and another may have
/// come under its id.
#[must_use]
pub fn was_undone(create: &Operation, id: &ResourceId) -> bool {
    create.bound.as_ref() == Some(id) && create.phase == Phase::Finished(Resolution::Undone)
}

/// Whether `delete` may have removed a row with this id.
fn may_have_removed(delete: &Operation, id: &ResourceId) -> bool {
    delete.is_by_name() || delete.targets.ids.contains(id) || delete.gone.contains(id)
}

/// Whether a create may have made a row that it does not know.
pub(super) fn may_have_a_row(create: &Operation) -> bool {
    match create.phase {
        Phase::Prepared | Phase::Unknown | Phase::Reported(_) => true,
        Phase::Finished(Resolution::Unsettled) => true,
        // A person ended it; that tells nothing of a row whose id nobody knows.
        Phase::Finished(Resolution::Discarded) => create.bound.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
