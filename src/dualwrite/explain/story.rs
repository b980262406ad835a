//! What each phase means to a person.

use crate::dualwrite::operation::{Operation, Phase};
use crate::dualwrite::settle::until;
use crate::dualwrite::state::Policy;
use crate::model::{PassReason, UndoReason};

/// What is known, and what is not.
pub(super) fn known(operation: &Operation) -> String {
    let kind = &operation.plan.resource_type;
    let row =
        operation.bound.as_ref().map_or_else(|| "its row".into(), |id| format!("{kind} {id}"));
    match &operation.phase {
        Phase::Prepared => "its request is about to be sent, or was sent; its client waits".into(),
        Phase::Committed => {
            format!("the service made {row}; its registration is not acknowledged yet")
        }
        Phase::Unknown => {
            "it was sent, and it is not known whether the service made a row, or still will".into()
        }
        Phase::Registered => {
            format!(
                "{row} is registered, as the client was told; a delete that overlaps it may remove it"
            )
        }
        Phase::Passed => {
            let why = exception(operation.pass.unwrap_or(PassReason::Observed));
            format!("{row} stands, unregistered, as configured: {why}")
        }
        Phase::Undoing(reason) => {
            let why = cause(*reason);
            format!("{row} may not stand, since {why}; no client was told that it was made")
        }
        Phase::Looking => {
            let gone = operation.gone.len();
            format!(
                "the delete was sent; {gone} rows are gone; it may have removed others, or still will"
            )
        }
        Phase::Reported(why) => {
            format!("a person has to decide on its rows, of which no client was told: {why}")
        }
        Phase::Finished(_) => "it ended, as its phase says".into(),
    }
}

/// What happens next by itself.
pub(super) fn next(operation: &Operation, policy: &Policy) -> String {
    let until = until(operation, policy).unwrap_or(operation.intent);
    let every = policy.bounds.late_effect.as_secs_f64();
    match &operation.phase {
        Phase::Prepared => {
            "the service's answer decides; without one within bounds.exchange, its rows are looked for".into()
        }
        Phase::Committed => {
            let fate = if operation.is_enforced() { "is undone" } else { "stands" };
            format!("it is registered within authz.deadline; failing that, the row {fate}")
        }
        Phase::Unknown if !operation.is_enforced() => "it ends: it would not be undone".into(),
        Phase::Unknown if !operation.has_probe() => {
            format!("the rule has no probe to look for a row with: it is reported at {until}")
        }
        Phase::Unknown => {
            let then = if operation.before.is_some() {
                "one that is new, and that no client was told of, is removed"
            } else {
                "they are reported, for want of a list from before (journal.exclusive_writer, probe.before)"
            };
            let end = if operation.sees_all() { "ends" } else { "is reported (probe.sees)" };
            format!("rows are looked for until {until} at least: {then}; if there is none, it {end}")
        }
        Phase::Registered | Phase::Passed => {
            "it ends if no delete may have removed the row; else, if it is gone, it is deregistered".into()
        }
        Phase::Undoing(_) if operation.is_row_gone() => {
            "the row is gone; once no registration can land any more, it is deregistered".into()
        }
        Phase::Undoing(_) => {
            format!("the undo's DELETE is sent while the row is there; if it is gone from {until} on, it is deregistered")
        }
        Phase::Looking => {
            format!("its rows are asked for until {until} at least; those that are gone are deregistered")
        }
        Phase::Reported(_) if operation.bound.is_some() || operation.may_be_looked_at() => {
            format!("the service is asked for such rows every {every} s; once none is left, it ends")
        }
        Phase::Reported(_) => "nothing: the sidecar can't look for the row".into(),
        Phase::Finished(_) => "nothing: it ended".into(),
    }
}

/// What a person can do whether or not attempts fail.
pub(super) fn remedy(operation: &Operation) -> Option<&'static str> {
    let Phase::Reported(_) = &operation.phase else { return None };
    Some(if operation.bound.is_some() || operation.may_be_looked_at() {
        "remove by hand what no client was given: then it ends by itself; if the rows are to stay, discard it"
    } else {
        "find the row in the service; remove it by hand if no client was given it; then discard the operation"
    })
}

/// What it would mean to discard it. "Most likely": a service may answer two creates with one row, and then the
/// other create may have registered it.
pub(super) fn discarding(operation: &Operation) -> &'static str {
    match &operation.phase {
        Phase::Registered => "if a delete removed the row, its relationships stay for good",
        _ if !operation.is_create() => "the relationships of rows that it removed stay for good",
        _ if !operation.is_enforced() => "nothing: its row would not be undone anyway",
        _ => {
            "its row stays, if there is one: most likely without relationships, so that everybody is denied it"
        }
    }
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
