//! Statements and values as SQLite has them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Null, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use super::super::sql::{Row, Sql, Value};

/// Runs a statement of one moment.
pub(super) fn run(
    connection: &Connection,
    statement: &str,
    values: &[Value<'_>],
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(statement)?;
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    statement.query_map(params_from_iter(values), row)?.collect()
}

/// Of its one connection that writes: nothing comes between two statements of a transaction.
impl Sql for Connection {
    type Error = rusqlite::Error;

    const OWNER: &'static str = "SELECT owner FROM operations WHERE id = $1";

    async fn run(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> rusqlite::Result<Vec<Row>> {
        run(self, statement, values)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Null.to_sql(),
            Self::Number(number) => number.to_sql(),
            Self::Id(id) => id.to_sql(),
            Self::Text(text) => text.to_sql(),
        }
    }
}

impl FromSql for Value<'static> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self::Null),
            ValueRef::Integer(number) => Ok(Self::Number(number)),
            ValueRef::Blob(_) => Uuid::column_result(value).map(Self::Id),
            ValueRef::Text(_) => Ok(Self::Text(value.as_str()?.to_owned().into())),
            ValueRef::Real(_) => Err(FromSqlError::InvalidType),
        }
    }
}
