//! What each phase means to a person.

use crate::dualwrite::operation::{Operation, Phase};
use crate::dualwrite::settle::until;
use crate::dualwrite::state::Policy;
use crate::model::{Effect, PassReason, Resolution, ResourceId, UndoReason};

/// What is known.
pub(super) fn known(operation: &Operation) -> String {
    let row = bound(operation);
    match &operation.phase {
        Phase::Prepared => {
            "its request is about to be sent to the service, or was sent; its client waits".into()
        }
        Phase::Committed => {
            format!(
                "the service made {row}; the back end has not acknowledged its registration yet"
            )
        }
        Phase::Unknown => {
            "the create was sent, and what came back does not tell whether there is a row".into()
        }
        Phase::Registered => format!("{row} is registered, and the client was told so"),
        Phase::Passed => {
            format!("{row} stands, unregistered, as configured: {}", not_enforced(operation))
        }
        Phase::Undoing(reason) => {
            let why = cause(*reason);
            format!("{row} may not stand, since {why}; no client was told that it was made")
        }
        Phase::Looking => {
            let known = match operation.closed.map(|closed| closed.effect) {
                Some(Effect::Past) => "the service answered the delete",
                _ => {
                    "the delete was sent, and what came back does not tell whether it had an effect"
                }
            };
            format!("{known}; gone are: {}", list(operation.gone.iter()))
        }
        Phase::Reported(_) => {
            "the create was sent, and it was never known whether it made a row; no \
                               client was told that one was made"
                .into()
        }
        Phase::Finished(resolution) => ended(*resolution).into(),
    }
}

/// What is not known, where something is not.
pub(super) fn unknown(operation: &Operation) -> Option<String> {
    Some(match &operation.phase {
        Phase::Prepared if operation.is_create() => "whether the service made a row".into(),
        Phase::Prepared => "whether the service removed a row".into(),
        Phase::Unknown => "whether the service made a row, or still will".into(),
        Phase::Registered => "whether a delete that overlaps it removed the row".into(),
        Phase::Looking => "which rows it removed, or still will".into(),
        Phase::Reported(why) => {
            let rows = list(operation.reported.iter());
            format!("{rows} may be this create's, and that can't be proven: {why}")
        }
        _ => return None,
    })
}

/// What happens next by itself.
pub(super) fn next(operation: &Operation, policy: &Policy) -> String {
    let until = until(operation, policy).unwrap_or(operation.intent);
    let every = policy.bounds.late_effect.as_secs_f64();
    match &operation.phase {
        Phase::Prepared => "its answer is awaited, for at most bounds.exchange".into(),
        Phase::Committed => {
            let fate = if operation.is_enforced() { "is undone" } else { "stands" };
            format!("the registration is tried for authz.deadline at most; failing that, the row {fate}")
        }
        Phase::Unknown if !operation.is_enforced() => {
            "it ends, and counts as a possible maker of rows until bounds.late_effect has passed".into()
        }
        Phase::Unknown if !operation.has_probe() => {
            format!("the rule has no probe to look for a row with: it is reported at {until}")
        }
        Phase::Unknown => {
            let then = if operation.before.is_some() {
                "one that was not there before, and that no client was told of, is removed"
            } else {
                "they are reported, since there is no complete list from before the create was sent \
                 (journal.exclusive_writer and probe.before)"
            };
            let end = if operation.sees_all() { "ends" } else { "is reported (probe.sees)" };
            format!(
                "the service is asked for rows until {until} at least: {then}; if there is none, it {end}"
            )
        }
        Phase::Registered | Phase::Passed => {
            "if a delete that overlaps it may remove the row, the service is asked for the row: if it is \
             gone, it is deregistered, else it ends"
                .into()
        }
        Phase::Undoing(_) if operation.is_row_gone() => {
            "the row is gone; once no registration can land any more, it is deregistered".into()
        }
        Phase::Undoing(_) => format!(
            "the undo's DELETE is sent whenever the row is there; a row that can't be seen from {until} on \
             is gone, and is deregistered"
        ),
        Phase::Looking => {
            format!("its rows are asked for until {until} at least; those that are gone are deregistered")
        }
        Phase::Reported(_) if operation.bound.is_some() => {
            format!("the service is asked for the row every {every} s; once it is gone, it is deregistered")
        }
        Phase::Reported(_) if operation.may_be_looked_at() => {
            format!("the service is asked for such rows every {every} s; once none is left, it ends")
        }
        Phase::Reported(_) => "nothing: the sidecar can't look for the row".into(),
        Phase::Finished(_) => "nothing: it ended".into(),
    }
}

