//! What a file adds: it is reopened, it is one process's, it fails, it fills.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use authz_sidecar::journal::{Config, Error, Journal, Location, Metrics, SqlJournal, open};
use authz_sidecar::model::{ByteSize, OperationId, Record};
use futures_util::future::join_all;

use crate::fixture::{
    Calls, Place, at, closed, committed, done, entry, finished, ids, names, next, opened, prepared,
    resource, retried, try_open,
};

#[tokio::test]
async fn what_was_appended_is_there_after_reopening() {
    let place = Place::new();
    let journal = place.open();
    let first = opened(&journal, 1).await;
    journal.write(first, vec![committed(2, "k")]).await.unwrap();
    let second = opened(&journal, 3).await;
    // Nobody waits for the answer.
    let mut call = journal.append(next(second, vec![closed(4)]));
    let _ = futures_util::poll!(&mut call);
    drop(call);
    drop(journal);
    let journal = place.open();
    assert_eq!(ids(&journal.unfinished().await.unwrap()), [first, second]);
    assert_eq!(names(&journal, first).await, ["prepared", "committed"]);
    assert_eq!(names(&journal, second).await, ["prepared", "closed"], "an orderly end loses none");
    let taken = journal.write(second, vec![committed(5, "k")]).await;
    assert!(matches!(taken, Err(Error::Taken { holder, .. }) if holder == first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_come_together_share_a_commit() {
    let place = Place::new();
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::new(&mut registry);
    let journal = try_open(&place.config(), metrics.clone()).unwrap();
    let journal = std::sync::Arc::new(journal);
    let mut calls = tokio::task::JoinSet::new();
    for intent in 0..400 {
        let journal = journal.clone();
        calls.spawn(async move { opened(&*journal, intent).await });
    }
    calls.join_all().await;
    let (appends, commits) = (metrics.appends.get(), metrics.commits.get());
    assert_eq!(appends, 400);
    assert!(commits * 4 < appends, "{commits} commits for {appends} appends");
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, &registry).unwrap();
    for line in [
        format!("journal_batch_size_count {commits}\n"),
        format!("journal_commit_latency_seconds_count {commits}\n"),
        "journal_appends_total 400\n".into(),
    ] {
        assert!(shown.contains(&line), "{line} is not in {shown}");
    }
    assert_eq!(metrics.queue_depth.get(), 0);
}

#[tokio::test]
async fn p8_a_queue_of_one_still_serves_everybody() {
    let place = Place::new();
    let config = Config { queue: 1, ..place.config() };
    let journal = std::sync::Arc::new(try_open(&config, Metrics::default()).unwrap());
    let mut calls = tokio::task::JoinSet::new();
    for intent in 0..20 {
        let journal = journal.clone();
        calls.spawn(async move { done(&*journal, intent, intent).await });
    }
    assert_eq!(calls.join_all().await.len(), 20);
}

#[tokio::test]
async fn a_second_opener_is_refused_with_the_holders_id() {
    let place = Place::new();
    let journal = place.open();
    let error = try_open(&place.config(), Metrics::default()).unwrap_err();
    assert!(error.problem.is_locked);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let holder = format!("process {} on {} has it open", std::process::id(), host.trim());
    assert_eq!(error.problem.what, holder);
    assert!(error.to_string().contains("journal.url"), "{error}");
    opened(&journal, 1).await;
    drop(journal);
    place.open();
}

#[test]
fn a_place_that_can_not_hold_a_journal_is_refused_with_path_and_remedy() {
    let place = Place::new();
    std::fs::create_dir(place.path()).unwrap();
    let cases = [
        (place.path(), "is a directory"),
        (place.path().join("missing/j.db"), "make it"),
        (Path::new("/proc/j.db").to_owned(), "writable"),
    ];
    for (path, expected) in cases {
        let config = Config::at(Location::Sqlite(path.clone()));
        let error = try_open(&config, Metrics::default()).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_alone() {
    let place = Place::new();
    std::fs::write(place.path(), "a diary, not a database, but long enough to be one".repeat(9))
        .unwrap();
    let before = std::fs::read(place.path()).unwrap();
    let error = place.refusal();
    assert!(error.contains("restore it from a copy"), "{error}");
    assert_eq!(std::fs::read(place.path()).unwrap(), before);

    let place = Place::new();
    place.meddle("CREATE TABLE users (name TEXT)");
    let before = std::fs::read(place.path()).unwrap();
    let error = place.refusal();
    assert!(error.contains("another program's"), "{error}");
    assert_eq!(std::fs::read(place.path()).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_journal_is_refused() {
    let place = Place::new();
    let journal = place.open();
    let calls = (0..200).map(|intent| (OperationId::new(), vec![prepared("api_key", intent)]));
    journal.write_all(calls.collect()).await.unwrap();
    drop(journal);
    let mut bytes = std::fs::read(place.path()).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(place.path(), bytes).unwrap();
    let error = place.refusal();
    assert!(error.contains("restore it from a copy"), "{error}");
}

#[tokio::test]
async fn p7_only_the_owner_may_read_the_files() {
    let place = Place::new();
    let journal = place.open();
    opened(&journal, 1).await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = format!("{}{suffix}", place.path().display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

/// SQLite checks a deferred foreign key when it commits: the one way to fail there on order.
const FAIL_AT_COMMIT: &str = "
    CREATE TABLE parent (x INTEGER PRIMARY KEY);
    CREATE TABLE trap (x INTEGER REFERENCES parent (x) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER spring AFTER INSERT ON entries WHEN json_extract(new.record, '$.record') = 'closed'
    BEGIN INSERT INTO trap VALUES (1); END;";

const FAIL_BEFORE_COMMIT: &str = "
    CREATE TRIGGER spring BEFORE INSERT ON entries WHEN json_extract(new.record, '$.record') = 'closed'
    BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END;";

#[tokio::test]
async fn a_failed_commit_is_unknown_and_nothing_is_accepted_after_it() {
    let place = Place::new();
    drop(place.open());
    place.meddle(FAIL_AT_COMMIT);
    let journal = place.open();
    let operation = opened(&journal, 1).await;
    let failed = journal.write(operation, vec![closed(2)]).await;
    assert!(matches!(failed, Err(Error::Unknown(_))), "{failed:?}");
    assert_broken(&journal, operation).await;
}

#[tokio::test]
async fn p2_what_waits_behind_a_failed_commit_is_not_written() {
    let place = Place::new();
    drop(place.open());
    place.meddle(FAIL_AT_COMMIT);
    let journal = place.open();
    let mut operations = Vec::new();
    for n in 0..600 {
        operations.push(opened(&journal, n).await);
    }
    // More than one transaction takes.
    let write = |(n, operation): (usize, &OperationId)| {
        let record = if n == 0 { closed(2) } else { retried(2) };
        journal.write(*operation, vec![record])
    };
    let somebody = rusqlite::Connection::open(place.path()).unwrap();
    somebody.execute_batch("BEGIN IMMEDIATE").unwrap();
    // All are queued before the first can be written.
    let writes = join_all(operations.iter().enumerate().map(write));
    let (written, ()) = tokio::join!(biased; writes, async {
        somebody.execute_batch("COMMIT").unwrap();
    });
    assert!(written.iter().all(Result::is_err), "{written:?}");
}

#[tokio::test]
async fn a_write_that_fails_before_the_commit_left_nothing_and_breaks_the_journal() {
    let place = Place::new();
    drop(place.open());
    place.meddle(FAIL_BEFORE_COMMIT);
    let journal = place.open();
    let operation = opened(&journal, 1).await;
    let failed = journal.write(operation, vec![committed(2, "k"), closed(2)]).await;
    assert!(matches!(&failed, Err(Error::Broken(why)) if why.contains("disk")), "{failed:?}");
    assert_broken(&journal, operation).await;
    drop(journal);
    let journal = place.open();
    assert_eq!(names(&journal, operation).await, ["prepared"]);
    assert_eq!(journal.holder(&resource("api_key", "k")).await, Ok(None));
}

async fn assert_broken(journal: &SqlJournal, operation: OperationId) {
    let is_broken = |result: Result<(), Error>| matches!(result, Err(Error::Broken(_)));
    assert!(is_broken(journal.health()));
    assert!(is_broken(journal.write(operation, vec![finished(9)]).await));
    assert!(is_broken(journal.unfinished().await.map(drop)));
    assert!(is_broken(journal.prune(at(9), at(8)).await.map(drop)));
}

#[tokio::test]
async fn a_record_that_can_t_be_read_is_not_guessed_at() {
    let place = Place::new();
    let journal = place.open();
    let operation = opened(&journal, 1).await;
    drop(journal);
    place.meddle(r#"UPDATE entries SET record = '{"record": "guess"}'"#);
    let journal = place.open();
    let read = journal.operation(operation).await;
    assert!(matches!(&read, Err(Error::Broken(why)) if why.contains("can't be read")), "{read:?}");
    assert!(journal.health().is_err());
}

#[tokio::test]
async fn p8_a_full_journal_opens_nothing_new_but_lets_the_old_ones_end() {
    let place = Place::new();
    let metrics = Metrics::default();
    let config = Config { max_bytes: ByteSize(256 << 10), ..place.config() };
    let journal = try_open(&config, metrics.clone()).unwrap();
    let mut kept = Vec::new();
    let full = loop {
        let operation = OperationId::new();
        match journal.write(operation, vec![prepared("api_key", 1)]).await {
            Ok(()) => kept.push(operation),
            Err(error) => break error,
        }
        assert!(kept.len() < 5000, "never full");
    };
    assert_eq!(full, Error::Full { max_bytes: 256 << 10 });
    assert!(full.to_string().contains("journal.max_bytes"));
    assert_eq!(journal.health(), Ok(()));
    assert!(metrics.bytes.get() >= 256 << 10);
    assert_eq!(metrics.refusals.get(), 1);
    for operation in &kept {
        journal.write(*operation, vec![finished(2)]).await.unwrap();
    }
    assert_eq!(journal.prune(at(10), at(9)).await, Ok(kept.len()));
    opened(&journal, 11).await;
}

#[tokio::test]
async fn p8_the_file_shrinks_again_after_a_flood() {
    let place = Place::new();
    let journal = place.open();
    let pages = |path: &Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let long = "x".repeat(2000);
    let calls = (0..4000).map(|intent| {
        let why = Record::Reported { rows: Vec::new(), why: long.clone() };
        let entries = vec![prepared("api_key", intent), entry(intent, why), finished(intent)];
        (OperationId::new(), entries)
    });
    journal.write_all(calls.collect()).await.unwrap();
    let flooded = pages(&place.path());
    assert_eq!(journal.prune(at(90_000), at(80_000)).await, Ok(4000));
    let left = pages(&place.path());
    assert!(flooded > 2500 && left < flooded - 1000, "{flooded} pages, then {left}");
}

#[tokio::test]
async fn a_large_prune_lets_appends_through() {
    let place = Place::new();
    let metrics = Metrics::default();
    let journal = try_open(&place.config(), metrics.clone()).unwrap();
    let calls = (0..2000)
        .map(|intent| (OperationId::new(), vec![prepared("api_key", intent), finished(intent)]));
    journal.write_all(calls.collect()).await.unwrap();
    let before = metrics.commits.get();
    let prune = journal.prune(at(90_000), at(80_000));
    let append = async {
        opened(&journal, 100_000).await;
        metrics.commits.get() - before
    };
    let (forgotten, commits) = tokio::join!(prune, append);
    assert_eq!(forgotten, Ok(2000));
    // The prune alone makes ten and more.
    assert!(commits < 6, "the append waited for {commits} commits");
}

#[tokio::test]
async fn the_configuration_opens_it() {
    let place = Place::new();
    let url: Location = format!("sqlite:{}", place.path().display()).parse().unwrap();
    let journal = open(&Config::at(url), Metrics::default()).await.unwrap();
    opened(&journal, 1).await;
    assert_eq!(journal.health(), Ok(()));
}
