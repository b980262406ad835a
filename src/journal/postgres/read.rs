//! Reads, on connections of a pool.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::{Error, OpenOptions};
use super::connect::{Connector, told};
use super::lease::Lease;
use crate::model::{Entry, OperationId, Record, Stored, Timestamp};

macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT o.id, e.at, e.record FROM ",
            $from,
            " JOIN entries e ON e.operation = o.id ORDER BY o.opened_at, o.id, e.seq"
        )
    };
}

/// Pages: behind a place, and how many. Of others they read no entries.
pub(super) const UNFINISHED: &str = select!(
    "(SELECT id, opened_at FROM operations \
         WHERE state < 2 AND (opened_at, id) > ($1, $2) ORDER BY opened_at, id LIMIT $3) AS o"
);

pub(super) const OVERLAPPING: &str = select!(
    "(SELECT id, opened_at FROM operations \
         WHERE state < 3 AND (opened_at, id) > ($1, $2) \
             AND resource_type = $4 AND kind = $5 AND settled_at >= $6 \
         ORDER BY opened_at, id LIMIT $3) AS o"
);

pub(super) const OPERATION: &str =
    select!("(SELECT id, opened_at FROM operations WHERE id = $1) AS o");

pub(super) const HOLDER: &str = select!(
    "bindings b JOIN operations o ON o.id = b.operation \
         AND b.resource_type = $1 AND b.resource_id = $2"
);

/// A pool of connections.
pub(super) struct Reads {
    pool: Pool,
    lease: Arc<Lease>,
    timeout: Duration,
}

impl Reads {
    /// A pool; nothing is connected yet.
    pub(super) fn new(
        connector: Connector,
        options: &OpenOptions,
        lease: Arc<Lease>,
    ) -> Result<Self, String> {
        // A connection is asked whether it lives before it is used again: the server may have
        // been restarted, or a network may have forgotten it.
        let config = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), connector, config);
        let connect = Some(options.postgres.connect_timeout.0);
        let pool = Pool::builder(manager)
            .max_size(options.postgres.pool)
            .timeouts(Timeouts { wait: connect, create: connect, recycle: connect })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { pool, lease, timeout: options.postgres.statement_timeout.0 })
    }

    /// The operations that a query of this file gives.
    pub(super) async fn stored(
        &self,
        query: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Stored>, Error> {
        self.lease.standing.check_read()?;
        let rows = self.rows(query, values).await?;
        collect(&rows).map_err(|error| self.lease.standing.broken(error.to_string()))
    }

    /// Runs one statement.
    pub(super) async fn rows(
        &self,
        query: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.within(async |connection| {
            let statement = connection.prepare_cached(query).await?;
            connection.query(&statement, values).await
        })
        .await
    }

    /// Does something with a connection of the pool, within the time of a statement.
    pub(super) async fn within<T>(
        &self,
        act: impl AsyncFnOnce(&mut Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let connection = self.pool.get().await;
        let mut connection = connection.map_err(|error| Error::Unavailable(error.to_string()))?;
        let done = tokio::time::timeout(self.timeout, act(&mut connection)).await;
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Error::Unavailable(told(&error))),
            Err(_) => {
                // It may answer later, what nobody asked any more.
                drop(Object::take(connection));
                Err(Error::Unavailable("no answer within statement_timeout".into()))
            }
        }
    }
}

/// Why what was read means nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("operation {operation} has a record that can't be read: {source}")]
    Record { operation: OperationId, source: serde_json::Error },
}

/// The operations of one statement, which is one snapshot; their records follow one another.
pub(super) fn collect(rows: &[Row]) -> Result<Vec<Stored>, Unreadable> {
    let mut found: Vec<Stored> = Vec::new();
    for row in rows {
        let id: Uuid = row.get(0);
        let id = OperationId::from_bytes(*id.as_bytes());
        let entry = entry(id, row)?;
        match found.last_mut() {
            Some(last) if last.id == id => last.entries.push(entry),
            _ => found.push(Stored { id, entries: vec![entry] }),
        }
    }
    Ok(found)
}

fn entry(operation: OperationId, row: &Row) -> Result<Entry, Unreadable> {
    let record: Record = serde_json::from_str(row.get(2))
        .map_err(|source| Unreadable::Record { operation, source })?;
    Ok(Entry { at: Timestamp::from_micros(row.get(1)), record })
}
