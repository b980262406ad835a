//! Where a lane's journal is, and what is in it, read past the sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::names::{DISCARDED, RETRIED, has_id};
use crate::support::database::Database;
use crate::support::sidecar::Config;

/// What is on record.
#[derive(Default)]
pub struct Records {
    /// The names of the records of the operation that holds each id.
    pub by_id: BTreeMap<String, BTreeSet<String>>,
    /// How many records of orders each operation has, by its id and their name.
    pub orders: BTreeMap<(String, String), usize>,
}

/// A lane's journal.
pub enum Journal {
    /// In the sidecar's directory.
    Sqlite,
    /// In a database of its own.
    Postgres(Database),
}

impl Journal {
    /// An empty one.
    pub async fn new(postgres: bool) -> Self {
        if postgres { Self::Postgres(Database::new().await) } else { Self::Sqlite }
    }

    /// A configuration that has it.
    pub fn configure(&self, config: Config) -> Config {
        match self {
            Self::Sqlite => config,
            // The tests' server keeps nothing, and the dead are to be heirs to the living soon.
            Self::Postgres(database) => config
                .set("/journal/url", database.url())
                .set("/journal/postgres/lease", "2s")
                .set("/journal/postgres/allow_no_fsync", true),
        }
    }

    /// Records of operations that began at `since` (microseconds of Unix time) or later.
    pub async fn records(&self, directory: &Path, since: i64) -> Records {
        let select = "SELECT operation, record FROM entries WHERE at >= $1 ORDER BY seq";
        match self {
            Self::Sqlite => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
                let path = directory.join("journal.db");
                let connection = Connection::open_with_flags(path, flags).unwrap();
                let mut select = connection.prepare(select).unwrap();
                let rows = select.query_map([since], |row| {
                    Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?))
                });
                fold(rows.unwrap().map(Result::unwrap))
            }
            Self::Postgres(database) => {
                let rows = database.meddle().await.query(select, &[&since]).await.unwrap();
                fold(rows.iter().map(|row| {
                    (row.get::<_, uuid::Uuid>(0).as_bytes().to_vec(), row.get::<_, String>(1))
                }))
            }
        }
    }
}

/// From records by operation.
fn fold(rows: impl Iterator<Item = (Vec<u8>, String)>) -> Records {
    let mut operations: BTreeMap<Vec<u8>, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    let mut all = Records::default();
    for (operation, record) in rows {
        let record: Value = serde_json::from_str(&record).unwrap();
        let name = record["record"].as_str().unwrap();
        if matches!(name, RETRIED | DISCARDED) {
            let id = uuid::Uuid::from_slice(&operation).unwrap().to_string();
            *all.orders.entry((id, name.to_owned())).or_default() += 1;
        }
        let (names, ids) = operations.entry(operation).or_default();
        names.insert(name.to_owned());
        if has_id(name) {
            ids.insert(record["id"].as_str().unwrap().to_owned());
        }
    }
    for (names, ids) in operations.into_values() {
        for id in ids {
            all.by_id.entry(id).or_default().extend(names.iter().cloned());
        }
    }
    all
}
