//! One batch of calls in one transaction.
//!
//! Three round trips: the fence and what is known of the operations; all that is written; COMMIT,
//! which is sent only once the rest was answered. So a transaction whose COMMIT is under way holds
//! the lock on its row of `writers`, and whoever gets that lock later knows what became of it.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as Found, Statement};
use uuid::Uuid;

use super::super::row::{Row, bound};
use super::super::summary::{Phase, Summary};
use super::super::{Error, Of};
use super::connect::{Link, Problem, failed, told};
use super::lease::Identity;
use super::schema::{NEVER, RECORD_VERSION, code};
use crate::failpoint;
use crate::model::{OperationId, Resource, ResourceId, ResourceType, Timestamp};

/// A statement's values.
type Values<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

/// One call's entries.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) operation: OperationId,
    pub(super) rows: Vec<Row>,
}

/// Nothing, or why nothing was done.
pub(super) type Verdict = Result<(), Error>;

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of it is durable.
    Committed,
    /// Some calls can't be written, and so nothing was.
    Refused(Vec<Verdict>),
    /// Another replica has taken over; nothing was written.
    Fenced,
}

/// Why a batch has no outcome yet.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was written.
    Nothing(tokio_postgres::Error),
    /// COMMIT left and was not answered well.
    InDoubt(String),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Nothing(error)
    }
}

/// A connection with what is asked again and again.
pub(super) struct Session {
    pub(super) link: Link,
    fence: Statement,
    count: Statement,
    summaries: Statement,
    bind: Statement,
    holders: Statement,
    operations: Statement,
    entries: Statement,
}

/// KEY SHARE goes together with a renewal, and not with a take-over, which waits for it.
const FENCE: &str =
    "SELECT 1 FROM replicas WHERE epoch = $1 AND token = $2 AND NOT dead FOR KEY SHARE";

const COUNT: &str = "UPDATE writers SET batch = batch + 1 WHERE epoch = $1 AND batch + 1 = $2";

/// Locked, so that none is forgotten meanwhile.
const SUMMARIES: &str = "SELECT id, owner, resource_type, kind, opened_at, settled_at, state, \
     finished_at FROM operations WHERE id = ANY ($1) FOR NO KEY UPDATE";

/// In the order of the keys, so that two replicas that want the same don't wait for each other.
const BIND: &str = "INSERT INTO bindings (resource_type, resource_id, operation) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING";

const HOLDERS: &str = "SELECT b.resource_type, b.resource_id, b.operation \
     FROM unnest($1::text[], $2::text[]) AS wanted (resource_type, resource_id) \
     JOIN bindings b USING (resource_type, resource_id)";

const OPERATIONS: &str = "INSERT INTO operations \
     (id, owner, begun, resource_type, kind, opened_at, settled_at, state, finished_at) \
     SELECT u.id, $1, $1, u.resource_type, u.kind, u.opened_at, u.settled_at, u.state, u.finished_at \
     FROM unnest($2::uuid[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[], $7::smallint[], \
         $8::bigint[]) AS u (id, resource_type, kind, opened_at, settled_at, state, finished_at) \
     ON CONFLICT (id) DO UPDATE SET settled_at = excluded.settled_at, state = excluded.state, \
         finished_at = excluded.finished_at";

const ENTRIES: &str = "INSERT INTO entries (operation, at, version, record) \
     SELECT u.operation, u.at, $1, u.record \
     FROM unnest($2::uuid[], $3::bigint[], $4::text[]) WITH ORDINALITY AS u (operation, at, record, n) \
     ORDER BY u.n";

impl Session {
    pub(super) async fn prepare(link: Link) -> Result<Self, Problem> {
        let prepare = async |query| link.client.prepare(query).await.map_err(failed);
        Ok(Self {
            fence: prepare(FENCE).await?,
            count: prepare(COUNT).await?,
            summaries: prepare(SUMMARIES).await?,
            bind: prepare(BIND).await?,
            holders: prepare(HOLDERS).await?,
            operations: prepare(OPERATIONS).await?,
            entries: prepare(ENTRIES).await?,
            link,
        })
    }

    fn client(&self) -> &Client {
        &self.link.client
    }

