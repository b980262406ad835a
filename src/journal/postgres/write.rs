//! One batch of calls in one transaction.
//!
//! Three round trips: the fence and what is known of the operations; all that is written; COMMIT,
//! which is sent only once the rest was answered. So a transaction whose COMMIT is under way holds
//! the lock on its row of `writers`, and whoever gets that lock later knows what became of it.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as Found, Statement};
use uuid::Uuid;

use super::super::Error;
use super::super::row::{Row, Rows};
use super::connect::{Link, Problem, failed, told};
use super::lease::Identity;
use crate::failpoint;
use crate::model::{OperationId, Resource, ResourceId, ResourceType};

/// A statement's values.
type Values<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of it is durable.
    Committed,
    /// A call can't be written, and so nothing was.
    Refused(Error),
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
    owners: Statement,
    bind: Statement,
    holders: Statement,
    free: Statement,
    operations: Statement,
    entries: Statement,
}

/// KEY SHARE goes together with a renewal, and not with a take-over, which waits for it.
const FENCE: &str =
    "SELECT 1 FROM replicas WHERE epoch = $1 AND token = $2 AND NOT dead FOR KEY SHARE";

const COUNT: &str = "UPDATE writers SET batch = batch + 1 WHERE epoch = $1 AND batch + 1 = $2";

/// Locked, so that none is forgotten meanwhile.
const OWNERS: &str = "SELECT id, owner FROM operations WHERE id = ANY ($1) FOR NO KEY UPDATE";

/// In the order of the keys, so that two replicas that want the same don't wait for each other.
const BIND: &str = "INSERT INTO bindings (resource_type, resource_id, operation) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING";

/// After the others, so that it sees who is over with this batch.
const FREE: &str = "DELETE FROM bindings b USING operations o, \
     unnest($1::text[], $2::text[]) AS freed (resource_type, resource_id) \
     WHERE b.resource_type = freed.resource_type AND b.resource_id = freed.resource_id \
         AND o.id = b.operation AND o.state >= 2";

const HOLDERS: &str = "SELECT b.resource_type, b.resource_id, b.operation \
     FROM unnest($1::text[], $2::text[]) AS wanted (resource_type, resource_id) \
     JOIN bindings b USING (resource_type, resource_id)";

/// What did not change is not written anew.
const OPERATIONS: &str = "INSERT INTO operations \
     (id, owner, begun, resource_type, kind, opened_at, settled_at, state, finished_at) \
     SELECT u.id, $1, $1, u.resource_type, u.kind, u.opened_at, u.settled_at, u.state, u.finished_at \
     FROM unnest($2::uuid[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[], $7::smallint[], \
         $8::bigint[]) AS u (id, resource_type, kind, opened_at, settled_at, state, finished_at) \
     ON CONFLICT (id) DO UPDATE SET settled_at = excluded.settled_at, state = excluded.state, \
         finished_at = excluded.finished_at \
     WHERE (operations.settled_at, operations.state, operations.finished_at) \
         IS DISTINCT FROM (excluded.settled_at, excluded.state, excluded.finished_at)";

const ENTRIES: &str = "INSERT INTO entries (operation, at, record) \
     SELECT u.operation, u.at, u.record \
     FROM unnest($1::uuid[], $2::bigint[], $3::text[]) WITH ORDINALITY AS u (operation, at, record, n) \
     ORDER BY u.n";

