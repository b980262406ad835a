//! What each phase means to a person.

use std::collections::BTreeSet;

use crate::dualwrite::operation::{Operation, Phase};
use crate::dualwrite::settle::until;
use crate::dualwrite::state::Policy;
use crate::model::{Effect, Mode, PassReason, Resolution, ResourceId, UndoReason};

/// What is to be told of a phase.
pub(super) struct Story {
    pub(super) known: String,
    pub(super) unknown: Option<String>,
    pub(super) next: String,
    /// What a person can do whether or not attempts fail.
    pub(super) remedy: Option<String>,
    pub(super) discarding: Option<String>,
    /// Whether a sidecar takes orders: no request is under way, and it has not ended.
    pub(super) may_be_ordered: bool,
}

impl Story {
    fn new(known: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            known: known.into(),
            unknown: None,
            next: next.into(),
            remedy: None,
            discarding: None,
            may_be_ordered: true,
        }
    }

    fn unknown(self, unknown: impl Into<String>) -> Self {
        Self { unknown: Some(unknown.into()), ..self }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    fn discarding(self, discarding: impl Into<String>) -> Self {
        Self { discarding: Some(discarding.into()), ..self }
    }

    fn not_to_be_ordered(self) -> Self {
        Self { may_be_ordered: false, ..self }
    }
}

/// Tells of `operation`.
pub(super) fn tell(operation: &Operation, policy: &Policy) -> Story {
    match &operation.phase {
        Phase::Prepared => prepared(operation),
        Phase::Committed => committed(operation),
        Phase::Unknown => unknown(operation, policy),
        Phase::Registered => registered(operation),
        Phase::Passed => passed(operation),
        Phase::Undoing(reason) => undoing(operation, policy, *reason),
        Phase::Looking => looking(operation, policy),
        Phase::Reported(why) => reported(operation, policy, why),
        Phase::Finished(resolution) => {
            Story::new(ended(*resolution), "nothing: it ended").not_to_be_ordered()
        }
    }
}

fn prepared(operation: &Operation) -> Story {
    let verb = if operation.is_create() { "create" } else { "delete" };
    Story::new(
        format!("the {verb} is about to be sent to the service, or was sent; its client waits"),
        "its answer is awaited, for at most bounds.exchange",
    )
    .unknown(if operation.is_create() {
        "whether the service made a row"
    } else {
        "whether the service removed a row"
    })
    .discarding(if operation.is_create() {
        its_row_stays(operation)
    } else {
        RELATIONSHIPS_STAY.into()
    })
    .not_to_be_ordered()
}

fn committed(operation: &Operation) -> Story {
    let row = bound(operation);
    let otherwise = if operation.is_enforced() { "the row is undone" } else { "the row stands" };
    Story::new(
        format!("the service made {row}; the back end has not acknowledged its registration yet"),
        format!("the registration is tried for authz.deadline at most; failing that, {otherwise}"),
    )
    .discarding(if operation.is_enforced() {
        row_stays(&row)
    } else {
        NOTHING_BUT_THE_QUESTION.into()
    })
    .not_to_be_ordered()
}

fn unknown(operation: &Operation, policy: &Policy) -> Story {
    let until = until(operation, policy).unwrap_or(operation.intent);
    let known = "the create was sent, and what came back (a time-out, a cut, a 5xx, a success \
                 without a usable id, nothing before the sidecar stopped) does not tell whether \
                 there is a row";
    if !operation.is_enforced() {
        return Story::new(
            known,
            format!("until {until} it counts as a possible maker of rows; then it ends"),
        )
        .unknown("whether the service made a row")
        .discarding(its_row_stays(operation));
    }
    let next = match (operation.has_probe(), operation.before.is_some()) {
        (false, _) => format!("the rule has no probe to look for a row with: reported at {until}"),
        (true, false) if !operation.sees_all() => format!(
            "the service is asked for rows, which are reported at {until}; since its list may hide rows \
             (probe.sees), it is reported in the end also if none is found"
        ),
        (true, true) => format!(
            "the service is asked for rows until {until} at least: one that was not there before, and \
             that no client was told of, is removed; if there is none by then, it ends"
        ),
        (true, false) => format!(
            "the service is asked for rows until {until} at least; those found then are reported, since \
             there is no complete list from before the create was sent (journal.exclusive_writer and \
             probe.before)"
        ),
    };
    Story::new(known, next)
        .unknown("whether the service made a row, or still will")
        .discarding(its_row_stays(operation))
}

fn its_row_stays(operation: &Operation) -> String {
    if operation.is_enforced() {
        return ITS_ROW_STAYS.into();
    }
    format!("nothing: {}, a row would not be undone anyway", not_enforced(operation))
}

/// "Most likely": a service may answer two creates with one row, and then the other create may have
/// registered it.
const ITS_ROW_STAYS: &str = "a row that it made stays, most likely without relationships, so that \
     everybody is denied it, its creator too; nothing undoes it; another create that may have made \
     the same row is reported, not undone";

fn registered(operation: &Operation) -> Story {
    let row = bound(operation);
    Story::new(
        format!("{row} is registered, and the client was told so"),
        "if a delete that overlaps it may remove the row, the service is asked whether the row is there: if so \
         it ends, if not it is deregistered",
    )
    .unknown("whether a delete that overlaps it removed the row")
    .discarding(format!("if {row} is gone, its relationships stay for good"))
}

fn passed(operation: &Operation) -> Story {
    let (row, why) = (bound(operation), not_enforced(operation));
    Story::new(
        format!("{row} stands, unregistered, as configured: {why}"),
        "if a delete that overlaps it may remove the row, the service is asked for it; then it ends",
    )
    .discarding(NOTHING_BUT_THE_QUESTION)
}

