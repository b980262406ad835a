//! Compares, once all is quiet, what is there with what clients were told. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::ledger::{Create, Ledger, Refusal, is_delete};
use super::names::{DISCARDED, PASSED, REGISTERED, UNDOING};
use crate::support::service::Made;
use crate::support::service::removed::Removed;

/// How much later than its commit the service may note a removal, in seconds.
const SLACK: f64 = 0.05;

/// What is there after a round.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// The rows of the round's agent.
    pub rows: Vec<Made>,
    /// Those of its rows that requests removed.
    pub removed: Vec<Removed>,
    /// The ids of the keys that are registered with the round's agent as their parent.
    pub edges: BTreeSet<String>,
    /// The names of the records of the operation that holds each id; `None` where there is no
    /// journal, or a part of the round is forgotten in it.
    pub records: Option<BTreeMap<String, BTreeSet<String>>>,
    /// How many records of orders each operation has, by its id and their name; without meaning
    /// where there are no `records`.
    pub orders: BTreeMap<(String, String), usize>,
    /// Operations that did not end in time.
    pub unfinished: Vec<Value>,
}

impl Seen {
    /// The ids of rows without edge, and of edges without row.
    pub fn differing(&self) -> Vec<String> {
        let rows: BTreeSet<_> = self.rows.iter().map(|row| row.id.clone()).collect();
        rows.symmetric_difference(&self.edges).cloned().collect()
    }

    /// The rows that the sidecar removed by a request of its own.
    fn removed_by_sidecar(&self) -> impl Iterator<Item = &Removed> {
        self.removed.iter().filter(|row| !row.by.as_deref().is_some_and(is_delete))
    }
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A row without edge, an edge without row, a row that nothing holds, or one of which a client
    /// was told that it is not there.
    Orphan,
    /// A client was told of a create that is gone, or a person of an order that is not on record.
    Lost,
    /// An operation that never ends.
    Stuck,
    /// The sidecar removed a row that a client was told of, or that no client asked for.
    Taken,
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
    let waived = waived(ledger, seen);
    violations.extend(orphan_rows(ledger, seen, &waived));
    violations.extend(undone_too_early(ledger, seen));
    violations.extend(orphan_edges(seen, &waived));
    violations.extend(lost(ledger, seen));
    violations.extend(taken(ledger, seen));
    violations.extend(orders(ledger, seen));
    violations
}

/// The ids of rows and edges that need not agree, since somebody discarded what saw to it.
///
/// A create of unknown outcome has no id on record, and so it was not registered. What it leaves is a
/// row without edge.
pub fn waived(ledger: &Ledger, seen: &Seen) -> BTreeSet<String> {
    let given_up = ledger.given_up();
    let mut waived = given_up.ids;
    let left_to_others = |id: &str| {
        let others = |names: &BTreeSet<String>| !names.contains(DISCARDED);
        seen.records.as_ref().and_then(|records| records.get(id)).is_some_and(others)
    };
    let nobody_knows = |id: &str| {
        let told = ledger.creates.iter().any(|create| create.told.as_deref() == Some(id));
        !told && !left_to_others(id) && !waived.contains(id)
    };
    let rows = seen.rows.iter().filter(|row| {
        let may_stand =
            |create: &&Create| !(create.bypass || create.aside) && create.refused.is_none();
        attempts_of(ledger, row).iter().any(may_stand) && !seen.edges.contains(&row.id)
    });
    let nameless = rows.map(|row| row.id.clone()).filter(|id| nobody_knows(id));
    let nameless: Vec<_> = nameless.take(given_up.rows).collect();
    waived.extend(nameless);
    waived
}

fn orphan_rows(ledger: &Ledger, seen: &Seen, waived: &BTreeSet<String>) -> Vec<Violation> {
    let complaint = |row: &Made| {
        let attempts = attempts_of(ledger, row);
        let Some(create) = attempts.first() else {
            return Some("a row that no client asked for");
        };
        if attempts.iter().any(|attempt| attempt.refused == Some(Refusal::Undone)) {
            return Some("a row whose client was told `undo: done`");
        }
        if attempts.iter().all(|attempt| attempt.refused.is_some()) {
            return Some("a row whose client was told that it is refused");
        }
        if ledger.has_deleted(&row.id) {
            return Some("a row that was there, and whose delete was answered 200");
        }
        if attempts.iter().any(|attempt| attempt.aside) {
            return None;
        }
        match (create.bypass, seen.edges.contains(&row.id)) {
            (true, true) => return Some("an edge of a key that was to pass unregistered"),
            (true, false) => return None,
            (false, false) => return Some("a row without edge"),
            (false, true) => {}
        }
        let registered = holds(seen, &row.id, REGISTERED);
        (!registered).then_some("a row that stayed although its create has no `registered`")
    };
    let rows = seen.rows.iter().filter(|row| !waived.contains(&row.id));
    let complaints = rows.filter_map(|row| Some((row, complaint(row)?)));
    complaints
        .map(|(row, why)| Violation { kind: Kind::Orphan, what: format!("{why}: {row:?}") })
        .collect()
}

