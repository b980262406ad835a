//! What one call does within a transaction.
//!
//! Each call is checked before it writes anything. The writer is the only one, so what was
//! checked still holds when it writes, and a refused call leaves its batch as it was.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::Of;
use super::super::row::{RECORD_VERSION, Row, bound};
use super::super::summary::{Phase, Summary, horizon};
use super::Error;
use super::schema::{NEVER, code};
use super::writer::PRUNE_CHUNK;
use crate::model::{OperationId, Resource, ResourceType, Timestamp};

/// Whether new operations may be opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Room {
    Left,
    /// The bound is reached.
    Full {
        max_bytes: u64,
    },
}

/// Appends `rows`, or tells why that is refused. The outer error is the disk's.
pub(super) fn append(
    connection: &Connection,
    operation: OperationId,
    rows: &[Row],
    room: Room,
) -> rusqlite::Result<Result<(), Error>> {
    if rows.is_empty() {
        return Ok(Ok(()));
    }
    let current = summary(connection, operation)?;
    let entries: Vec<_> = rows.iter().map(|row| row.entry.clone()).collect();
    let folded = match Summary::fold(operation, current.clone(), &entries) {
        Ok(folded) => folded,
        Err(error) => return Ok(Err(error)),
    };
    if let (None, Room::Full { max_bytes }) = (&current, room) {
        return Ok(Err(Error::Full { max_bytes }));
    }
    let bound = bound(&folded, rows);
    for resource in &bound {
        match holder(connection, resource)? {
            Some(holder) if holder != operation => {
                return Ok(Err(Error::Taken { resource: resource.clone(), holder }));
            }
            _ => {}
        }
    }
    if current.as_ref() != Some(&folded) {
        put_summary(connection, operation, &folded)?;
    }
    for row in rows {
        put_row(connection, operation, row)?;
    }
    for resource in &bound {
        bind(connection, resource, operation)?;
    }
    Ok(Ok(()))
}

pub(super) const OLDEST_OPEN: &str =
    "SELECT min(opened_at) FROM operations WHERE state < 2 AND state = 0";

pub(super) const FORGETTABLE: &str = "SELECT id FROM operations \
     WHERE state = 2 AND finished_at < ? ORDER BY finished_at LIMIT ?";

/// Forgets at most [`PRUNE_CHUNK`] operations; returns how many.
pub(super) fn prune(
    connection: &Connection,
    now: Timestamp,
    before: Timestamp,
) -> rusqlite::Result<usize> {
    let oldest: Option<i64> =
        connection.prepare_cached(OLDEST_OPEN)?.query_row([], |row| row.get(0))?;
    let horizon = horizon(now, before, oldest.map(Timestamp::from_micros));
    let mut found = connection.prepare_cached(FORGETTABLE)?;
    let ids: Vec<[u8; 16]> = found
        .query_map(params![horizon.as_micros(), PRUNE_CHUNK], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
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

fn summary(connection: &Connection, operation: OperationId) -> rusqlite::Result<Option<Summary>> {
    let select = "SELECT resource_type, opened_at, settled_at, state, finished_at, kind \
                  FROM operations WHERE id = ?";
    let mut select = connection.prepare_cached(select)?;
    let read = |row: &rusqlite::Row<'_>| {
        let settled_at = row.get(2)?;
        let finished_at = row.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros);
        Ok(Summary {
            resource_type: ResourceType::new(row.get::<_, String>(0)?),
            of: if row.get::<_, i64>(5)? == code(Of::Deletes) { Of::Deletes } else { Of::Creates },
            opened_at: Timestamp::from_micros(row.get(1)?),
            settled_at: (settled_at != NEVER).then(|| Timestamp::from_micros(settled_at)),
            phase: match (row.get::<_, i64>(3)?, finished_at) {
                (0, _) => Phase::Open,
                (2, Some(at)) => Phase::Finished(at),
                _ => Phase::Reported,
            },
        })
    };
    select.query_row([operation.as_bytes()], read).optional()
}

fn put_summary(
    connection: &Connection,
    operation: OperationId,
    summary: &Summary,
) -> rusqlite::Result<()> {
    let (state, finished_at) = match summary.phase {
        Phase::Open => (0, None),
        Phase::Reported => (1, None),
        Phase::Finished(at) => (2, Some(at.as_micros())),
    };
    let put = "INSERT INTO operations \
               (id, resource_type, kind, opened_at, settled_at, state, finished_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?) \
               ON CONFLICT (id) DO UPDATE SET settled_at = excluded.settled_at, \
               state = excluded.state, finished_at = excluded.finished_at";
    connection.prepare_cached(put)?.execute(params![
        operation.as_bytes(),
        summary.resource_type.as_str(),
        code(summary.of),
        summary.opened_at.as_micros(),
        summary.settled_at.map_or(NEVER, Timestamp::as_micros),
        state,
        finished_at,
    ])?;
    Ok(())
}

fn put_row(connection: &Connection, operation: OperationId, row: &Row) -> rusqlite::Result<()> {
    let put = "INSERT INTO entries (operation, at, version, record) VALUES (?, ?, ?, ?)";
    let at = row.entry.at.as_micros();
    let values = params![operation.as_bytes(), at, RECORD_VERSION, row.record];
    connection.prepare_cached(put)?.execute(values)?;
    Ok(())
}

fn holder(connection: &Connection, resource: &Resource) -> rusqlite::Result<Option<OperationId>> {
    let select = "SELECT operation FROM bindings WHERE resource_type = ? AND resource_id = ?";
    let mut select = connection.prepare_cached(select)?;
    let holder = select
        .query_row([resource.kind.as_str(), resource.id.as_str()], |row| row.get(0))
        .optional()?;
    Ok(holder.map(OperationId::from_bytes))
}

fn bind(
    connection: &Connection,
    resource: &Resource,
    operation: OperationId,
) -> rusqlite::Result<()> {
    // The same operation binds the same id more than once: Committed, then Registered.
    let bind = "INSERT INTO bindings (resource_type, resource_id, operation) VALUES (?, ?, ?) \
                ON CONFLICT DO NOTHING";
    let values = params![resource.kind.as_str(), resource.id.as_str(), operation.as_bytes()];
    connection.prepare_cached(bind)?.execute(values)?;
    Ok(())
}