    /// Writes `calls` as this epoch's commit number `batch`; where `full` is set, no new operations.
    pub(super) async fn write(
        &self,
        identity: Identity,
        batch: i64,
        calls: &[&Append],
        full: Option<u64>,
    ) -> Result<Outcome, Failure> {
        let Identity { epoch, token } = identity;
        let ids: BTreeSet<Uuid> = calls.iter().map(|call| uuid(call.operation)).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        failpoint::records("before", names(calls));
        let client = self.client();
        let (fence, count, known): (Values<2>, Values<2>, Values<1>) =
            ([&epoch, &token], [&epoch, &batch], [&ids]);
        let (begun, fence, counted, found) = tokio::join!(
            biased;
            client.batch_execute("BEGIN"),
            client.query_opt(&self.fence, &fence),
            client.execute(&self.count, &count),
            client.query(&self.summaries, &known),
        );
        begun?;
        if fence?.is_none() {
            return self.undo(Outcome::Fenced).await;
        }
        if counted? != 1 {
            // Not where it was left: a server that has forgotten commits is found out elsewhere.
            return Err(Failure::InDoubt("the count of commits differs".into()));
        }
        let mut plan = Plan::default();
        for row in found? {
            let (id, owner, summary) = summary(&row);
            plan.known.insert(id, (owner, summary));
        }
        let verdicts: Vec<_> = calls.iter().map(|call| plan.add(epoch, call, full)).collect();
        if verdicts.iter().any(Result::is_err) {
            return self.undo(Outcome::Refused(verdicts)).await;
        }
        let holders = self.put(epoch, &plan).await?;
        let verdicts: Vec<_> =
            calls.iter().map(|call| plan.held_by_others(call, &holders)).collect();
        if verdicts.iter().any(Result::is_err) {
            return self.undo(Outcome::Refused(verdicts)).await;
        }
        failpoint::records("written", names(calls));
        if let Err(error) = client.batch_execute("COMMIT").await {
            return Err(Failure::InDoubt(told(&error)));
        }
        failpoint::records("committed", names(calls));
        Ok(Outcome::Committed)
    }

    async fn put(
        &self,
        epoch: i64,
        plan: &Plan<'_>,
    ) -> Result<BTreeMap<Resource, OperationId>, Failure> {
        let client = self.client();
        let (types, ids): (Vec<&str>, Vec<&str>) =
            plan.wanted.keys().map(|key| (key.kind.as_str(), key.id.as_str())).unzip();
        let by: Vec<Uuid> = plan.wanted.values().map(|id| uuid(*id)).collect();
        let operations = Columns::of(&plan.changed);
        let written: Vec<Uuid> = plan.rows.iter().map(|(id, _)| uuid(*id)).collect();
        let at: Vec<i64> = plan.rows.iter().map(|(_, row)| row.entry.at.as_micros()).collect();
        let records: Vec<&str> = plan.rows.iter().map(|(_, row)| row.record.as_str()).collect();
        let bind = async {
            if types.is_empty() {
                return Ok(Vec::new());
            }
            let (bind, holders): (Values<3>, Values<2>) = ([&types, &ids, &by], [&types, &ids]);
            let (bound, holders) = tokio::join!(
                biased;
                client.execute(&self.bind, &bind),
                client.query(&self.holders, &holders),
            );
            bound.and(holders)
        };
        let operations = async {
            if operations.ids.is_empty() {
                return Ok(0);
            }
            client
                .execute(
                    &self.operations,
                    &[
                        &epoch,
                        &operations.ids,
                        &operations.types,
                        &operations.kinds,
                        &operations.opened,
                        &operations.settled,
                        &operations.states,
                        &operations.finished,
                    ],
                )
                .await
        };
        let entries = async {
            if written.is_empty() {
                return Ok(0);
            }
            client.execute(&self.entries, &[&RECORD_VERSION, &written, &at, &records]).await
        };
        let (holders, operations, entries) = tokio::join!(biased; bind, operations, entries);
        let holders = holders?;
        operations?;
        entries?;
        Ok(holders.iter().filter_map(holder).collect())
    }

    /// Gives the transaction up.
    async fn undo(&self, outcome: Outcome) -> Result<Outcome, Failure> {
        self.client().batch_execute("ROLLBACK").await?;
        Ok(outcome)
    }
}

