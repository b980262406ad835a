//! Taking over: from replicas whose leases ran out, what they left unfinished.

use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::super::problem::Problem;
use super::super::shared::Owner;
use super::lease::Identity;
use crate::model::OperationId;

/// Operations adopted in one step, so that several replicas share what one left.
const STEP: i64 = 64;

/// Another's lease has run out by the database's clock, and the database was up long enough for it
/// to have renewed it. A row that is locked belongs to one that is writing, or is being taken over.
const TAKE_OVER: &str = "UPDATE replicas SET dead = true WHERE epoch IN ( \
     SELECT epoch FROM replicas WHERE NOT dead AND epoch <> $1 \
         AND ($2::uuid IS NULL OR epoch = (SELECT owner FROM operations WHERE id = $2)) \
         AND lease_until < clock_timestamp() \
         AND pg_postmaster_start_time() + lease < clock_timestamp() \
     ORDER BY epoch FOR UPDATE SKIP LOCKED) RETURNING epoch, name";

/// What no living replica owns, and that is unfinished or concerned by evidence; or a single operation, finished or
/// not. The fence is that of the writer: a replica that was taken over itself adopts nothing.
const ADOPT: &str = "WITH me AS MATERIALIZED ( \
         SELECT epoch FROM replicas WHERE epoch = $1 AND token = $2 AND NOT dead FOR KEY SHARE) \
     UPDATE operations SET owner = me.epoch FROM me WHERE id IN ( \
         SELECT id FROM operations WHERE owner NOT IN (SELECT epoch FROM replicas WHERE NOT dead) \
             AND (id = $3 OR $3 IS NULL AND (state < 2 OR id IN (SELECT operation FROM evidence))) \
         ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED) RETURNING id";

/// Of this replica, and begun by another.
const ADOPTED: &str = "SELECT id FROM operations \
     WHERE owner = $1 AND begun <> $1 AND state < 2 ORDER BY id";

const OWNER: &str = "SELECT o.owner, r.name FROM operations o \
     LEFT JOIN replicas r ON r.epoch = o.owner WHERE o.id = $1";

/// Ends the leases that ran out, of all others or of the one that owns `operation`.
pub(super) async fn take_over(
    client: &Client,
    identity: Identity,
    operation: Option<OperationId>,
) -> Result<(), Problem> {
    let operation = operation.map(OperationId::uuid);
    let dead = client.query(TAKE_OVER, &[&identity.epoch, &operation]).await?;
    for row in dead {
        let (epoch, name): (i64, String) = (row.get(0), row.get(1));
        tracing::warn!(epoch, name, "a replica's lease ran out; it is taken over");
    }
    Ok(())
}

/// Makes one step's worth of operations this replica's, or this one. Gives those of them.
pub(super) async fn adopt(
    client: &Client,
    identity: Identity,
    operation: Option<OperationId>,
) -> Result<Vec<OperationId>, Problem> {
    let (Identity { epoch, token }, id) = (identity, operation.map(OperationId::uuid));
    let taken = ids(&client.query(ADOPT, &[&epoch, &token, &id, &STEP]).await?);
    if !taken.is_empty() {
        tracing::info!(operations = taken.len(), "operations were adopted");
    }
    Ok(taken)
}

/// Whose an operation is.
pub(super) async fn owner(
    client: &Client,
    identity: Identity,
    operation: OperationId,
) -> Result<Option<Owner>, Problem> {
    let row = client.query_opt(OWNER, &[&operation.uuid()]).await?;
    Ok(row.map(|row| {
        let (owner, name): (i64, Option<String>) = (row.get(0), row.get(1));
        if owner == identity.epoch { Owner::This } else { Owner::Other(name.unwrap_or_default()) }
    }))
}

/// What this replica owns, did not begin, and is not finished.
pub(super) async fn adopted(
    client: &Client,
    identity: Identity,
) -> Result<Vec<OperationId>, Problem> {
    Ok(ids(&client.query(ADOPTED, &[&identity.epoch]).await?))
}

fn ids(rows: &[Row]) -> Vec<OperationId> {
    rows.iter().map(|row| row.get::<_, Uuid>(0).into()).collect()
}
