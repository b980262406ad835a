//! The tables.

use tokio_postgres::Client;

use super::super::row::FORMAT;
use super::connect::{Problem, failed};

/// The schema that all tables are in, so that the journal may live in a database with others.
pub(super) const SCHEMA: &str = "authz_sidecar";

/// Held while the tables are made: `AuSc` in ASCII.
const LOCK: i64 = 0x4175_5363;

/// `replicas` has a row for each start of a process; its key is the *epoch*, its `token` tells two
/// apart that were given one epoch by two servers of which one had forgotten the other's. `lease` is
/// how long that process's lease holds: processes may be configured differently.
/// `writers.batch` counts an epoch's commits: after a lost answer it tells whether there was one.
/// A table of its own, since every commit changes it, and the fence's lock is on the other.
///
/// `record` and `opening` are text and not jsonb, which can't hold every string of JSON.
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
CREATE TABLE operations (
    id uuid PRIMARY KEY,
    owner bigint NOT NULL,
    begun bigint NOT NULL, -- the epoch that began it
    resource_type text COLLATE \"C\" NOT NULL,
    kind smallint NOT NULL, -- 0 create, 1 delete
    opened_at bigint NOT NULL, -- times are microseconds since 1970, by a replica's clock
    settled_at bigint NOT NULL, -- the greatest number where it has not settled
    state smallint NOT NULL, -- 0 open, 1 alone, 2 finished, 3 finished and void
    finished_at bigint
);
CREATE INDEX unfinished ON operations (owner, opened_at) WHERE state < 2;
CREATE INDEX listed ON operations (opened_at, id) WHERE state < 2;
CREATE INDEX open ON operations (opened_at) WHERE state = 0;
CREATE INDEX finished ON operations (finished_at) WHERE state = 2;
CREATE INDEX void ON operations (finished_at) WHERE state = 3;
CREATE INDEX overlapping ON operations (resource_type, kind, opened_at, id, settled_at)
    WHERE state < 3;
CREATE TABLE entries (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation uuid NOT NULL,
    at bigint NOT NULL,
    record text NOT NULL -- JSON
);
CREATE INDEX entries_of ON entries (operation, seq);
CREATE TABLE bindings (
    resource_type text COLLATE \"C\" NOT NULL,
    resource_id text COLLATE \"C\" NOT NULL,
    operation uuid NOT NULL,
    PRIMARY KEY (resource_type, resource_id)
);
CREATE INDEX bindings_of ON bindings (operation);
CREATE TABLE evidence (
    receipt bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation uuid NOT NULL,
    deposited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    opening text NOT NULL, -- JSON
    late text NOT NULL -- JSON
);
CREATE INDEX evidence_of ON evidence (operation);
";

/// Makes the tables where there are none; refuses those of another release.
pub(super) async fn make(client: &mut Client) -> Result<(), Problem> {
    let transaction = client.transaction().await.map_err(failed)?;
    // One at a time, also where several replicas start at once.
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    let there = "SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL";
    let [tables, format] = ["operations", "format"].map(|name| format!("{SCHEMA}.{name}"));
    let there = transaction.query_one(there, &[&tables, &format]).await.map_err(failed)?;
    let found = match (there.get(0), there.get(1)) {
        (false, _) => {
            transaction.batch_execute(TABLES).await.map_err(failed)?;
            let put = "INSERT INTO format VALUES ($1)";
            transaction.execute(put, &[&FORMAT.cast_signed()]).await.map_err(failed)?;
            FORMAT
        }
        (true, false) => 0,
        (true, true) => {
            let select = "SELECT number FROM format";
            let row = transaction.query_one(select, &[]).await.map_err(failed)?;
            row.get::<_, i32>(0).cast_unsigned()
        }
    };
    if found != FORMAT {
        return Err(Problem::OtherFormat(found));
    }
    transaction.commit().await.map_err(failed)
}