impl Session {
    pub(super) async fn prepare(link: Link) -> Result<Self, Problem> {
        let prepare = async |query| link.client.prepare(query).await.map_err(failed);
        Ok(Self {
            fence: prepare(FENCE).await?,
            count: prepare(COUNT).await?,
            owners: prepare(OWNERS).await?,
            bind: prepare(BIND).await?,
            holders: prepare(HOLDERS).await?,
            free: prepare(FREE).await?,
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
        calls: &[&Rows],
        full: Option<u64>,
    ) -> Result<Outcome, Failure> {
        let Identity { epoch, token } = identity;
        let ids: BTreeSet<Uuid> = calls.iter().map(|rows| uuid(rows.operation)).collect();
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
            client.query(&self.owners, &known),
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
            let id = OperationId::from_bytes(*row.get::<_, Uuid>(0).as_bytes());
            plan.owners.insert(id, row.get(1));
        }
        if let Err(error) = calls.iter().try_for_each(|rows| plan.add(epoch, rows, full)) {
            return self.undo(Outcome::Refused(error)).await;
        }
        let holders = self.put(epoch, &plan).await?;
        let taken =
            holders.into_iter().find(|(resource, holder)| plan.held.get(resource) != Some(holder));
        if let Some((resource, holder)) = taken {
            return self.undo(Outcome::Refused(Error::Taken { resource, holder })).await;
        }
        failpoint::records("written", names(calls));
        if let Err(error) = client.batch_execute("COMMIT").await {
            return Err(Failure::InDoubt(told(&error)));
        }
        failpoint::records("committed", names(calls));
        Ok(Outcome::Committed)
    }

    /// All at once. Gives who holds what the plan wants to hold.
    async fn put(
        &self,
        epoch: i64,
        plan: &Plan<'_>,
    ) -> Result<BTreeMap<Resource, OperationId>, tokio_postgres::Error> {
        let (holders, indexes, entries, freed) = tokio::join!(
            biased;
            self.hold(plan),
            self.put_indexes(epoch, plan),
            self.put_entries(plan),
            self.free(plan),
        );
        indexes?;
        entries?;
        freed?;
        holders
    }

    async fn hold(
        &self,
        plan: &Plan<'_>,
    ) -> Result<BTreeMap<Resource, OperationId>, tokio_postgres::Error> {
        if plan.held.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (types, ids): (Vec<&str>, Vec<&str>) =
            plan.held.keys().map(|key| (key.kind.as_str(), key.id.as_str())).unzip();
        let by: Vec<Uuid> = plan.held.values().map(|id| uuid(*id)).collect();
        let (bind, holders): (Values<3>, Values<2>) = ([&types, &ids, &by], [&types, &ids]);
        let (bound, holders) = tokio::join!(
            biased;
            self.client().execute(&self.bind, &bind),
            self.client().query(&self.holders, &holders),
        );
        bound?;
        Ok(holders?.iter().filter_map(holder).collect())
    }

    async fn free(&self, plan: &Plan<'_>) -> Result<u64, tokio_postgres::Error> {
        let freed: Vec<_> = plan.indexes.values().flat_map(|rows| rows.index.freed()).collect();
        if freed.is_empty() {
            return Ok(0);
        }
        let (types, ids): (Vec<&str>, Vec<&str>) =
            freed.iter().map(|key| (key.kind.as_str(), key.id.as_str())).unzip();
        let values: Values<2> = [&types, &ids];
        self.client().execute(&self.free, &values).await
    }

    async fn put_indexes(&self, epoch: i64, plan: &Plan<'_>) -> Result<u64, tokio_postgres::Error> {
        let all: Vec<_> = plan.indexes.values().map(|rows| rows.columns()).collect();
        if all.is_empty() {
            return Ok(0);
        }
        let ids: Vec<Uuid> = plan.indexes.keys().map(|id| uuid(*id)).collect();
        let types = plan.indexes.values().map(|rows| rows.index.resource_type.as_str());
        let types: Vec<&str> = types.collect();
        let kinds: Vec<i16> = all.iter().map(|index| index.kind).collect();
        let opened: Vec<i64> = all.iter().map(|index| index.opened_at).collect();
        let settled: Vec<i64> = all.iter().map(|index| index.settled_at).collect();
        let states: Vec<i16> = all.iter().map(|index| index.state).collect();
        let finished: Vec<Option<i64>> = all.iter().map(|index| index.finished_at).collect();
        let values: Values<8> =
            [&epoch, &ids, &types, &kinds, &opened, &settled, &states, &finished];
        self.client().execute(&self.operations, &values).await
    }

    async fn put_entries(&self, plan: &Plan<'_>) -> Result<u64, tokio_postgres::Error> {
        if plan.rows.is_empty() {
            return Ok(0);
        }
        let of: Vec<Uuid> = plan.rows.iter().map(|(id, _)| uuid(*id)).collect();
        let at: Vec<i64> = plan.rows.iter().map(|(_, row)| row.at).collect();
        let records: Vec<&str> = plan.rows.iter().map(|(_, row)| row.record.as_str()).collect();
        let values: Values<3> = [&of, &at, &records];
        self.client().execute(&self.entries, &values).await
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
    /// Of all operations that are kept.
    owners: BTreeMap<OperationId, i64>,
    /// The last of each operation.
    indexes: BTreeMap<OperationId, &'a Rows>,
    held: BTreeMap<Resource, OperationId>,
    rows: Vec<(OperationId, &'a Row)>,
}

impl<'a> Plan<'a> {
    fn add(&mut self, epoch: i64, call: &'a Rows, full: Option<u64>) -> Result<(), Error> {
        let operation = call.operation;
        match self.owners.insert(operation, epoch) {
            Some(owner) if owner != epoch => return Err(Error::NotOwned(operation)),
            known if known.is_some() == call.begins => return Err(Error::Misplaced(operation)),
            _ => {}
        }
        if let (true, Some(max_bytes)) = (call.opens(), full) {
            return Err(Error::Full { max_bytes });
        }
        for resource in call.index.held() {
            let holder = *self.held.entry(resource.clone()).or_insert(operation);
            if holder != operation {
                return Err(Error::Taken { resource, holder });
            }
        }
        self.indexes.insert(operation, call);
        self.rows.extend(call.entries.iter().map(|row| (operation, row)));
        Ok(())
    }
}

/// The names of all records, for failpoints.
fn names(calls: &[&Rows]) -> impl Iterator<Item = &'static str> {
    calls.iter().flat_map(|rows| rows.names())
}

/// An operation's id as the database keeps it.
pub(super) fn uuid(id: OperationId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

fn holder(row: &Found) -> Option<(Resource, OperationId)> {
    let kind = ResourceType::new(row.get::<_, String>(0));
    let id = ResourceId::new(row.get::<_, String>(1))?;
    let operation: Uuid = row.get(2);
    Some((Resource { kind, id }, OperationId::from_bytes(*operation.as_bytes())))
}
