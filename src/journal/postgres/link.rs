//! One connection, and statements and values as PostgreSQL has them.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use futures_util::TryStreamExt;
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::super::sql::{Row, Sql, Value};

/// A connection. It is cut with the value.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    task: JoinHandle<()>,
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Also where the server no longer reads.
        self.task.abort();
    }
}

impl Link {
    /// A connection that `task` serves.
    pub(super) fn new(client: Client, task: JoinHandle<()>) -> Self {
        Self { client, task, prepared: Mutex::default() }
    }

    /// What is run often is prepared once.
    pub(super) async fn prepare(
        &self,
        statement: &'static str,
    ) -> Result<Statement, tokio_postgres::Error> {
        let prepared = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let known = prepared().get(statement).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let made = self.client.prepare(statement).await?;
        prepared().insert(statement, made.clone());
        Ok(made)
    }
}

/// Statements leave in the order in which they are first polled, and don't wait for one another's answers.
impl Sql for Link {
    type Error = tokio_postgres::Error;

    const OWNER: &'static str = "SELECT owner FROM operations WHERE id = $1 FOR NO KEY UPDATE";

    async fn run(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepare(statement).await?;
        let rows = self.client.query_raw(&statement, values).await?;
        rows.and_then(async |row| (0..row.len()).map(|column| row.try_get(column)).collect())
            .try_collect()
            .await
    }
}

type Failed = Box<dyn Error + Sync + Send>;

impl ToSql for Value<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Failed> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) => number.to_sql(of, out),
            Self::Id(id) => id.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
        }
    }

    /// The tables have a type of each kind only.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl FromSql<'_> for Value<'static> {
    fn from_sql(of: &Type, bytes: &[u8]) -> Result<Self, Failed> {
        match *of {
            Type::INT8 => i64::from_sql(of, bytes).map(Self::Number),
            Type::UUID => Uuid::from_sql(of, bytes).map(Self::Id),
            _ => String::from_sql(of, bytes).map(|text| Self::Text(text.into())),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failed> {
        Ok(Self::Null)
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::UUID | Type::TEXT)
    }
}
