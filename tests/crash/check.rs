//! Compares, once all is quiet, what is there with what clients were told. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::ledger::{Create, Ledger, Refusal};
use crate::support::service::Made;

/// What is there after a round.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// The rows of the round's agent.
    pub rows: Vec<Made>,
    /// The ids of the keys that are registered with the round's agent as their parent.
    pub edges: BTreeSet<String>,
    /// The names of the records of the operation that holds each id; `None` where there is no
    /// journal, or a part of the round is forgotten in it.
    pub records: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Operations that did not end in time.
    pub unfinished: Vec<Value>,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A row without edge, an edge without row, a row that nothing holds, or one of which a client
    /// was told that it is not there.
    Orphan,
    /// A client was told of a create that is gone.
    Lost,
    /// An operation that never ends.
    Stuck,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What kind of thing.
    pub kind: Kind,
    /// The thing.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// Everything that is wrong after a round.
pub fn check(ledger: &Ledger, seen: &Seen) -> Vec<Violation> {
    let stuck = seen.unfinished.iter().map(|operation| Violation {
        kind: Kind::Stuck,
        what: format!("an operation that never ends: {operation}"),
    });
    let mut violations: Vec<_> = stuck.collect();
    violations.extend(orphan_rows(ledger, seen));
    violations.extend(orphan_edges(seen));
    violations.extend(lost(ledger, seen));
    violations
}

fn orphan_rows(ledger: &Ledger, seen: &Seen) -> Vec<Violation> {
    let complaint = |row: &Made| {
        let Some(create) = create_of(ledger, row) else {
            return Some("a row that no client asked for");
        };
        match create.refused {
            Some(Refusal::Undone) => return Some("a row whose client was told `undo: done`"),
            Some(Refusal::Refused) => {
                return Some("a row whose client was told that it is refused");
            }
            None if ledger.has_deleted(&row.id) => {
                return Some("a row that was there, and whose delete was answered 200");
            }
            None => {}
        }
        match (create.bypass, seen.edges.contains(&row.id)) {
            (true, true) => return Some("an edge of a key that was to pass unregistered"),
            (true, false) => return None,
            (false, false) => return Some("a row without edge"),
            (false, true) => {}
        }
        let registered = holds(seen, &row.id, "registered");
        (!registered).then_some("a row that stayed although its create has no `registered`")
    };
    let complaints = seen.rows.iter().filter_map(|row| Some((row, complaint(row)?)));
    complaints
        .map(|(row, why)| Violation { kind: Kind::Orphan, what: format!("{why}: {row:?}") })
        .collect()
}

fn orphan_edges(seen: &Seen) -> Vec<Violation> {
    let rows: BTreeSet<_> = seen.rows.iter().map(|row| row.id.clone()).collect();
    let without = seen.edges.difference(&rows);
    without
        .map(|id| Violation { kind: Kind::Orphan, what: format!("an edge without row: {id}") })
        .collect()
}

/// An acknowledged create may be missing only because a client deleted it; of those that only a
/// delete by name may mean, as many as there were such deletes.
fn lost(ledger: &Ledger, seen: &Seen) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut missing: BTreeMap<&str, Vec<&Create>> = BTreeMap::new();
    for create in &ledger.creates {
        let Some(id) = &create.told else { continue };
        let mut wrong = |what: &str| {
            violations.push(Violation { kind: Kind::Lost, what: format!("{what}: {create:?}") });
        };
        let expected = if create.bypass { "passed" } else { "registered" };
        if !holds(seen, id, expected) {
            wrong("an acknowledged create that the journal does not let stand");
        }
        if seen.records.is_some() && holds(seen, id, "undoing") {
            wrong("an acknowledged create that was undone");
        }
        match seen.rows.iter().find(|row| row.id == *id) {
            Some(row) if row.secret.as_ref() != Some(&create.secret) => {
                wrong("a client was told the id of another's row");
            }
            Some(_) => {}
            None if ledger.may_have_deleted(id) => {}
            None => missing.entry(&create.name).or_default().push(create),
        }
    }
    for (name, creates) in missing {
        let explained = ledger.deletes_by_name(name);
        let gone = |create| Violation {
            kind: Kind::Lost,
            what: format!("an acknowledged create that is gone: {create:?}"),
        };
        violations.extend(creates.into_iter().skip(explained).map(gone));
    }
    violations
}

fn create_of<'l>(ledger: &'l Ledger, row: &Made) -> Option<&'l Create> {
    let secret = row.secret.as_ref()?;
    ledger.creates.iter().find(|create| create.secret == *secret)
}

/// Whether the operation that holds `id` has a record of that name; without records, yes.
fn holds(seen: &Seen, id: &str, record: &str) -> bool {
    let Some(records) = &seen.records else { return true };
    records.get(id).is_some_and(|names| names.contains(record))
}
