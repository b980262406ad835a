//! What the databases have in common: the tables, and what is read from them and written to them.
//!
//! In each statement the parameters are first mentioned in the order of their numbers, since SQLite numbers
//! them by that.

use std::borrow::Cow;
use std::iter::once;

use futures_util::future::try_join_all;
use uuid::Uuid;

use super::encoded::Encoded;
use super::retention::{gaps, void};
use super::writer::Verdict;
use super::{Error, Index, Of, State};
use crate::model::{Entry, OperationId, Resource, Stored, Timestamp};

/// What a statement is given, and what it gives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Value<'a> {
    Null,
    Number(i64),
    Id(Uuid),
    Text(Cow<'a, str>),
}

use Value::{Id, Null, Number, Text};

/// What a statement gives.
pub(super) type Row = Vec<Value<'static>>;

/// A connection to a database.
pub(super) trait Sql {
    type Error;

    /// Gives who owns an operation that is about to be written, and sees that nobody else changes it meanwhile.
    const OWNER: &'static str;

    /// Runs a statement of this room.
    async fn run(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Self::Error>;
}

/// How a database spells its types.
pub(super) struct Dialect {
    pub(super) id: &'static str,
    pub(super) number: &'static str,
    pub(super) text: &'static str,
    /// A number that counts by itself.
    pub(super) serial: &'static str,
    /// What follows a table that is found by its key only.
    pub(super) keyed: &'static str,
}

/// The tables of a journal. Only replicas leave `evidence`, and have an `owner` other than 0.
///
/// Pages are read by id, which never changes: what settles between two pages is not missed. The searches for
/// operations that are over and for void ones pass no others.
///
/// `record` is text and not a database's own JSON, which can't hold every string.
pub(super) fn tables(dialect: &Dialect) -> String {
    let Dialect { id, number, text, serial, keyed } = dialect;
    format!(
        "
CREATE TABLE operations (
    id {id} PRIMARY KEY,
    owner {number} NOT NULL, -- the epoch that carries it on
    begun {number} NOT NULL, -- the epoch that began it
    resource_type {text} NOT NULL,
    kind {number} NOT NULL, -- 0 create, 1 delete
    opened_at {number} NOT NULL, -- times are microseconds since 1970, by the journal's clock
    settled_at {number} NOT NULL, -- the greatest number where it has not settled
    state {number} NOT NULL, -- 0 open, 1 alone, 2 finished, 3 finished and void
    finished_at {number}
) {keyed};
CREATE INDEX unfinished ON operations (id, owner) WHERE state < 2;
CREATE INDEX by_state ON operations (state, finished_at);
CREATE INDEX overlapping ON operations (resource_type, kind, id, settled_at) WHERE state < 3;
CREATE TABLE entries (
    seq {serial} PRIMARY KEY,
    operation {id} NOT NULL,
    at {number} NOT NULL,
    record {text} NOT NULL
);
CREATE INDEX entries_of ON entries (operation, seq);
CREATE TABLE bindings (
    resource_type {text} NOT NULL,
    resource_id {text} NOT NULL,
    operation {id} NOT NULL,
    PRIMARY KEY (resource_type, resource_id)
) {keyed};
CREATE INDEX bindings_of ON bindings (operation);
CREATE TABLE evidence (
    receipt {serial} PRIMARY KEY,
    operation {id} NOT NULL,
    deposit {text} NOT NULL
);
CREATE INDEX evidence_of ON evidence (operation);
"
    )
}

macro_rules! entries_of {
    ($operations:literal) => {
        concat!(
            "SELECT o.id, e.seq, e.at, e.record FROM (",
            $operations,
            ") AS o CROSS JOIN entries e WHERE e.operation = o.id"
        )
    };
}

/// Pages: behind an id, and how many. Of other operations they read no entries.
pub(super) const UNFINISHED: &str =
    entries_of!("SELECT id FROM operations WHERE state < 2 AND id > $1 ORDER BY id LIMIT $2");

pub(super) const OVERLAPPING: &str = entries_of!(
    "SELECT id FROM operations WHERE state < 3 AND resource_type = $1 AND kind = $2 \
         AND settled_at >= $3 AND id > $4 ORDER BY id LIMIT $5"
);

pub(super) const OPERATION: &str =
    "SELECT operation, seq, at, record FROM entries WHERE operation = $1";

pub(super) const HELD: &str = entries_of!(
    "SELECT operation AS id FROM bindings WHERE resource_type = $1 AND resource_id = $2"
);

const HOLDER: &str = "SELECT operation FROM bindings WHERE resource_type = $1 AND resource_id = $2";

const BIND: &str = "INSERT INTO bindings (resource_type, resource_id, operation) \
     VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

/// What did not change is not written anew.
const INDEX: &str = "INSERT INTO operations \
     (id, owner, begun, resource_type, kind, opened_at, settled_at, state, finished_at) \
     VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET \
     settled_at = excluded.settled_at, state = excluded.state, finished_at = excluded.finished_at \
     WHERE (operations.settled_at, operations.state, operations.finished_at) \
         IS DISTINCT FROM (excluded.settled_at, excluded.state, excluded.finished_at)";

const ENTRY: &str = "INSERT INTO entries (operation, at, record) VALUES ($1, $2, $3)";

const FREE: &str = "DELETE FROM bindings WHERE resource_type = $1 AND resource_id = $2 AND EXISTS \
     (SELECT 1 FROM operations WHERE id = bindings.operation AND state >= 2)";

pub(super) const OPEN: &str = "SELECT opened_at, settled_at FROM operations WHERE state = 0";

pub(super) const FORGETTABLE: &str = "SELECT id FROM operations WHERE state = $1 \
     AND finished_at > $2 AND finished_at < $3 AND opened_at > $2 \
     AND id NOT IN (SELECT operation FROM evidence) ORDER BY finished_at LIMIT $4";

/// The operation itself first: that waits for a process that is writing to it. It stays if it is open again by then,
/// with all that belongs to it; else what was written goes, too.
const FORGET: [&str; 3] = [
    "DELETE FROM operations WHERE id = $1 AND state >= 2",
    "DELETE FROM entries WHERE operation = $1 AND NOT EXISTS (SELECT 1 FROM operations WHERE id = $1)",
    "DELETE FROM bindings WHERE operation = $1 AND NOT EXISTS (SELECT 1 FROM operations WHERE id = $1)",
];

/// What [`append`] runs, once it knows the owner.
pub(super) const WRITES: [&str; 5] = [HOLDER, BIND, INDEX, ENTRY, FREE];

/// Operations forgotten in one transaction: some milliseconds, for which appends wait.
const CHUNK: i64 = 200;

/// `state` of operations that are over.
const FINISHED: i64 = 2;
const VOID: i64 = 3;

/// `settled_at` of an operation that has not settled.
const NEVER: i64 = i64::MAX;

impl From<OperationId> for Value<'_> {
    fn from(id: OperationId) -> Self {
        Id(id.uuid())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Text(text.into())
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(time: Timestamp) -> Self {
        Number(time.as_micros())
    }
}

impl From<Of> for Value<'_> {
    fn from(of: Of) -> Self {
        Number(match of {
            Of::Creates => 0,
            Of::Deletes => 1,
        })
    }
}

