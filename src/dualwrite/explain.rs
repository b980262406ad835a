//! Unfinished operations in words (promise P9): what is known, what is not, what happens next
//! and when, and what a person can do.

use serde::Serialize;

use super::board::Note;
use super::driver::STUCK_AFTER;
use super::operation::{Operation, Phase};
use super::state::{Policy, look_ends};
use crate::model::{Effect, Mode, OperationId, ResourceId, Timestamp};

/// One operation as operators see it.
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
    /// What happens next.
    pub next: String,
    /// When (RFC 3339), where that is known.
    pub next_at: Option<String>,
    /// What is tried, or was tried last, by this process.
    pub task: Option<&'static str>,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_failure: Option<String>,
    /// Whether it failed several times in a row.
    pub stuck: bool,
    /// What a person can do.
    pub remedy: Option<String>,
}

/// Explains `operation`.
pub(super) fn explain(operation: &Operation, note: Option<Note>, policy: &Policy) -> Explanation {
    let note = note.unwrap_or_default();
    let mut ids = operation.targets.ids.clone();
    ids.extend(operation.bound.clone());
    ids.extend(operation.gone.iter().cloned());
    ids.extend(operation.reported.iter().cloned());
    let (known, next) = story(operation, policy);
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
        known,
        next,
        next_at: due(operation).or(note.next).map(|at| at.to_string()),
        task: note.task,
        attempts: note.attempts,
        stuck: note.attempts >= STUCK_AFTER,
        remedy: remedy(operation, &note),
        last_failure: note.failure,
    }
}

fn due(operation: &Operation) -> Option<Timestamp> {
    if let Phase::Sweeping(due, _) = operation.phase { Some(due) } else { None }
}

/// What is known, and what happens next.
fn story(operation: &Operation, policy: &Policy) -> (String, String) {
    let until = look_ends(operation, policy);
    let (known, next) = match &operation.phase {
        Phase::Prepared => {
            ("the request was about to be sent, or is under way", "its answer is awaited".into())
        }
        Phase::Committed => (
            "the service made the row; the back end has not acknowledged it",
            "the registration is tried until its deadline".into(),
        ),
        Phase::Unknown if operation.is_enforced() => (
            "the service's answer does not tell whether there is a row",
            format!("rows are looked for until {until}; one that is proven ours is undone"),
        ),
        Phase::Unknown => (
            "the service's answer does not tell whether there is a row; it would not be undone",
            format!("it counts as a possible maker of rows until {until}"),
        ),
        Phase::Registered => (
            "the back end acknowledged; a delete may have removed the row meanwhile",
            "the service is asked whether the row is there; if not, it is deregistered".into(),
        ),
        Phase::Passed => (
            "the create stands unregistered, by configuration",
            "the service is asked whether the row is there".into(),
        ),
        Phase::Undoing(..) => (
            "the create does not stand",
            "its row is removed and confirmed gone, then it is deregistered".into(),
        ),
        Phase::Looking if operation.gone.is_empty() => {
            (looking(operation), format!("its rows are looked at until {until}"))
        }
        Phase::Looking => (
            "rows are gone; others may be",
            format!("those are deregistered, and the others looked at until {until}"),
        ),
        Phase::Gone => ("rows are gone", "they are deregistered".into()),
        Phase::Sweeping(due, _) => (
            "everything is done once",
            format!("it is done again at {due}, because an effect may land late"),
        ),
        Phase::Reported(why) => (
            "rows may be this create's, and that can't be proven",
            format!("they are looked at from time to time, and not undone: {why}"),
        ),
        Phase::Finished(_) => ("it ended", "nothing".into()),
    };
    (known.into(), next)
}

fn looking(operation: &Operation) -> &'static str {
    match operation.closed.map(|closed| closed.effect) {
        Some(Effect::Past) => "the service answered; which rows it removed is being looked at",
        Some(Effect::MayCome) | None => "the service's answer does not tell whether rows are gone",
    }
}

fn remedy(operation: &Operation, note: &Note) -> Option<String> {
    let text = match &operation.phase {
        Phase::Reported(_) => {
            "look at the rows: remove by hand what no client was given; the operation ends by \
             itself once none is left"
        }
        _ if note.attempts < STUCK_AFTER => return None,
        _ => {
            "mend what the last failure names: the service, its credentials (credentials.service) \
             or the back end; attempts go on by themselves"
        }
    };
    Some(text.to_owned())
}
