//! The reader's thread and its questions.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params};
use tokio::sync::{mpsc, oneshot};

use super::super::index::kind;
use super::super::standing::Standing;
use super::super::{Place, Window};
use super::Error;
use crate::model::{Entry, OperationId, Record, Resource, Stored, Timestamp};

/// Questions that may wait. Each holds a few words, and whoever asks waits anyway; the bound only
/// keeps a slow disk from hiding behind a growing heap.
const QUEUE: usize = 256;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// Asks the reader's thread.
#[derive(Debug)]
pub(super) struct Reader {
    questions: mpsc::Sender<Question>,
    standing: Arc<Standing>,
}

/// The reader's thread.
#[derive(Debug)]
pub(super) struct Reads {
    questions: mpsc::Receiver<Question>,
}

impl Reader {
    pub(super) fn new(standing: Arc<Standing>) -> (Self, Reads) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { questions: sender, standing }, Reads { questions: receiver })
    }

    /// Runs `query` on the reader's connection. One that fails breaks the journal: what can't be
    /// read can't be recovered from either, and the operator must know now.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        let stopped = || Error::Broken("the reader has stopped".into());
        self.standing.check()?;
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| drop(reply.send(query(connection))));
        self.questions.send(question).await.map_err(|_| stopped())?;
        let found = answer.await.map_err(|_| stopped())?;
        found.map_err(|error| self.standing.broken(error.to_string()))
    }
}

impl Reads {
    /// Answers until nobody can ask any more.
    pub(super) fn run(mut self, connection: &Connection) {
        while let Some(question) = self.questions.blocking_recv() {
            question(connection);
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("operation {operation} has a record that can't be read: {source}")]
    Record { operation: OperationId, source: serde_json::Error },
}

/// Places, as the index has them: behind one, and how many.
pub(super) const UNFINISHED: &str = "SELECT id FROM operations \
     WHERE state < 2 AND (opened_at, id) > (?1, ?2) ORDER BY opened_at, id LIMIT ?3";

pub(super) const OVERLAPPING: &str = "SELECT id FROM operations \
     WHERE state < 3 AND (opened_at, id) > (?1, ?2) \
         AND resource_type = ?4 AND kind = ?5 AND settled_at >= ?6 \
     ORDER BY opened_at, id LIMIT ?3";

pub(super) const ENTRIES: &str = "SELECT at, record FROM entries WHERE operation = ? ORDER BY seq";

pub(super) const HOLDER: &str =
    "SELECT operation FROM bindings WHERE resource_type = ? AND resource_id = ?";

pub(super) fn unfinished(
    connection: &Connection,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<Stored>, ReadError> {
    let (at, id, limit) = behind(after, limit);
    page(connection, UNFINISHED, (at, id, limit))
}

pub(super) fn overlapping(
    connection: &Connection,
    window: &Window,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<Stored>, ReadError> {
    let (at, id, limit) = behind(after, limit);
    let Window { resource_type, of, from } = window;
    let from = from.as_micros();
    page(connection, OVERLAPPING, (at, id, limit, resource_type.as_str(), kind(*of), from))
}

/// The first three values of a page's statement.
fn behind(after: Option<Place>, limit: usize) -> (i64, [u8; 16], i64) {
    let (at, id) = after.map_or((i64::MIN, [0; 16]), |(at, id)| (at.as_micros(), *id.as_bytes()));
    (at, id, i64::try_from(limit).unwrap_or(i64::MAX))
}

/// The operations that `select` names, as of one moment.
fn page(
    connection: &Connection,
    select: &str,
    values: impl Params,
) -> Result<Vec<Stored>, ReadError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut select = snapshot.prepare_cached(select)?;
    let mut rows = select.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(operation(&snapshot, OperationId::from_bytes(row.get(0)?))?);
    }
    Ok(found)
}

pub(super) fn holder(
    connection: &Connection,
    resource: &Resource,
) -> Result<Option<Stored>, ReadError> {
    let snapshot = connection.unchecked_transaction()?;
    match held_by(&snapshot, resource)? {
        Some(id) => operation(&snapshot, id),
        None => Ok(None),
    }
}

/// Who holds `resource`.
pub(super) fn held_by(
    connection: &Connection,
    resource: &Resource,
) -> rusqlite::Result<Option<OperationId>> {
    let mut select = connection.prepare_cached(HOLDER)?;
    let values = [resource.kind.as_str(), resource.id.as_str()];
    let holder = select.query_row(values, |row| row.get(0)).optional()?;
    Ok(holder.map(OperationId::from_bytes))
}

/// One statement, and so one moment.
pub(super) fn operation(
    connection: &Connection,
    id: OperationId,
) -> Result<Option<Stored>, ReadError> {
    let mut select = connection.prepare_cached(ENTRIES)?;
    let mut rows = select.query([id.as_bytes()])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(id, row)?);
    }
    Ok((!entries.is_empty()).then_some(Stored { id, entries }))
}

fn entry(operation: OperationId, row: &rusqlite::Row<'_>) -> Result<Entry, ReadError> {
    let text: String = row.get(1)?;
    let record: Record =
        serde_json::from_str(&text).map_err(|source| ReadError::Record { operation, source })?;
    Ok(Entry { at: Timestamp::from_micros(row.get(0)?), record })
}
