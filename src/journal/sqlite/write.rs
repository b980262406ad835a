//! What one call does within a transaction.
//!
//! Each call is checked before it writes anything. The writer is the only one, so what was
//! checked still holds when it writes, and a refused call leaves its batch as it was.

use rusqlite::{Connection, params};

use super::super::index::settled;
use super::super::retention::{gaps, void_before};
use super::super::row::{Row, Rows};
use super::super::writer::Verdict;
use super::Error;
use super::read::held_by;
use crate::model::{OperationId, Resource, Timestamp};

/// Operations forgotten in one step: some milliseconds, for which appends wait.
const PRUNE_CHUNK: usize = 200;

/// Appends `rows`, or tells why that is refused; where the journal is `full`, of so many bytes, nothing new is
/// opened. The outer error is the disk's.
pub(super) fn append(
    connection: &Connection,
    rows: &Rows,
    full: Option<u64>,
) -> rusqlite::Result<Verdict> {
    let operation = rows.operation;
    if rows.begins == is_kept(connection, operation)? {
        return Ok(Err(Error::Misplaced(operation)));
    }
    if let (true, Some(max_bytes)) = (rows.opens(), full) {
        return Ok(Err(Error::Full { max_bytes }));
    }
    let mut free = Vec::new();
    for resource in rows.index.held() {
        match held_by(connection, &resource)? {
            None => free.push(resource),
            Some(holder) if holder == operation => {}
            Some(holder) => return Ok(Err(Error::Taken { resource, holder })),
        }
    }
    put_index(connection, rows)?;
    for row in &rows.entries {
        put_entry(connection, operation, row)?;
    }
    for resource in free {
        hold(connection, &resource, operation)?;
    }
    for resource in rows.index.freed() {
        let values = [resource.kind.as_str(), resource.id.as_str()];
        connection.prepare_cached(FREE)?.execute(values)?;
    }
    Ok(Ok(()))
}

pub(super) const OPEN: &str =
    "SELECT opened_at, settled_at FROM operations WHERE state = 0 ORDER BY opened_at";

pub(super) const FORGETTABLE: &str = "SELECT id FROM operations \
     WHERE state = 2 AND finished_at > ?1 AND finished_at < ?2 AND opened_at > ?1 \
     ORDER BY finished_at LIMIT ?3";

pub(super) const VOID: &str =
    "SELECT id FROM operations WHERE state = 3 AND finished_at < ?1 ORDER BY finished_at LIMIT ?2";

const FREE: &str = "DELETE FROM bindings WHERE resource_type = ? AND resource_id = ? \
     AND operation IN (SELECT id FROM operations WHERE state >= 2)";

/// Forgets at most [`PRUNE_CHUNK`] operations; returns how many.
pub(super) fn prune(
    connection: &Connection,
    now: Timestamp,
    before: Timestamp,
) -> rusqlite::Result<usize> {
    let ids = forgettable(connection, now, before)?;
    for id in &ids {
        for forget in [
            "DELETE FROM entries WHERE operation = ?",
            "DELETE FROM bindings WHERE operation = ?",
            "DELETE FROM operations WHERE id = ?",
        ] {
            connection.prepare_cached(forget)?.execute([id])?;
        }
    }
    Ok(ids.len())
}

/// At most [`PRUNE_CHUNK`] operations. Gap by gap, so that what lies between is not read.
fn forgettable(
    connection: &Connection,
    now: Timestamp,
    before: Timestamp,
) -> rusqlite::Result<Vec<[u8; 16]>> {
    let mut open = connection.prepare_cached(OPEN)?;
    let open =
        open.query_map([], |row| Ok((Timestamp::from_micros(row.get(0)?), settled(row.get(1)?))))?;
    let gaps = gaps(now, before, open.collect::<rusqlite::Result<Vec<_>>>()?);
    let mut ids = Vec::new();
    let left = |ids: &Vec<_>| i64::try_from(PRUNE_CHUNK.saturating_sub(ids.len())).unwrap_or(0);
    let mut search = connection.prepare_cached(VOID)?;
    let found = search.query_map((void_before(now, before).as_micros(), left(&ids)), id)?;
    ids.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
    let mut search = connection.prepare_cached(FORGETTABLE)?;
    for gap in gaps {
        if left(&ids) == 0 {
            break;
        }
        let values = (gap.after.as_micros(), gap.before.as_micros(), left(&ids));
        let found = search.query_map(values, id)?;
        ids.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    Ok(ids)
}

/// Counts a commit; returns how many there are with it.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<i64> {
    let count = "UPDATE commits SET number = number + 1 RETURNING number";
    connection.prepare_cached(count)?.query_row([], |row| row.get(0))
}

fn id(row: &rusqlite::Row<'_>) -> rusqlite::Result<[u8; 16]> {
    row.get(0)
}

fn is_kept(connection: &Connection, operation: OperationId) -> rusqlite::Result<bool> {
    let select = "SELECT 1 FROM operations WHERE id = ?";
    connection.prepare_cached(select)?.exists([operation.as_bytes()])
}

/// What did not change is not written anew.
fn put_index(connection: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    let put = "INSERT INTO operations \
               (id, resource_type, kind, opened_at, settled_at, state, finished_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?) \
               ON CONFLICT (id) DO UPDATE SET settled_at = excluded.settled_at, \
               state = excluded.state, finished_at = excluded.finished_at \
               WHERE (settled_at, state, finished_at) \
                   IS NOT (excluded.settled_at, excluded.state, excluded.finished_at)";
    let columns = rows.columns();
    connection.prepare_cached(put)?.execute(params![
        rows.operation.as_bytes(),
        rows.index.resource_type.as_str(),
        columns.kind,
        columns.opened_at,
        columns.settled_at,
        columns.state,
        columns.finished_at,
    ])?;
    Ok(())
}

fn put_entry(connection: &Connection, operation: OperationId, row: &Row) -> rusqlite::Result<()> {
    let put = "INSERT INTO entries (operation, at, record) VALUES (?, ?, ?)";
    let values = params![operation.as_bytes(), row.at, row.record];
    connection.prepare_cached(put)?.execute(values)?;
    Ok(())
}

fn hold(
    connection: &Connection,
    resource: &Resource,
    operation: OperationId,
) -> rusqlite::Result<()> {
    // An index may name an id twice.
    let hold = "INSERT INTO bindings (resource_type, resource_id, operation) VALUES (?, ?, ?) \
                ON CONFLICT DO NOTHING";
    let values = params![resource.kind.as_str(), resource.id.as_str(), operation.as_bytes()];
    connection.prepare_cached(hold)?.execute(values)?;
    Ok(())
}