/// What a person can do whether or not attempts fail.
pub(super) fn remedy(operation: &Operation) -> Option<&'static str> {
    let looks = operation.bound.is_some() || operation.may_be_looked_at();
    match &operation.phase {
        Phase::Reported(_) if looks => Some(
            "find out from the service whose the rows are; remove by hand (a DELETE through the sidecar) what \
             no client was given: then it ends by itself, at once after `retry`. If they are to stay, \
             discard it",
        ),
        Phase::Reported(_) => Some(
            "find out from the service whether the row exists and whose it is; remove by hand what no client \
             was given; then discard the operation",
        ),
        _ => None,
    }
}

/// What it would mean to discard it. "Most likely": a service may answer two creates with one row, and then the
/// other create may have registered it.
pub(super) fn discarding(operation: &Operation) -> Option<String> {
    let row = bound(operation);
    Some(match &operation.phase {
        Phase::Finished(_) => return None,
        _ if !operation.is_create() => {
            "the relationships of rows that it removed stay for good, where nobody else deletes".into()
        }
        Phase::Registered => format!("if {row} is gone, its relationships stay for good"),
        _ if !operation.is_enforced() => {
            let why = not_enforced(operation);
            format!("nothing: {why}, so that the row would not be undone anyway")
        }
        Phase::Committed | Phase::Undoing(_) => format!(
            "{row}, if it is still there, stays as it is: most likely without relationships, so that \
             everybody is denied it; relationships that a late registration made stay too"
        ),
        _ => "a row that it made stays, most likely without relationships, so that everybody is denied \
              it, its creator too; nothing undoes it; another create that may have made the same row is \
              reported, not undone"
            .into(),
    })
}

fn not_enforced(operation: &Operation) -> &'static str {
    exception(operation.pass.unwrap_or(PassReason::Observed))
}

/// Why a create stands unregistered.
fn exception(why: PassReason) -> &'static str {
    match why {
        PassReason::NoCreator => "its principal has no creator (principal.creator)",
        PassReason::Bypass => "a header of principal.bypass was present",
        PassReason::Observed => "the rule only observes",
        PassReason::Unrecorded => "it stands for all creates of its type that may pass unrecorded",
        PassReason::Aside => "its request may have made it on the side (makes_also)",
        PassReason::Found => "the service answered with a row that stood before",
    }
}

/// Why a create is undone.
fn cause(reason: UndoReason) -> &'static str {
    match reason {
        UndoReason::Refused => "the back end refused its registration",
        UndoReason::Deadline => "the back end did not acknowledge its registration in time",
        UndoReason::NoParent => "its parent could not be looked up",
        UndoReason::Crash => "the sidecar stopped before its registration was acknowledged",
        UndoReason::Unknown => "its create had no usable answer, and the row was found later",
    }
}

/// What an end means.
fn ended(resolution: Resolution) -> &'static str {
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

/// The first few of them.
fn list<'a>(ids: impl ExactSizeIterator<Item = &'a ResourceId>) -> String {
    const SHOWN: usize = 5;
    let more = ids.len().saturating_sub(SHOWN);
    let shown: Vec<_> = ids.take(SHOWN).map(ToString::to_string).collect();
    match more {
        _ if shown.is_empty() => "no row".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
