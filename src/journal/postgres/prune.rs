//! Forgetting what no judgement of rows and no overlap can need any more.

use super::super::Error;
use super::super::index::settled;
use super::super::retention::{Gap, gaps, void_before};
use super::read::Reads;
use crate::model::Timestamp;

/// Operations forgotten in one transaction.
const PRUNE_CHUNK: i64 = 500;

/// Held by the one replica that forgets: `AuSd`, beside the schema's.
const PRUNE_LOCK: i64 = 0x4175_5364;

const OPEN: &str =
    "SELECT opened_at, settled_at FROM operations WHERE state = 0 ORDER BY opened_at";

/// Gap by gap, so that what lies between is not read. What a replica is about to change is locked,
/// and stays.
const FORGET: &str = "WITH void AS MATERIALIZED ( \
         SELECT id FROM operations WHERE state = 3 AND finished_at < $4 \
             AND id NOT IN (SELECT operation FROM evidence) \
         ORDER BY finished_at LIMIT $3 FOR UPDATE SKIP LOCKED), \
     gone AS MATERIALIZED ( \
         SELECT id FROM void UNION ALL SELECT o.id FROM unnest($1::bigint[], $2::bigint[]) AS gap (after, before) \
         CROSS JOIN LATERAL ( \
             SELECT id FROM operations WHERE state = 2 \
                 AND finished_at > gap.after AND finished_at < gap.before AND opened_at > gap.after \
                 AND id NOT IN (SELECT operation FROM evidence) \
             ORDER BY finished_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS o \
         LIMIT $3), \
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
            let open = transaction.query(OPEN, &[]).await?;
            let open =
                open.iter().map(|row| (Timestamp::from_micros(row.get(0)), settled(row.get(1))));
            let micros = |gap: Gap| (gap.after.as_micros(), gap.before.as_micros());
            let (after, until): (Vec<i64>, Vec<i64>) =
                gaps(now, before, open).into_iter().map(micros).unzip();
            let void = void_before(now, before).as_micros();
            let forgotten =
                transaction.execute(FORGET, &[&after, &until, &PRUNE_CHUNK, &void]).await?;
            transaction.batch_execute(FORGET_REPLICAS).await?;
            transaction.commit().await?;
            Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
        })
        .await
}
