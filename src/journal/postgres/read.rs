//! The connection that reads share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::Error;
use super::super::database::Reads;
use super::super::problem::Problem;
use super::super::sql::{Row, Sql, Value};
use super::connect::{Connector, told};
use super::link::Link;

/// Reads, which don't wait for one another's answers.
pub(super) struct PostgresReads {
    connector: Connector,
    timeout: Duration,
    link: Mutex<Option<Arc<Link>>>,
}

impl PostgresReads {
    /// Nothing is connected yet.
    pub(super) fn new(connector: Connector, timeout: Duration) -> Self {
        Self { connector, timeout, link: Mutex::default() }
    }

    /// The connection, or a new one where that has ended.
    pub(super) async fn link(&self) -> Result<Arc<Link>, Problem> {
        let mut link = self.link.lock().await;
        match link.take() {
            Some(open) if !open.client.is_closed() => Ok(Arc::clone(link.insert(open))),
            _ => Ok(Arc::clone(link.insert(Arc::new(self.connector.connect().await?)))),
        }
    }
}

#[async_trait]
impl Reads for PostgresReads {
    /// On a new connection where the first one turns out to be gone: the server may have been restarted, or a
    /// network may have forgotten it.
    async fn rows(
        &self,
        statement: &'static str,
        values: Vec<Value<'static>>,
    ) -> Result<Vec<Row>, Error> {
        let read = async {
            let mut read = self.try_once(statement, &values).await?;
            if matches!(&read, Err(error) if error.is_closed()) {
                read = self.try_once(statement, &values).await?;
            }
            read.map_err(|error| Error::Unavailable(told(&error)))
        };
        timeout(self.timeout, read).await.unwrap_or_else(|_| {
            // It may answer later, what nobody asked any more.
            drop(self.link.try_lock().map(|mut link| link.take()));
            Err(Error::Unavailable("no answer within statement_timeout".into()))
        })
    }
}

impl PostgresReads {
    async fn try_once(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<Result<Vec<Row>, tokio_postgres::Error>, Problem> {
        let read = self.link().await?.run(statement, values).await;
        if read.is_err() {
            self.link.lock().await.take();
        }
        Ok(read)
    }
}
