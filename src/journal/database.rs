//! A journal in an SQL database.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::clock::JournalClock;
use super::sql::{self, Row, Value};
use super::standing::Standing;
use super::writer::Queue;
use super::{Append, Error, Journal, Shared, Window};
use crate::model::{Clock, OperationId, Resource, Stored, Timestamp};

/// How a database is read.
#[async_trait]
pub(super) trait Reads: Send + Sync {
    /// The rows that a statement of this room gives, as of one moment.
    async fn rows(
        &self,
        statement: &'static str,
        values: Vec<Value<'static>>,
    ) -> Result<Vec<Row>, Error>;
}

/// A journal in an SQLite file or in a PostgreSQL database.
///
/// Dropping one in a file commits what is queued, closes the file and gives up its lock; that may block for as
/// long as a commit takes.
pub struct SqlJournal {
    // The order of the fields matters: a writer ends once nobody can reach it any more.
    pub(super) queue: Queue,
    pub(super) reads: Arc<dyn Reads>,
    pub(super) standing: Arc<Standing>,
    pub(super) clock: Arc<JournalClock>,
    /// Where several processes share it.
    pub(super) shared: Option<Box<dyn Shared>>,
}

impl fmt::Debug for SqlJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlJournal").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl SqlJournal {
    async fn stored(
        &self,
        statement: &'static str,
        values: Vec<Value<'static>>,
    ) -> Result<Vec<Stored>, Error> {
        self.standing.check_read()?;
        let rows = self.reads.rows(statement, values).await?;
        sql::stored(rows).map_err(|unreadable| self.standing.broken(unreadable))
    }
}

#[async_trait]
impl Journal for SqlJournal {
    async fn append(&self, append: Append) -> Result<(), Error> {
        self.queue.append(append).await
    }

    async fn unfinished_page(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.stored(sql::UNFINISHED, behind(after, limit).into()).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        Ok(self.stored(sql::OPERATION, vec![id.into()]).await?.pop())
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        let Resource { kind, id } = resource;
        let values = vec![text(kind.as_str()), text(id.as_str())];
        Ok(self.stored(sql::HELD, values).await?.pop())
    }

    async fn overlapping(
        &self,
        window: &Window,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let Window { resource_type, of, from } = window;
        let mut values = vec![text(resource_type.as_str()), (*of).into(), (*from).into()];
        values.extend(behind(after, limit));
        self.stored(sql::OVERLAPPING, values).await
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        let mut forgotten = 0;
        // Chunk by chunk, so that appends get their turn in between.
        loop {
            let chunk = self.queue.prune(now, before).await?;
            forgotten += chunk;
            if chunk == 0 {
                return Ok(forgotten);
            }
        }
    }

    fn health(&self) -> Result<(), Error> {
        self.standing.check()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<JournalClock>::clone(&self.clock)
    }

    fn shared(&self) -> Option<&dyn Shared> {
        self.shared.as_deref()
    }
}

fn text(text: &str) -> Value<'static> {
    Value::Text(text.to_owned().into())
}

/// The values of a page.
fn behind(after: Option<OperationId>, limit: usize) -> [Value<'static>; 2] {
    let id = after.map_or_else(uuid::Uuid::nil, OperationId::uuid);
    [Value::Id(id), Value::Number(i64::try_from(limit).unwrap_or(i64::MAX))]
}
