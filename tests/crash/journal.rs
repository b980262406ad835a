//! Reads a sidecar's journal past the sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// The names of the records of the operation that holds each id, of operations that began at
/// `since` (microseconds of Unix time) or later.
pub fn records(journal: &Path, since: i64) -> BTreeMap<String, BTreeSet<String>> {
    let connection = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the journal is there");
    let select = "SELECT operation, record FROM entries WHERE at >= ? ORDER BY seq";
    let mut select = connection.prepare(select).unwrap();
    let rows =
        select.query_map([since], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)));
    fold(rows.unwrap().map(Result::unwrap))
}

/// By id, from records by operation.
fn fold(rows: impl Iterator<Item = (Vec<u8>, String)>) -> BTreeMap<String, BTreeSet<String>> {
    let mut operations: BTreeMap<Vec<u8>, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for (operation, record) in rows {
        let record: Value = serde_json::from_str(&record).unwrap();
        let name = record["record"].as_str().unwrap();
        let (names, ids) = operations.entry(operation).or_default();
        names.insert(name.to_owned());
        if matches!(name, "committed" | "registered" | "passed" | "undoing") {
            ids.insert(record["id"].as_str().unwrap().to_owned());
        }
    }
    let mut by_id: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (names, ids) in operations.into_values() {
        for id in ids {
            by_id.entry(id).or_default().extend(names.iter().cloned());
        }
    }
    by_id
}