/// What a batch will write.
#[derive(Default)]
struct Plan<'a> {
    /// What is known of the operations, with their owners.
    known: BTreeMap<OperationId, (i64, Summary)>,
    /// What of that changed.
    changed: BTreeMap<OperationId, Summary>,
    wanted: BTreeMap<Resource, OperationId>,
    rows: Vec<(OperationId, &'a Row)>,
}

impl<'a> Plan<'a> {
    fn add(&mut self, epoch: i64, call: &'a Append, full: Option<u64>) -> Verdict {
        let Append { operation, rows } = call;
        if rows.is_empty() {
            return Ok(());
        }
        let known = self.known.get(operation);
        if known.is_some_and(|(owner, _)| *owner != epoch) {
            return Err(Error::NotOwned(*operation));
        }
        let current = known.map(|(_, summary)| summary.clone());
        let entries: Vec<_> = rows.iter().map(|row| row.entry.clone()).collect();
        let folded = Summary::fold(*operation, current.clone(), &entries)?;
        if let (None, Some(max_bytes)) = (&current, full) {
            return Err(Error::Full { max_bytes });
        }
        for resource in bound(&folded, rows) {
            let holder = *self.wanted.entry(resource.clone()).or_insert(*operation);
            if holder != *operation {
                return Err(Error::Taken { resource, holder });
            }
        }
        if current.as_ref() != Some(&folded) {
            self.changed.insert(*operation, folded.clone());
            self.known.insert(*operation, (epoch, folded));
        }
        self.rows.extend(rows.iter().map(|row| (*operation, row)));
        Ok(())
    }

    fn held_by_others(&self, call: &Append, holders: &BTreeMap<Resource, OperationId>) -> Verdict {
        let Some((_, summary)) = self.known.get(&call.operation) else { return Ok(()) };
        for resource in bound(summary, &call.rows) {
            match holders.get(&resource) {
                Some(holder) if *holder != call.operation => {
                    return Err(Error::Taken { resource, holder: *holder });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Operations, column by column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    types: Vec<&'a str>,
    kinds: Vec<i16>,
    opened: Vec<i64>,
    settled: Vec<i64>,
    states: Vec<i16>,
    finished: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    fn of(operations: &'a BTreeMap<OperationId, Summary>) -> Self {
        let mut columns = Self::default();
        for (id, summary) in operations {
            let (state, finished) = summary.phase.columns();
            columns.ids.push(uuid(*id));
            columns.types.push(summary.resource_type.as_str());
            columns.kinds.push(code(summary.of));
            columns.opened.push(summary.opened_at.as_micros());
            columns.settled.push(summary.settled_at.map_or(NEVER, Timestamp::as_micros));
            columns.states.push(state);
            columns.finished.push(finished);
        }
        columns
    }
}

/// The names of all records, for failpoints.
fn names(calls: &[&Append]) -> impl Iterator<Item = &'static str> {
    calls.iter().flat_map(|call| call.rows.iter().map(|row| row.entry.record.name()))
}

/// An operation's id as the database keeps it.
pub(super) fn uuid(id: OperationId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

fn summary(row: &Found) -> (OperationId, i64, Summary) {
    let summary = Summary {
        resource_type: ResourceType::new(row.get::<_, String>("resource_type")),
        of: if row.get::<_, i16>("kind") == code(Of::Deletes) { Of::Deletes } else { Of::Creates },
        opened_at: Timestamp::from_micros(row.get("opened_at")),
        settled_at: settled(row.get("settled_at")),
        phase: Phase::of_columns(row.get("state"), row.get("finished_at")),
    };
    let id: Uuid = row.get("id");
    (OperationId::from_bytes(*id.as_bytes()), row.get("owner"), summary)
}

/// What the column `settled_at` says.
pub(super) fn settled(at: i64) -> Option<Timestamp> {
    (at != NEVER).then(|| Timestamp::from_micros(at))
}

fn holder(row: &Found) -> Option<(Resource, OperationId)> {
    let kind = ResourceType::new(row.get::<_, String>(0));
    let id = ResourceId::new(row.get::<_, String>(1))?;
    let operation: Uuid = row.get(2);
    Some((Resource { kind, id }, OperationId::from_bytes(*operation.as_bytes())))
}
