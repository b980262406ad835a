//! The file's layout, how a connection is set up, and the check on what is found.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE as NO_CKPT_ON_CLOSE;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, params};

use super::super::clock::JournalClock;
use super::super::encoded::FORMAT;
use super::super::machine::boot;
use super::super::problem::Problem;
use super::super::sql::{Dialect, tables};
use super::count::Count;
use super::file::{MAKE_ROOM, MOUNT, OWN, WRITABLE, sync_names};

/// Marks the file as ours in SQLite's header: `AuSc` in ASCII.
const APPLICATION_ID: i32 = 0x4175_5363;

/// How long a connection waits for a lock that somebody's `sqlite3` shell holds.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE format (number INTEGER PRIMARY KEY) STRICT;
CREATE TABLE commits (number INTEGER NOT NULL) STRICT;
INSERT INTO commits VALUES (0);
CREATE TABLE clock (
    boot TEXT PRIMARY KEY,
    shift INTEGER NOT NULL -- microseconds, from the machine's uptime to the time that is recorded
) WITHOUT ROWID, STRICT;
";

/// `entries` is a rowid table: its rows are appended at one end of one tree, several operations
/// to a page, where a tree clustered by operation would spill each `Prepared`, a KiB or two, into a
/// page of its own. The order of rowids is the order of the records: a new one is greater than
/// all that are kept.
const DIALECT: Dialect = Dialect {
    id: "BLOB",
    number: "INTEGER",
    text: "TEXT",
    serial: "INTEGER",
    keyed: "WITHOUT ROWID",
};

/// Opens the journal for the writer, makes its tables where there are none, and checks it.
pub(super) fn open(path: &Path, count: &Count) -> Result<Connection, Problem> {
    let mut connection = connect(path)?;
    identify(&connection)?;
    // A log that is refused is a person's to look at: until then nothing is written, nor cut at the end.
    connection.set_db_config(NO_CKPT_ON_CLOSE, true)?;
    count.compare(number(&connection, "commits")?)?;
    connection.set_db_config(NO_CKPT_ON_CLOSE, false)?;
    let mode: String = setup(&connection)?;
    if mode != "wal" {
        let remedy = "put it on a local file system, which can share memory between processes";
        return Err(Problem::new(format!("no write-ahead log, but {mode}"), remedy));
    }
    create(&mut connection)?;
    let remedy = "then move it and the files named after it away";
    Problem::check_format(number(&connection, "format")?, remedy)?;
    verify(&connection)?;
    // Whatever an earlier process left in the log may be in the machine's memory only: its last
    // commit may have failed. From here on what can be read is on the disk.
    drain(&connection, "PRAGMA wal_checkpoint(TRUNCATE)")?;
    sync_names(path)?;
    Ok(connection)
}

/// The journal's clock. Until the machine starts anew it goes on as it was when the journal was first opened, so that
/// no step of the wall clock comes between the times of two processes.
pub(super) fn clock(connection: &Connection) -> rusqlite::Result<JournalClock> {
    let Some(boot) = boot() else { return Ok(JournalClock::shifted(JournalClock::wall())) };
    connection.execute("DELETE FROM clock WHERE boot <> ?", [&boot])?;
    let put = "INSERT INTO clock VALUES (?, ?) ON CONFLICT DO NOTHING";
    connection.execute(put, params![boot, JournalClock::wall()])?;
    connection.query_row("SELECT shift FROM clock", [], |row| row.get(0)).map(JournalClock::shifted)
}

/// Opens a second connection, for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Refuses a database that somebody else made, before anything in it is touched.
fn identify(connection: &Connection) -> Result<(), Problem> {
    let id: i32 = pragma(connection, "application_id")?;
    let count = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(count, [], |row| row.get(0))?;
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        return Ok(());
    }
    let remedy = "name another file in journal.url";
    Err(Problem::new("it is another program's SQLite database", remedy))
}

