//! Operations in words (promise P9): what is known, what is not, what happens next and when, what a
//! person can do, and what it would mean to discard them.

mod history;
mod story;

use serde::Serialize;

pub use self::history::Happening;
pub(super) use self::history::history;
use super::board::Note;
use super::operation::{Operation, Phase};
use super::state::Policy;
use crate::model::{Mode, OperationId, ResourceId};

/// One operation as operators see it. It holds no secret.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// Its id.
    pub id: OperationId,
    /// The rule that matched.
    pub rule: String,
    /// `create` or `delete`.
    pub kind: &'static str,
    /// Enforce or observe.
    pub mode: Mode,
    /// The type of the resource.
    pub resource_type: String,
    /// The ids in question.
    pub resource_ids: Vec<ResourceId>,
    /// Where it stands.
    pub phase: &'static str,
    /// When the request was about to be sent (RFC 3339).
    pub intent: String,
    /// Since when it stands there (RFC 3339).
    pub since: String,
    /// What is known, and what is not.
    pub known: String,
    /// What happens next by itself.
    pub next: String,
    /// When (RFC 3339), where that is known; absent while an attempt is under way.
    pub next_at: Option<String>,
    /// Whether this process carries it on.
    pub carried_on: bool,
    /// What is tried, or was tried last, by this process.
    pub task: Option<&'static str>,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_failure: Option<String>,
    /// The neighbour that is down, and that it waits for without an attempt of its own.
    pub waits_for: Option<&'static str>,
    /// Whether it does not get on: it failed several times in a row, or waits for a neighbour.
    pub stuck: bool,
    /// Whether only a person can end it, or let it end.
    pub needs_a_person: bool,
    /// What a person can do, where there is something.
    pub remedy: Option<String>,
    /// What it would mean to discard it, where that is possible.
    pub discarding: Option<&'static str>,
}

/// What to do about an operation that this process does not carry on.
pub(super) const ELSEWHERE: &str = "on a shared journal ask the replica that owns it; else look into the log, and restart the sidecar";

/// Who tells what is known of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Teller {
    /// The process that carries operations on.
    Sidecar,
    /// Somebody who reads the journal itself.
    Journal,
}

/// Explains `operation`; `note` is what this process knows besides.
pub(super) fn explain(
    operation: &Operation,
    note: Option<&Note>,
    policy: &Policy,
    teller: Teller,
) -> Explanation {
    let mut ids = operation.targets.ids.clone();
    ids.extend(operation.bound.clone());
    ids.extend(operation.gone.iter().cloned());
    ids.extend(operation.reported.iter().cloned());
    let (before, help) = obstacle(operation, note, policy, teller);
    let is_over = operation.is_finished();
    // Of what no process carries on, no request is under way.
    let orderable = !is_over && (teller == Teller::Journal || !is_under_way(operation));
    Explanation {
        id: operation.id,
        rule: operation.plan.rule.clone(),
        kind: if operation.is_create() { "create" } else { "delete" },
        mode: operation.plan.mode,
        resource_type: operation.plan.resource_type.to_string(),
        resource_ids: ids.into_iter().collect(),
        phase: operation.phase.name(),
        intent: operation.intent.to_string(),
        since: operation.since.to_string(),
        known: story::known(operation),
        next: before + &story::next(operation, policy),
        next_at: note.and_then(|note| note.next).map(|at| at.to_string()),
        carried_on: note.is_some(),
        task: note.and_then(|note| note.task),
        attempts: note.map_or(0, |note| note.attempts),
        last_failure: note.and_then(|note| note.failure.clone()),
        waits_for: note.and_then(|note| note.waits_for),
        stuck: note.is_some_and(Note::is_stuck),
        needs_a_person: matches!(operation.phase, Phase::Reported(_)),
        remedy: story::remedy(operation).map(Into::into).or(help),
        discarding: orderable.then(|| story::discarding(operation)),
    }
}

/// Whether its own request decides what becomes of it, so that no order is taken.
pub(super) fn is_under_way(operation: &Operation) -> bool {
    matches!(operation.phase, Phase::Prepared | Phase::Committed)
}

/// What has to come before the next step, and what a person can do about that.
fn obstacle(
    operation: &Operation,
    note: Option<&Note>,
    policy: &Policy,
    teller: Teller,
) -> (String, Option<String>) {
    let nothing = (String::new(), None);
    let (before, help) = match (teller, note) {
        _ if operation.is_finished() => return nothing,
        (Teller::Journal, _) => (
            if policy.apart.is_zero() {
                "nothing until a sidecar runs on this journal; then: "
            } else {
                "by the replica that carries it on, or, once that is dead, by another: "
            },
            "see that a sidecar runs on this journal: it carries on every operation",
        ),
        (Teller::Sidecar, None) if is_under_way(operation) => return nothing,
        (Teller::Sidecar, None) => ("nothing by this process; else: ", ELSEWHERE),
        (Teller::Sidecar, Some(note)) => match note.waits_for {
            Some(peer) => {
                return (
                    format!("nothing until the {peer} answers again; then at once: "),
                    Some(format!("see that the {peer} runs and can be reached")),
                );
            }
            None if note.is_stuck() => (
                "",
                "correct what the last failure names: credentials, service, back end; it is tried again and again",
            ),
            None => return nothing,
        },
    };
    (before.into(), Some(help.into()))
}

#[cfg(test)]
mod tests;
