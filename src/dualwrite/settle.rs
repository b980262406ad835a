//! What is concluded from seeing a row, or from not seeing it (docs/design/CORE.md, section 5). Pure.
//!
//! Services commit after they answer, and reads lag. So a row that can't be seen may be yet to come, and
//! one that is there may be about to go. *Gone* counts only if it was asked after the last instant at which
//! a request may make the row or its registration; *there* only if it was asked after the last instant at
//! which a request may remove the row.

use super::operation::{Operation, Phase};
use super::state::Policy;
use crate::model::{Commits, DeletePlan, Effect, Kind, ResourceId, Timestamp};

/// What a question for a row was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The row is there.
    Present,
    /// It is not.
    Gone,
}

/// An instant after which nothing more happens, or `None` while a request is under way.
pub type End = Option<Timestamp>;

/// The end of what never was.
const NEVER: End = Some(Timestamp::from_micros(i64::MIN));

/// What `seen` proves, if it was asked for at `asked`. `made` is the end of what may make the row,
/// `removed` the end of what may remove it. `None` means that it has to be asked again.
#[must_use]
pub fn conclude(seen: Presence, asked: Timestamp, made: End, removed: End) -> Option<Presence> {
    let end = match seen {
        Presence::Present => removed,
        Presence::Gone => made,
    };
    is_over(end, asked).then_some(seen)
}

/// Whether that end has come at `now`.
#[must_use]
pub fn is_over(end: End, now: Timestamp) -> bool {
    end.is_some_and(|end| now >= end)
}

/// The last instant at which a reader may not see yet what the request of `operation` does.
#[must_use]
pub fn until(operation: &Operation, policy: &Policy) -> End {
    let answered = operation.answered.map(|at| (at, Effect::Past));
    // What is known of a create may have come after its exchange was closed.
    let (at, effect) = answered.or(operation.closed.map(|closed| (closed.at, closed.effect)))?;
    let is_done = effect == Effect::Past && operation.plan.commits == Commits::BeforeAnswer;
    let late = if is_done { policy.lag() } else { policy.lag() + policy.bounds.late_effect };
    Some(at.plus(late))
}

/// The last instant at which `delete` may choose a row to remove: a request that was answered has chosen.
#[must_use]
pub fn chosen(delete: &Operation, policy: &Policy) -> End {
    match delete.closed?.effect {
        Effect::MayCome => until(delete, policy),
        Effect::Past => Some(delete.closed?.at.plus(policy.apart)),
    }
}

/// The last instant at which a registration of the row of `create` may land.
#[must_use]
pub fn registered(create: &Operation, policy: &Policy) -> End {
    match (&create.phase, create.registering) {
        (Phase::Prepared | Phase::Committed, _) => None,
        (_, None) => NEVER,
        (_, Some(at)) => Some(at.plus(policy.bounds.late_effect + policy.apart)),
    }
}

/// The last instant at which the row with `id`, or its registration, may come into being, as far as `delete`
/// knows; `maker` is the create that holds the id, if one does.
#[must_use]
pub fn made(
    id: &ResourceId,
    delete: &Operation,
    maker: Option<&Operation>,
    policy: &Policy,
) -> End {
    let row = match maker {
        // It was there before the exchange of the delete was over.
        _ if saw(delete, id) => Some(delete.closed?.at.plus(policy.lag())),
        Some(maker) => until(maker, policy),
        // It is older than the journal's records, or was made past the sidecar, or its create has yet to learn the id
        // and looks for the delete then.
        None => Some(delete.intent.plus(policy.lag())),
    };
    latest(row, maker.map_or(NEVER, |maker| registered(maker, policy)))
}

/// Whether there never was a row with `id`, given that it was not there at `asked`: `delete` did not see it, and no
/// create holds its id. A create that has yet to learn its id looks for `delete` itself. Once nothing of `delete` can
/// come any more, the journal may have forgotten who held the id.
#[must_use]
pub fn never_was(
    id: &ResourceId,
    delete: &Operation,
    maker: Option<&Operation>,
    asked: Timestamp,
    policy: &Policy,
) -> bool {
    let Kind::Delete(DeletePlan::ById { id: named, .. }) = &delete.plan.kind else { return false };
    // A look-up that showed a row with another id than the request named has seen that row.
    let is_unknown = maker.is_none() && named == id && !saw(delete, id);
    is_unknown && !is_over(until(delete, policy), asked)
}

/// Whether `delete` can find no further rows, if all that it knows are settled and it looked at `asked`.
/// `open` tells that a create whose row it may mean has no id yet.
#[must_use]
pub fn is_exhausted(delete: &Operation, open: bool, asked: Timestamp, policy: &Policy) -> bool {
    let may_come = delete.closed.is_some_and(|closed| closed.effect == Effect::MayCome);
    let may_find_more = delete.is_by_name() && (open || may_come);
    !may_find_more || is_over(until(delete, policy), asked)
}

/// The last instant at which one of `deletes` may remove a row.
#[must_use]
pub fn removed<'a>(deletes: impl Iterator<Item = &'a Operation>, policy: &Policy) -> End {
    deletes.map(|delete| until(delete, policy)).fold(NEVER, latest)
}

fn latest(one: End, other: End) -> End {
    Some(one?.max(other?))
}

/// Whether the row with `id` was there before `delete` was sent.
fn saw(delete: &Operation, id: &ResourceId) -> bool {
    (delete.targets.seen || delete.is_by_name()) && delete.targets.ids.contains(id)
}

#[cfg(test)]
mod tests;
