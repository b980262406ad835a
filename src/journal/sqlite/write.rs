//! What one call does within a transaction.
//!
//! Each call is checked before it writes anything. The writer is the only one, so what was
//! checked still holds when it writes, and a refused call leaves its batch as it was.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::Of;
use super::super::retention::gaps;
use super::super::row::{RECORD_VERSION, Row, bound};
use super::super::summary::{Phase, Summary};
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

/// The first half of the condition is that of the index.
pub(super) const OPEN: &str = "SELECT opened_at, settled_at FROM operations \
     WHERE state < 2 AND state = 0 ORDER BY opened_at";

pub(super) const FORGETTABLE: &str = "SELECT id FROM operations \
     WHERE state = 2 AND finished_at > ?1 AND finished_at < ?2 AND opened_at > ?1 \
     ORDER BY finished_at LIMIT ?3";

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
    let mut search = connection.prepare_cached(FORGETTABLE)?;
    let mut ids = Vec::new();
    for gap in gaps {
        let left = i64::try_from(PRUNE_CHUNK.saturating_sub(ids.len())).unwrap_or(0);
        if left == 0 {
            break;
        }
        let values = (gap.after.as_micros(), gap.before.as_micros(), left);
        let mut found = search.query(values)?;
        while let Some(row) = found.next()? {
            ids.push(row.get(0)?);
        }
    }
    Ok(ids)
}

fn summary(connection: &Connection, operation: OperationId) -> rusqlite::Result<Option<Summary>> {
    let select = "SELECT resource_type, opened_at, settled_at, state, finished_at, kind \
                  FROM operations WHERE id = ?";
    let mut select = connection.prepare_cached(select)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Summary {
            resource_type: ResourceType::new(row.get::<_, String>(0)?),
            of: if row.get::<_, i64>(5)? == code(Of::Deletes) { Of::Deletes } else { Of::Creates },
            opened_at: Timestamp::from_micros(row.get(1)?),
            settled_at: settled(row.get(2)?),
            phase: Phase::of_columns(row.get(3)?, row.get(4)?),
        })
    };
    select.query_row([operation.as_bytes()], read).optional()
}

/// What the column `settled_at` says.
fn settled(at: i64) -> Option<Timestamp> {
    (at != NEVER).then(|| Timestamp::from_micros(at))
}

fn put_summary(
    connection: &Connection,
    operation: OperationId,
    summary: &Summary,
) -> rusqlite::Result<()> {
    let (state, finished_at) = summary.phase.columns();
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