/// Appends `call` for the replica of that epoch, or tells why it is refused; then nothing of it was written. Where
/// the journal is `full`, of so many bytes, nothing new is opened. The outer error is the database's.
pub(super) async fn append<S: Sql>(
    sql: &S,
    epoch: i64,
    call: &Encoded,
    full: Option<u64>,
) -> Result<Verdict, S::Error> {
    let operation = call.operation;
    let owner = sql.run(S::OWNER, &[operation.into()]).await?;
    match owner.first().map(Vec::as_slice) {
        Some([Number(owner)]) if *owner != epoch => return Ok(Err(Error::NotOwned(operation))),
        owner if owner.is_some() == call.begins => return Ok(Err(Error::Misplaced(operation))),
        _ => {}
    }
    if let (true, Some(max_bytes)) = (call.opens(), full) {
        return Ok(Err(Error::Full { max_bytes }));
    }
    if let Some(resource) = call.index.held() {
        let values = [resource.kind.as_str().into(), resource.id.as_str().into(), operation.into()];
        let holder = loop {
            let bound = sql.run(BIND, &values);
            let (_, holder) = tokio::try_join!(biased; bound, sql.run(HOLDER, &values[..2]))?;
            // Another may free the id between the two: then it is bound at the next try.
            if let Some([Id(holder)]) = holder.first().map(Vec::as_slice) {
                break OperationId::from(*holder);
            }
        };
        if holder != operation {
            return Ok(Err(Error::Taken { resource, holder }));
        }
    }
    put(sql, epoch, call).await?;
    Ok(Ok(()))
}