/// Rows that stood on when their client had been told that they are gone, and were removed later.
fn undone_too_early(ledger: &Ledger, seen: &Seen) -> Vec<Violation> {
    let told_before = |row: &&Removed| {
        ledger.creates.iter().any(|create| {
            let undone = create.refused == Some(Refusal::Undone);
            let made_it = row.secret.as_ref() == Some(&create.secret);
            undone && made_it && create.answered + SLACK < row.at
        })
    };
    let why = "a row that stood on after its client was told `undo: done`";
    let early = seen.removed.iter().filter(told_before);
    early.map(|row| Violation { kind: Kind::Orphan, what: format!("{why}: {row:?}") }).collect()
}

fn orphan_edges(seen: &Seen, waived: &BTreeSet<String>) -> Vec<Violation> {
    let without = without_row(seen).filter(|id| !waived.contains(id));
    without
        .map(|id| Violation { kind: Kind::Orphan, what: format!("an edge without row: {id}") })
        .collect()
}

fn without_row(seen: &Seen) -> impl Iterator<Item = String> {
    let rows: BTreeSet<_> = seen.rows.iter().map(|row| &row.id).collect();
    seen.edges.iter().filter(move |id| !rows.contains(id)).cloned()
}

/// An acknowledged create may be missing only because a client deleted it; of those that only a
/// delete by name may mean, as many as there were such deletes. What the sidecar removed is taken.
fn lost(ledger: &Ledger, seen: &Seen) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut missing: BTreeMap<&str, BTreeMap<&str, &Create>> = BTreeMap::new();
    let taken: BTreeSet<_> = seen.removed_by_sidecar().map(|row| &row.id).collect();
    for create in &ledger.creates {
        let Some(id) = &create.told else { continue };
        if taken.contains(id) {
            continue;
        }
        let mut wrong = |what: &str| {
            violations.push(Violation { kind: Kind::Lost, what: format!("{what}: {create:?}") });
        };
        let expected = if create.bypass { PASSED } else { REGISTERED };
        if !create.aside && !holds(seen, id, expected) {
            wrong("an acknowledged create that the journal does not let stand");
        }
        // A create that is sent again may be answered with this id once its row is deleted, and be undone.
        let sent = ledger.creates.iter().filter(|other| other.secret == create.secret).count();
        if sent == 1 && seen.records.is_some() && holds(seen, id, UNDOING) {
            wrong("an acknowledged create that was undone");
        }
        match seen.rows.iter().find(|row| row.id == *id) {
            Some(row) if row.secret.as_ref() != Some(&create.secret) => {
                wrong("a client was told the id of another's row");
            }
            Some(_) => {}
            None if ledger.may_have_deleted(id) => {}
            // Several clients may have been told of one row.
            None => _ = missing.entry(&create.name).or_default().insert(id, create),
        }
    }
    for (name, creates) in missing {
        let explained = ledger.deletes_by_name(name);
        let gone = |create| Violation {
            kind: Kind::Lost,
            what: format!("an acknowledged create that is gone: {create:?}"),
        };
        violations.extend(creates.into_values().skip(explained).map(gone));
    }
    violations
}

/// What the sidecar removes is the row of a create that no client was told of. A delete
/// that a client asked for is the client's own, also where it goes through the sidecar.
fn taken(ledger: &Ledger, seen: &Seen) -> Vec<Violation> {
    let complaint = |row: &Removed| {
        if ledger.creates.iter().any(|create| create.told.as_ref() == Some(&row.id)) {
            return Some("a row that a client was told of, and that the sidecar removed");
        }
        let known = ledger.creates.iter().any(|create| row.secret.as_ref() == Some(&create.secret));
        (!known).then_some("a row that no client asked for, and that the sidecar removed")
    };
    let by_sidecar = seen.removed_by_sidecar();
    let complaints = by_sidecar.filter_map(|row| Some((row, complaint(row)?)));
    complaints
        .map(|(row, why)| Violation { kind: Kind::Taken, what: format!("{why}: {row:?}") })
        .collect()
}

/// An order that was answered is on record, each time that it was; one that was refused is not.
fn orders(ledger: &Ledger, seen: &Seen) -> Vec<Violation> {
    if seen.records.is_none() {
        return Vec::new();
    }
    let mut bounds: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    for order in &ledger.orders {
        let of = (order.operation.clone(), order.record.to_owned());
        let (least, most) = bounds.entry(of).or_default();
        *least += usize::from(order.was_taken());
        *most += usize::from(order.may_be_taken());
    }
    let all: BTreeSet<_> = bounds.keys().chain(seen.orders.keys()).collect();
    let complaint = |of: &(String, String)| {
        let (least, most) = bounds.get(of).copied().unwrap_or_default();
        let found = seen.orders.get(of).copied().unwrap_or_default();
        let kind = if found < least { Kind::Lost } else { Kind::Orphan };
        let what = format!("{found} records of {least} to {most} orders: {of:?}");
        (found < least || found > most).then_some(Violation { kind, what })
    };
    all.into_iter().filter_map(complaint).collect()
}

/// The create that made the row, and its repetitions.
fn attempts_of<'l>(ledger: &'l Ledger, row: &Made) -> Vec<&'l Create> {
    let made_it = |create: &&Create| row.secret.as_ref() == Some(&create.secret);
    ledger.creates.iter().filter(made_it).collect()
}

/// Whether the operation that holds `id` has a record of that name; without records, yes.
fn holds(seen: &Seen, id: &str, record: &str) -> bool {
    let Some(records) = &seen.records else { return true };
    records.get(id).is_some_and(|names| names.contains(record))
}
