//! Forgetting what no claim and no overlap can need any more.

use super::super::Error;
use super::super::summary::horizon;
use super::read::Reads;
use crate::model::Timestamp;

/// Operations forgotten in one transaction.
const PRUNE_CHUNK: i64 = 500;

/// Held by the one replica that forgets: `AuSd`, beside the schema's.
const PRUNE_LOCK: i64 = 0x4175_5364;

const OLDEST_OPEN: &str = "SELECT min(opened_at) FROM operations WHERE state = 0";

/// What a replica is about to change is locked, and stays.
const FORGET: &str = "WITH gone AS MATERIALIZED ( \
         SELECT id FROM operations WHERE state = 2 AND finished_at < $1 \
             AND id NOT IN (SELECT operation FROM evidence) \
         ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
     e AS (DELETE FROM entries USING gone WHERE entries.operation = gone.id), \
     b AS (DELETE FROM bindings USING gone WHERE bindings.operation = gone.id) \
     DELETE FROM operations USING gone WHERE operations.id = gone.id";

/// Replicas that died long ago; whoever has no row counts as dead.
const FORGET_REPLICAS: &str = "WITH gone AS ( \
         DELETE FROM replicas WHERE dead AND lease_until < clock_timestamp() - interval '1 day' \
         RETURNING epoch) \
     DELETE FROM writers USING gone WHERE writers.epoch = gone.epoch";

/// Forgets at most [`PRUNE_CHUNK`] operations; returns how many. None where another replica is at it.
pub(super) async fn chunk(
    reads: &Reads,
    now: Timestamp,
    before: Timestamp,
) -> Result<usize, Error> {
    reads
        .within(async |connection| {
            let transaction = connection.transaction().await?;
            let lock = "SELECT pg_try_advisory_xact_lock($1)";
            let locked = transaction.query_one(lock, &[&PRUNE_LOCK]).await?;
            if !locked.get::<_, bool>(0) {
                return Ok(0);
            }
            let oldest = transaction.query_one(OLDEST_OPEN, &[]).await?;
            let oldest: Option<i64> = oldest.get(0);
            let horizon = horizon(now, before, oldest.map(Timestamp::from_micros));
            let forgotten =
                transaction.execute(FORGET, &[&horizon.as_micros(), &PRUNE_CHUNK]).await?;
            transaction.batch_execute(FORGET_REPLICAS).await?;
            transaction.commit().await?;
            Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
        })
        .await
}