/// Writes what was checked.
async fn put<S: Sql>(sql: &S, epoch: i64, call: &Encoded) -> Result<(), S::Error> {
    let Index { resource_type, of, opened_at, settled_at, state, .. } = &call.index;
    let (state, finished_at) = match *state {
        State::Open => (0, Null),
        State::Alone => (1, Null),
        State::Finished(at) => (FINISHED, at.into()),
        State::Void(at) => (VOID, at.into()),
    };
    let id = Value::from(call.operation);
    let index = [
        id.clone(),
        Number(epoch),
        resource_type.as_str().into(),
        (*of).into(),
        (*opened_at).into(),
        settled_at.map_or(Number(NEVER), Value::from),
        Number(state),
        finished_at,
    ];
    let entries = call.entries.iter();
    let entries = entries.map(|entry| [id.clone(), Number(entry.at), entry.record.as_str().into()]);
    let entries: Vec<_> = entries.collect();
    let freed =
        |key: Resource| [Text(key.kind.to_string().into()), Text(key.id.to_string().into())];
    let freed: Vec<_> = call.index.freed().map(freed).collect();
    tokio::try_join!(
        biased;
        sql.run(INDEX, &index),
        try_join_all(entries.iter().map(|values| sql.run(ENTRY, values))),
        try_join_all(freed.iter().map(|values| sql.run(FREE, values))),
    )?;
    Ok(())
}

/// Forgets some operations ([`super::Journal::prune`]); returns how many.
pub(super) async fn prune<S: Sql>(
    sql: &S,
    now: Timestamp,
    before: Timestamp,
) -> Result<usize, S::Error> {
    let time = Timestamp::from_micros;
    let mut open = sql.run(OPEN, &[]).await?;
    open.sort();
    let open = open.iter().map(|row| match row[..] {
        [Number(opened_at), Number(settled_at)] => {
            (time(opened_at), (settled_at != NEVER).then(|| time(settled_at)))
        }
        // What can't be read spares everything.
        _ => (time(i64::MIN), None),
    });
    let finished = gaps(now, before, open).into_iter().map(|gap| (FINISHED, gap));
    let mut found = Vec::new();
    // Gap by gap, so that what lies between is not read.
    for (state, gap) in once((VOID, void(now, before))).chain(finished) {
        let left = CHUNK.saturating_sub(i64::try_from(found.len()).unwrap_or(CHUNK));
        if left == 0 {
            break;
        }
        let values = [Number(state), gap.after.into(), gap.before.into(), Number(left)];
        found.extend(sql.run(FORGETTABLE, &values).await?);
    }
    let forget = async |id: &Row| -> Result<(), S::Error> {
        for statement in FORGET {
            sql.run(statement, id).await?;
        }
        Ok(())
    };
    try_join_all(found.iter().map(forget)).await?;
    Ok(found.len())
}

/// The operations of a statement, which is of one moment.
///
/// # Errors
/// When a record can't be read.
pub(super) fn stored(mut rows: Vec<Row>) -> Result<Vec<Stored>, String> {
    // By operation, and there in the order in which they were written.
    rows.sort();
    let mut found: Vec<Stored> = Vec::new();
    for row in rows {
        let [Id(id), Number(_), Number(at), Text(record)] = &row[..] else {
            return Err("a row has another form".into());
        };
        let id = OperationId::from(*id);
        let record = serde_json::from_str(record)
            .map_err(|error| format!("operation {id} has a record that can't be read: {error}"))?;
        let entry = Entry { at: Timestamp::from_micros(*at), record };
        match found.last_mut() {
            Some(last) if last.id == id => last.entries.push(entry),
            _ => found.push(Stored { id, entries: vec![entry] }),
        }
    }
    Ok(found)
}
