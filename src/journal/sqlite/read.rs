//! The reader's thread and its questions.

use std::sync::Arc;

use rusqlite::{Connection, Params};
use tokio::sync::{mpsc, oneshot};

use super::super::Of;
use super::super::row::RECORD_VERSION;
use super::schema::code;
use super::{Error, Standing};
use crate::model::{Entry, OperationId, Record, Resource, ResourceType, Stored, Timestamp};

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
    #[error("operation {operation} has a record of version {found}; this release knows {known}")]
    Newer { operation: OperationId, found: u32, known: u32 },
    #[error("operation {operation} has a record that can't be read: {source}")]
    Record { operation: OperationId, source: serde_json::Error },
}

/// CROSS JOIN keeps the order of the tables: first the operations, then the records of each.
macro_rules! select {
    ($from:literal, $order:literal) => {
        concat!(
            "SELECT o.id, o.resource_type, e.at, e.version, e.record FROM ",
            $from,
            " ORDER BY ",
            $order,
            "e.seq"
        )
    };
}

pub(super) const UNFINISHED: &str = select!(
    "operations o CROSS JOIN entries e ON e.operation = o.id WHERE o.state < 2",
    "o.opened_at, o.id, "
);

/// Places in the list, of those in one state, as the index has them.
pub(super) const PLACES: &str = "SELECT opened_at, id FROM operations \
     WHERE state < 2 AND state = ?1 AND (opened_at, id) > (?2, ?3) ORDER BY opened_at, id LIMIT ?4";

pub(super) const OPERATION: &str =
    select!("operations o CROSS JOIN entries e ON e.operation = o.id WHERE o.id = ?", "");

pub(super) const HOLDER: &str = select!(
    "bindings b CROSS JOIN operations o ON o.id = b.operation \
     CROSS JOIN entries e ON e.operation = o.id WHERE b.resource_type = ? AND b.resource_id = ?",
    ""
);

pub(super) const OVERLAPPING: &str = select!(
    "operations o CROSS JOIN entries e ON e.operation = o.id \
     WHERE o.resource_type = ? AND o.kind = ? AND o.settled_at >= ? AND o.opened_at <= ?",
    "o.opened_at, o.id, "
);

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Stored>, ReadError> {
    stored(connection, UNFINISHED, [])
}

/// In one transaction, so that none is missed that goes from one state to the other meanwhile.
pub(super) fn unfinished_page(
    connection: &Connection,
    after: Option<(Timestamp, OperationId)>,
    limit: usize,
) -> Result<Vec<Stored>, ReadError> {
    let snapshot = connection.unchecked_transaction()?;
    let from = after.map_or((i64::MIN, [0; 16]), |(at, id)| (at.as_micros(), *id.as_bytes()));
    let mut places: Vec<(i64, [u8; 16])> = Vec::new();
    for state in [0, 1] {
        let mut search = snapshot.prepare_cached(PLACES)?;
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = search
            .query_map((state, from.0, from.1, most), |row| Ok((row.get(0)?, row.get(1)?)))?;
        places.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    places.sort_unstable();
    let mut page = Vec::with_capacity(places.len().min(limit));
    for (_, id) in places.into_iter().take(limit) {
        page.extend(operation(&snapshot, OperationId::from_bytes(id))?);
    }
    Ok(page)
}

pub(super) fn operation(
    connection: &Connection,
    id: OperationId,
) -> Result<Option<Stored>, ReadError> {
    Ok(stored(connection, OPERATION, [id.as_bytes()])?.pop())
}

pub(super) fn holder(
    connection: &Connection,
    resource: &Resource,
) -> Result<Option<Stored>, ReadError> {
    Ok(stored(connection, HOLDER, [resource.kind.as_str(), resource.id.as_str()])?.pop())
}

pub(super) fn overlapping(
    connection: &Connection,
    resource_type: &ResourceType,
    of: Of,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Stored>, ReadError> {
    let window = (from.as_micros(), to.as_micros());
    let values = (resource_type.as_str(), code(of), window.0, window.1);
    stored(connection, OVERLAPPING, values)
}

/// The operations of one statement, which is one snapshot; their records follow one another.
fn stored(
    connection: &Connection,
    select: &str,
    parameters: impl Params,
) -> Result<Vec<Stored>, ReadError> {
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query(parameters)?;
    let mut found: Vec<Stored> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = OperationId::from_bytes(row.get(0)?);
        let entry = entry(id, row)?;
        match found.last_mut() {
            Some(last) if last.id == id => last.entries.push(entry),
            _ => {
                let resource_type = ResourceType::new(row.get::<_, String>(1)?);
                found.push(Stored { id, resource_type, entries: vec![entry] });
            }
        }
    }
    Ok(found)
}

fn entry(operation: OperationId, row: &rusqlite::Row<'_>) -> Result<Entry, ReadError> {
    let found: u32 = row.get(3)?;
    if found > RECORD_VERSION {
        return Err(ReadError::Newer { operation, found, known: RECORD_VERSION });
    }
    let text: String = row.get(4)?;
    let record: Record =
        serde_json::from_str(&text).map_err(|source| ReadError::Record { operation, source })?;
    Ok(Entry { at: Timestamp::from_micros(row.get(2)?), record })
}
