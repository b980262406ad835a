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
    /// What is known.
    pub known: String,
    /// What is not known, where something is not.
    pub unknown: Option<String>,
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
    pub discarding: Option<String>,
    /// Command lines, to be completed, for what can be ordered now.
    pub commands: Vec<String>,
}

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
    let carried_on = note.is_some();
    let story = story::tell(operation, policy);
    let reported = matches!(operation.phase, Phase::Reported(_));
    let stuck = note.is_some_and(Note::is_stuck);
    // Of what no process carries on, no request is under way.
    let (discardable, waits) = match teller {
        Teller::Sidecar => (story.may_be_ordered, story.may_be_ordered && carried_on),
        Teller::Journal => (true, !operation.is_finished()),
    };
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
        next: next(&story, operation, note, teller, !policy.apart.is_zero()),
        known: story.known,
        unknown: story.unknown,
        next_at: note.and_then(|note| note.next).map(|at| at.to_string()),
        carried_on,
        task: note.and_then(|note| note.task),
        attempts: note.map_or(0, |note| note.attempts),
        last_failure: note.and_then(|note| note.failure.clone()),
        waits_for: note.and_then(|note| note.waits_for),
        stuck,
        needs_a_person: reported,
        remedy: remedy(operation, story.remedy.as_deref(), note, teller),
        discarding: story.discarding.filter(|_| discardable),
        commands: commands(operation, waits, teller),
    }
}

fn next(
    story: &story::Story,
    operation: &Operation,
    note: Option<&Note>,
    teller: Teller,
    shared: bool,
) -> String {
    let waits_for = note.and_then(|note| note.waits_for);
    let under_way = matches!(operation.phase, Phase::Prepared | Phase::Committed);
    match teller {
        _ if operation.is_finished() => story.next.clone(),
        Teller::Journal => {
            let after_a_crash = "it finds out what became of the request, and undoes a create \
                                 that was not registered";
            let what = if under_way { after_a_crash } else { &story.next };
            let who = if shared {
                "by the replica that carries it on, or, once that is dead, by another"
            } else {
                "nothing until a sidecar runs on this journal; then"
            };
            format!("{who}: {what}")
        }
        Teller::Sidecar if waits_for.is_some() => format!(
            "nothing until the {} answers again, which one operation after the other tries all \
             the time; then at once: {}",
            waits_for.unwrap_or_default(),
            story.next
        ),
        Teller::Sidecar if note.is_some() || under_way => story.next.clone(),
        Teller::Sidecar => {
            format!("nothing by this process, which does not carry it on; else: {}", story.next)
        }
    }
}

fn remedy(
    operation: &Operation,
    of_phase: Option<&str>,
    note: Option<&Note>,
    teller: Teller,
) -> Option<String> {
    let under_way = matches!(operation.phase, Phase::Prepared | Phase::Committed);
    if operation.is_finished() {
        return None;
    }
    if let Some(remedy) = of_phase {
        return Some(remedy.to_owned());
    }
    if teller == Teller::Journal {
        return Some(
            "see that a sidecar runs on this journal: it carries on every operation".into(),
        );
    }
    if note.is_none() && !under_way {
        return Some(
            "on a shared journal ask the replica that owns it; else look into the log for this \
             id, and restart the sidecar: it recovers every operation from the journal"
                .into(),
        );
    }
    if let Some(peer) = note.and_then(|note| note.waits_for) {
        return Some(format!(
            "see that the {peer} runs and can be reached from here; it goes on by itself then"
        ));
    }
    note.is_some_and(Note::is_stuck).then(|| {
        "mend what the last failure names: the service, its credentials (credentials.service) or \
         the back end; attempts go on by themselves, and `retry` makes the next one at once"
            .into()
    })
}

fn commands(operation: &Operation, waits: bool, teller: Teller) -> Vec<String> {
    let id = operation.id;
    let mut commands = vec![format!("authz-sidecar operations show {id}")];
    if waits && teller == Teller::Sidecar {
        commands.push(format!("authz-sidecar operations retry {id} --by NAME"));
    }
    if waits {
        commands.push(format!("authz-sidecar operations discard {id} --by NAME --reason \"WHY\""));
    }
    commands
}

#[cfg(test)]
mod tests;
