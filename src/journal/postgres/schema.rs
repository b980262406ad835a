//! The tables.

use tokio_postgres::Client;

use super::super::encoded::FORMAT;
use super::super::problem::Problem;
use super::super::sql::{Dialect, tables};

/// The schema that all tables are in, so that the journal may live in a database with others.
pub(super) const SCHEMA: &str = "authz_sidecar";

/// Held while the tables are made: `AuSc` in ASCII.
const LOCK: i64 = 0x4175_5363;

/// `replicas` has a row for each start of a process; its key is the *epoch*, its `token` tells two
/// apart that were given one epoch by two servers of which one had forgotten the other's. `lease` is
/// how long that process's lease holds: processes may be configured differently.
/// `writers.batch` counts an epoch's commits: after a lost answer it tells whether there was one.
/// A table of its own, since every commit changes it, and the fence's lock is on the other.
const TABLES: &str = "
CREATE SCHEMA IF NOT EXISTS authz_sidecar;
CREATE TABLE format (number integer PRIMARY KEY);
CREATE TABLE replicas (
    epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token uuid NOT NULL,
    name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease interval NOT NULL,
    lease_until timestamptz NOT NULL,
    dead boolean NOT NULL DEFAULT false
);
CREATE TABLE writers (
    epoch bigint PRIMARY KEY,
    batch bigint NOT NULL
) WITH (fillfactor = 20);
";

const DIALECT: Dialect = Dialect {
    id: "uuid",
    number: "bigint",
    text: "text COLLATE \"C\"",
    serial: "bigint GENERATED ALWAYS AS IDENTITY",
    keyed: "",
};

/// Makes the tables where there are none; refuses those of another release.
pub(super) async fn make(client: &mut Client) -> Result<(), Problem> {
    let transaction = client.transaction().await?;
    // One at a time, also where several replicas start at once.
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let there = "SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL";
    let [operations, format] = ["operations", "format"].map(|name| format!("{SCHEMA}.{name}"));
    let there = transaction.query_one(there, &[&operations, &format]).await?;
    let found = match (there.get(0), there.get(1)) {
        (false, _) => {
            transaction.batch_execute(TABLES).await?;
            transaction.batch_execute(&tables(&DIALECT)).await?;
            let put = "INSERT INTO format VALUES ($1)";
            transaction.execute(put, &[&FORMAT.cast_signed()]).await?;
            FORMAT
        }
        (true, false) => 0,
        (true, true) => {
            let select = "SELECT number FROM format";
            let row = transaction.query_one(select, &[]).await?;
            row.get::<_, i32>(0).cast_unsigned()
        }
    };
    let remedy = "then stop all replicas of that release, and drop the schema authz_sidecar";
    Problem::check_format(found, remedy)?;
    Ok(transaction.commit().await?)
}