fn setup(connection: &Connection) -> rusqlite::Result<String> {
    // Only an empty file takes auto_vacuum, and only before it becomes a write-ahead one.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    // To its end, and then asked: the row that it gives comes before the commit, which may fail.
    drain(connection, "PRAGMA journal_mode = WAL")?;
    let mode = pragma(connection, "journal_mode")?;
    // FULL: the log is synced at each commit, on which the whole contract rests. NORMAL would
    // sync at checkpoints only, and lose acknowledged records when the machine dies. On a Mac
    // only F_FULLFSYNC reaches the disk.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA journal_size_limit = 16777216;",
    )?;
    Ok(mode)
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let id: i32 = pragma(&transaction, "application_id")?;
    if id != APPLICATION_ID {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(&tables(&DIALECT))?;
        transaction.execute("INSERT INTO format VALUES (?)", [FORMAT])?;
        transaction.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}"))?;
    }
    transaction.commit()
}

/// The number in a table that holds nothing else; 0 where there is no such table.
fn number<T: FromSql + Default>(connection: &Connection, table: &str) -> rusqlite::Result<T> {
    let is_there = "SELECT 1 FROM sqlite_schema WHERE name = ?";
    if !connection.prepare(is_there)?.exists([table])? {
        return Ok(T::default());
    }
    connection.query_row(&format!("SELECT number FROM {table}"), [], |row| row.get(0))
}

/// Reads the whole file once. That costs about a second a GiB, no more than the replay that
/// follows, and a record read wrong costs somebody's row.
fn verify(connection: &Connection) -> Result<(), Problem> {
    let found: String = pragma(connection, "quick_check(1)")?;
    if found == "ok" { Ok(()) } else { Err(Problem::new(found, RESTORE)) }
}

/// Runs a pragma to its end: `incremental_vacuum`, for one, frees one page a step.
pub(super) fn drain(connection: &Connection, pragma: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(pragma)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// One value of the connection's state.
pub(super) fn pragma<T: FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0))
}

/// What to do about a file that is not a journal, or one no more.
const RESTORE: &str =
    "restore it from a copy, or move it away and reconcile the service and the back end by hand";

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            DatabaseCorrupt, DiskFull, NotADatabase, PermissionDenied, ReadOnly,
        };
        let remedy = match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => RESTORE,
            Some(ReadOnly) => MOUNT,
            Some(PermissionDenied) => OWN,
            Some(DiskFull) => MAKE_ROOM,
            _ => WRITABLE,
        };
        Self::new(error, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sql;
    use super::*;
    use crate::model::Clock;

    fn opened() -> (tempfile::TempDir, std::path::PathBuf, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.db");
        std::fs::File::create(&path).unwrap();
        let connection = open(&path, &Count::open(&path).unwrap()).unwrap();
        (directory, path, connection)
    }

    #[test]
    fn a_commit_waits_for_the_disk() {
        let (_directory, _, connection) = opened();
        assert_eq!(pragma::<String>(&connection, "journal_mode"), Ok("wal".into()));
        assert_eq!(pragma::<i64>(&connection, "synchronous"), Ok(2));
        assert_eq!(pragma::<i64>(&connection, "auto_vacuum"), Ok(2));
    }

    /// The wall clock may have been set between two processes.
    #[test]
    fn s4_p2_the_time_goes_on_over_a_restart_whatever_the_wall_clock_shows() {
        let (_directory, _, connection) = opened();
        let first = clock(&connection).unwrap().now();
        // As if the wall clock had shown another time then.
        connection.execute("UPDATE clock SET shift = shift + 3600000000", []).unwrap();
        let second = clock(&connection).unwrap().now();
        assert!((3600..3700).contains(&second.since(first).as_secs()), "{first} {second}");
        connection.execute("UPDATE clock SET boot = 'another'", []).unwrap();
        let third = clock(&connection).unwrap().now();
        assert!(third.since(first).as_secs() < 100, "another start of the machine: {third}");
    }

    #[test]
    fn p8_no_search_reads_a_whole_table() {
        let (_directory, _, connection) = opened();
        for query in [
            sql::UNFINISHED,
            sql::OVERLAPPING,
            sql::OPERATION,
            sql::HELD,
            sql::OPEN,
            sql::FORGETTABLE,
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            let parameters = vec![rusqlite::types::Null; plan.parameter_count()];
            let steps: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(parameters), |row| row.get("detail"))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            // Of a page and of evidence all is wanted.
            let scans = |step: &String| {
                let is_wanted = ["SCAN o", "INDEX evidence_of"];
                step.starts_with("SCAN") && !is_wanted.iter().any(|wanted| step.ends_with(wanted))
                    || step.contains("TEMP B-TREE")
            };
            assert!(!steps.iter().any(scans), "{query}: {steps:?}");
        }
    }
}
