//! The writer's connection: one transaction for each batch, and room in the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};

use super::super::encoded::{Encoded, names};
use super::super::sql;
use super::super::standing::Standing;
use super::super::writer::{Store, Verdict};
use super::super::{Error, Metrics};
use super::count::Count;
use super::schema::{drain, pragma};
use crate::failpoint;
use crate::model::Timestamp;

/// Size of the write-ahead log from which the writer waits for the reader to let it start over.
/// SQLite's own checkpoints, at 4 MiB, don't wait, and fail while somebody reads.
const LOG_BYTES: u64 = 48 << 20;

/// Free pages that stay in the file for what comes, and those given back in one step.
const SPARE_PAGES: i64 = 1024;
const RELEASE_PAGES: i64 = 256;

/// Owns all operations: there is one process.
const EPOCH: i64 = 0;

/// Counts a commit; gives how many there are with it.
const COUNT: &str = "UPDATE commits SET number = number + 1 RETURNING number";

/// What the writer's thread has.
#[derive(Debug)]
pub(super) struct SqliteStore {
    pub(super) connection: Connection,
    pub(super) count: Count,
    pub(super) standing: Arc<Standing>,
    pub(super) max_bytes: u64,
    pub(super) metrics: Metrics,
    /// The path of the write-ahead log.
    pub(super) log: PathBuf,
}

impl Store for SqliteStore {
    async fn write(&mut self, calls: &[&Encoded]) -> Result<Vec<Verdict>, Error> {
        self.standing.check()?;
        let began = Instant::now();
        failpoint::records("before", names(calls));
        let Self { connection, count, standing, max_bytes, metrics, .. } = self;
        // Until COMMIT the transaction can only vanish, so nothing was written.
        let broken = |error: rusqlite::Error| standing.broken(error.to_string());
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(broken)?;
        let used = used_bytes(&transaction).map_err(broken)?;
        metrics.bytes.set(used);
        let full = (used >= *max_bytes).then_some(*max_bytes);
        let mut verdicts = Vec::with_capacity(calls.len());
        for call in calls {
            verdicts.push(sql::append(&*transaction, EPOCH, call, full).await.map_err(broken)?);
        }
        let commits = transaction.query_row(COUNT, [], |row| row.get(0)).map_err(broken)?;
        failpoint::records("written", names(calls));
        // A failed COMMIT may have reached the disk, and a failed sync is never repaired by
        // another: the kernel reports it once and may drop the pages. Only what a restart reads
        // back tells.
        transaction.commit().map_err(|error| standing.unknown(error.to_string()))?;
        count.note(commits).map_err(|error| standing.unknown(error.to_string()))?;
        failpoint::records("committed", names(calls));
        metrics.committed(began, calls.len());
        Ok(verdicts)
    }

    async fn prune(&mut self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        self.standing.check()?;
        let pruned = self.forget(now, before).await;
        pruned.map_err(|error| self.standing.broken(error.to_string()))
    }

    fn rest(&mut self) {
        let length = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        if length > LOG_BYTES
            && let Err(error) = drain(&self.connection, "PRAGMA wal_checkpoint(TRUNCATE)")
        {
            self.standing.broken(error.to_string());
        }
    }
}

impl SqliteStore {
    async fn forget(&mut self, now: Timestamp, before: Timestamp) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction()?;
        let forgotten = sql::prune(&*transaction, now, before).await?;
        transaction.commit()?;
        self.metrics.commits.inc();
        let free: i64 = pragma(&self.connection, "freelist_count")?;
        let release = (free - SPARE_PAGES).min(RELEASE_PAGES);
        if release > 0 {
            drain(&self.connection, &format!("PRAGMA incremental_vacuum({release})"))?;
        }
        Ok(forgotten)
    }
}

/// What the bound bounds: pages in use, since free ones will be used again.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: i64 = pragma(connection, "page_count")?;
    let free: i64 = pragma(connection, "freelist_count")?;
    let size: i64 = pragma(connection, "page_size")?;
    Ok(u64::try_from((pages - free).saturating_mul(size)).unwrap_or(0))
}
