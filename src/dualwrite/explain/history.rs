//! An operation's records, for people: what happened when, and who ordered what.

use serde::Serialize;

use super::story::{cause, ended, exception, list};
use crate::model::{Effect, Entry, Evidence, Opening, Record, Stored};

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Happening {
    /// When it was appended (RFC 3339).
    pub at: String,
    /// Its name.
    pub record: &'static str,
    /// What it says, in words. Nothing of the principal.
    pub says: String,
}

/// The records of one operation, oldest first.
pub(in crate::dualwrite) fn history(stored: &Stored) -> Vec<Happening> {
    let happening = |entry: &Entry| Happening {
        at: entry.at.to_string(),
        record: entry.record.name(),
        says: says(&entry.record),
    };
    stored.entries.iter().map(happening).collect()
}

fn says(record: &Record) -> String {
    match record {
        Record::Prepared(Opening { plan, .. }) => format!("rule {}", plan.rule),
        Record::Committed { id, is_new: false, .. } => format!("was answered {id}, not proven new"),
        Record::Committed { id, .. } => format!("made {id}"),
        Record::Closed { effect: Effect::Past } => "the service answered".into(),
        Record::Closed { effect: Effect::MayCome } => "an effect may still come".into(),
        Record::Registered { id, ambiguous: false } => format!("{id} acknowledged"),
        Record::Registered { id, ambiguous: true } => {
            format!("{id} acknowledged; an earlier attempt may land late")
        }
        Record::Passed { id, why } => format!("{id} stands unregistered: {}", exception(*why)),
        Record::Undoing { id, evidence, reason, .. } => {
            let proof = match evidence {
                Evidence::Answer => "the service's answer named it",
                Evidence::LateAnswer => "a late answer named it",
                Evidence::Listed => "it was not there before, and no client was told of it",
            };
            format!("{id} is to go, since {}; {proof}", cause(*reason))
        }
        Record::Deleted { ids } => format!("gone: {}", list(ids.iter())),
        Record::Resumed => "another process carries on, and waits anew".into(),
        Record::Reported { rows, why } => format!("{}: {why}", list(rows.iter())),
        Record::Retried { by, reason: None } => format!("by {by}"),
        Record::Retried { by, reason: Some(reason) } => format!("by {by}: {reason}"),
        Record::Discarded { by, reason, phase } => format!("by {by}, while {phase}: {reason}"),
        Record::Finished { resolution } => ended(*resolution).into(),
    }
}