const NOTHING_BUT_THE_QUESTION: &str = "nothing is lost but the answer to whether the row is there";

fn not_enforced(operation: &Operation) -> &'static str {
    match operation.pass {
        Some(why) => exception(why),
        None if operation.plan.mode == Mode::Observe => exception(PassReason::Observed),
        None => "it is not enforced",
    }
}

/// Why a create stands unregistered.
pub(super) fn exception(why: PassReason) -> &'static str {
    match why {
        PassReason::NoCreator => "its principal has no creator (principal.creator)",
        PassReason::Bypass => "a header of principal.bypass was present",
        PassReason::Observed => "the rule only observes",
        PassReason::Unrecorded => "it stands for all creates of its type that may pass unrecorded",
        PassReason::Aside => "its request may have made it on the side (makes_also)",
        PassReason::Found => "the service answered with a row that stood before",
    }
}

fn undoing(operation: &Operation, policy: &Policy, reason: UndoReason) -> Story {
    let row = bound(operation);
    let why = cause(reason);
    let until = until(operation, policy).unwrap_or(operation.intent);
    let next = if operation.is_row_gone() {
        "the row is gone; once no registration can land any more, it is deregistered".into()
    } else {
        format!(
            "the undo's DELETE is sent whenever the row is there; a row that can't be seen from {until} on \
             is gone, and is deregistered"
        )
    };
    Story::new(
        format!("{row} may not stand, since {why}; no client was told that it was made"),
        next,
    )
    .discarding(row_stays(&row))
}

fn row_stays(row: &str) -> String {
    format!(
        "{row}, if it is still there, stays as it is: most likely without relationships, so that \
         everybody is denied it; relationships that a late registration made stay too"
    )
}

/// Why a create is undone.
pub(super) fn cause(reason: UndoReason) -> &'static str {
    match reason {
        UndoReason::Refused => "the back end refused its registration",
        UndoReason::Deadline => "the back end did not acknowledge its registration in time",
        UndoReason::NoParent => "its parent could not be looked up",
        UndoReason::Crash => "the sidecar stopped before its registration was acknowledged",
        UndoReason::Unknown => "its create had no usable answer, and the row was found later",
    }
}

fn looking(operation: &Operation, policy: &Policy) -> Story {
    let until = until(operation, policy).unwrap_or(operation.intent);
    let known = match operation.closed.map(|closed| closed.effect) {
        Some(Effect::Past) => "the service answered the delete",
        Some(Effect::MayCome) | None => {
            "the delete was sent, and what came back does not tell whether it had an effect"
        }
    };
    let gone = if operation.gone.is_empty() {
        String::new()
    } else {
        format!("; {} gone", are(&operation.gone))
    };
    Story::new(
        format!("{known}{gone}"),
        format!(
            "its rows are asked for until {until} at least; those that are gone are deregistered"
        ),
    )
    .unknown("which rows it removed, or still will")
    .discarding(RELATIONSHIPS_STAY)
}

const RELATIONSHIPS_STAY: &str =
    "the relationships of rows that it removed stay for good, where nobody else deletes";

fn reported(operation: &Operation, policy: &Policy, why: &str) -> Story {
    let rows = if operation.reported.is_empty() {
        "a row may be there, and none can be named".to_owned()
    } else {
        format!("{} may be this create's", list(&operation.reported))
    };
    let story = |next: String, remedy: &str| {
        Story::new(
            "the create was sent, and it was never known whether it made a row; no client was told \
             that one was made",
            next,
        )
        .unknown(format!("{rows}, and that can't be proven: {why}"))
        .remedy(remedy)
        .discarding(ITS_ROW_STAYS)
    };
    let every = policy.bounds.late_effect.as_secs_f64();
    if operation.bound.is_some() {
        return story(
            format!(
                "the service is asked for the row every {every} s; once it is gone, it is deregistered"
            ),
            "find out from the service whose the row is; remove it if no client needs it, or discard the operation",
        );
    }
    if !operation.may_be_looked_at() {
        return story(
            "nothing: the sidecar can't look for the row, and keeps the records until somebody \
             discards the operation"
                .into(),
            "find out from the service whether the row exists and whose it is; remove by hand what \
             no client was given; then discard the operation",
        );
    }
    story(
        format!("the service is asked for such rows every {every} s; once none is left, it ends"),
        "look at the rows: remove by hand (a DELETE through the sidecar) what no client was given; \
         then it ends by itself, at once after `retry`. If the rows are to stay, discard it",
    )
}

/// What an end means.
pub(super) fn ended(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::NotSent => "the request never left",
        Resolution::Rejected => "the service made no row",
        Resolution::Unsettled => "it was never known whether there is a row, which may stand",
        Resolution::Registered => "the row stands and is registered",
        Resolution::Passed => "the row stands, unregistered, by configuration",
        Resolution::Found => "the service answered with a row that stood before, and is held",
        Resolution::Undone => "the create was undone: no row, no relationship",
        Resolution::Deregistered => "rows are gone and deregistered",
        Resolution::NotDeleted => "the delete removed nothing",
        Resolution::Discarded => "a person took the responsibility; its history says who and why",
    }
}

fn bound(operation: &Operation) -> String {
    let kind = &operation.plan.resource_type;
    operation.bound.as_ref().map_or_else(|| "its row".into(), |id| format!("{kind} {id}"))
}

fn are(ids: &BTreeSet<ResourceId>) -> String {
    format!("{} {}", list(ids), if ids.len() == 1 { "is" } else { "are" })
}

/// The first few of them.
fn list(ids: &BTreeSet<ResourceId>) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
    match ids.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
