//! The tables, and how they came to be.

use tokio_postgres::Client;

use super::super::row;
use super::connect::{Problem, failed};

/// The schema that all tables are in, so that the journal may live in a database with others.
pub(super) const SCHEMA: &str = "authz_sidecar";

/// The version of the records' JSON, as a column holds it.
pub(super) const RECORD_VERSION: i32 = row::RECORD_VERSION.cast_signed();

/// Held while the tables are made or changed: `AuSc` in ASCII.
const LOCK: i64 = 0x4175_5363;

/// What leads from each version of the layout to the next; the first from nothing.
///
/// `replicas` has a row for each start of a process; its key is the *epoch*, its `token` tells two
/// apart that were given one epoch by two servers of which one had forgotten the other's. `lease` is
/// how long that process's lease holds: processes may be configured differently.
/// `writers.batch` counts an epoch's commits: after a lost answer it tells whether there was one.
/// A table of its own, since every commit changes it, and the fence's lock is on the other.
///
/// `record` and `opening` are text and not jsonb, which can't hold every string of JSON.
const MIGRATIONS: [&str; 3] = [CREATE, LEASES, PLACES];

const CREATE: &str = "
CREATE TABLE replicas (
    epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token uuid NOT NULL,
    name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
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
    begun bigint NOT NULL, -- the epoch that began it; 0 where evidence did
    resource_type text COLLATE \"C\" NOT NULL,
    kind smallint NOT NULL, -- 0 create, 1 delete
    opened_at bigint NOT NULL, -- times are microseconds since 1970, by a replica's clock
    settled_at bigint NOT NULL, -- the greatest number where it has not settled
    state smallint NOT NULL, -- 0 open, 1 alone, 2 finished, 3 finished and void
    finished_at bigint
);
CREATE INDEX unfinished ON operations (owner, opened_at) WHERE state < 2;
CREATE INDEX open ON operations (opened_at) WHERE state = 0;
CREATE INDEX finished ON operations (finished_at) WHERE state = 2;
CREATE INDEX settled ON operations (resource_type, kind, settled_at, opened_at);
CREATE TABLE entries (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation uuid NOT NULL,
    at bigint NOT NULL,
    version integer NOT NULL,
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

/// For replicas that an earlier release began: longer than most leases are.
const LEASES: &str = "ALTER TABLE replicas ADD COLUMN lease interval NOT NULL DEFAULT '5 min'";

/// By place, since that never changes: what settles between two pages is not missed. Replicas of
/// earlier releases that still run find what they ask for without the index that goes.
const PLACES: &str = "
CREATE INDEX listed ON operations (opened_at, id) WHERE state < 2;
CREATE INDEX void ON operations (finished_at) WHERE state = 3;
CREATE INDEX overlapping ON operations (resource_type, kind, opened_at, id, settled_at)
    WHERE state < 3;
DROP INDEX settled;
";

/// Makes the tables, or brings them up to what this release knows; refuses later ones.
pub(super) async fn migrate(client: &mut Client) -> Result<(), Problem> {
    let transaction = client.transaction().await.map_err(failed)?;
    // One at a time, also where several replicas start at once.
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    let there = "SELECT to_regclass($1) IS NOT NULL";
    let versions = format!("{SCHEMA}.versions");
    let there = transaction.query_one(there, &[&versions]).await.map_err(failed)?;
    let there: bool = there.get(0);
    if !there {
        let create = format!(
            "CREATE SCHEMA IF NOT EXISTS {SCHEMA};
             CREATE TABLE {SCHEMA}.versions (what text PRIMARY KEY, version integer NOT NULL);"
        );
        transaction.batch_execute(&create).await.map_err(failed)?;
    }
    let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let found = version(&transaction, "schema", known).await?;
    let done = usize::try_from(found).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.batch_execute(migration).await.map_err(failed)?;
    }
    let records = version(&transaction, "records", RECORD_VERSION).await?;
    for (what, version, found) in [("schema", known, found), ("records", RECORD_VERSION, records)] {
        if found < version {
            let raise = "INSERT INTO versions (what, version) VALUES ($1, $2) \
                         ON CONFLICT (what) DO UPDATE SET version = excluded.version";
            transaction.execute(raise, &[&what, &version]).await.map_err(failed)?;
        }
    }
    transaction.commit().await.map_err(failed)
}

/// The version found, 0 where there is none; a later one than `known` is refused.
async fn version(
    transaction: &tokio_postgres::Transaction<'_>,
    what: &'static str,
    known: i32,
) -> Result<i32, Problem> {
    let query = "SELECT version FROM versions WHERE what = $1";
    let found = transaction.query_opt(query, &[&what]).await.map_err(failed)?;
    let found: i32 = found.map_or(0, |row| row.get(0));
    if found > known {
        let number = |version: i32| u32::try_from(version).unwrap_or(0);
        return Err(Problem::Newer { what, found: number(found), known: number(known) });
    }
    Ok(found)
}
