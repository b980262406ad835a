//! An operation's records, for people: what happened when, and who ordered what.

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::{Entry, Record, Stored};

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Happening {
    /// When it was appended (RFC 3339).
    pub at: String,
    /// Its name, as `record`, and what it holds.
    #[serde(flatten)]
    pub record: Value,
}

/// The records of one operation, oldest first.
pub(in crate::dualwrite) fn history(stored: &Stored) -> Vec<Happening> {
    let happening = |entry: &Entry| {
        let record = match &entry.record {
            // The rule, and what is kept of the principal, are nobody's to read here.
            Record::Prepared(_) => json!({"record": "prepared"}),
            record => json!(record),
        };
        Happening { at: entry.at.to_string(), record }
    };
    stored.entries.iter().map(happening).collect()
}
