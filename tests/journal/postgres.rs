//! What only a journal in PostgreSQL promises: locks under take-overs, and that a lost connection
//! loses nothing. What replicas promise each other is in `replicas.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use authz_sidecar::journal::{Arrival, Deposit, Error, Journal, Owner, SqlJournal};
use authz_sidecar::model::{Late, OperationId, Span};
use futures_util::future::{join_all, try_join};
use tokio_postgres::Client;

use crate::fixture::{
    self, Calls, at, closed, committed, finished, names, opened, opening, prepared, registered,
};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::postgres::Postgres;

/// The epoch of the replica that opened its database first.
pub(crate) const FIRST: i64 = 1;

/// Cuts all connections but that which asks for it.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// Ends the lease of the replicas that are [`frozen`] as if it had run out.
pub(crate) async fn expire(client: &Client) {
    let expire = "UPDATE replicas SET lease = interval '0', \
                  lease_until = clock_timestamp() - interval '1 h' WHERE lease > interval '30 min'";
    client.execute(expire, &[]).await.unwrap();
}

/// A replica that is never renewed again, as one is that stands still.
pub(crate) async fn frozen(database: &Database) -> SqlJournal {
    let mut config = database.config();
    config.postgres.lease = Span(Duration::from_hours(1));
    database.try_open(config).await.unwrap()
}

#[tokio::test]
async fn p2_a_take_over_waits_for_a_write_that_is_under_way() {
    let database = Database::new().await;
    let old = Arc::new(frozen(&database).await);
    let operation = opened(&*old, 1).await;
    let new = database.open().await;
    let (blocker, client) = (database.meddle().await, database.meddle().await);
    blocker.batch_execute("BEGIN; LOCK TABLE entries IN SHARE MODE").await.unwrap();
    let replica = Arc::clone(&old);
    let write = tokio::spawn(async move { replica.write(operation, vec![closed(2)]).await });
    let waiting = "SELECT 1 FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the write waits", || async { client.query_opt(waiting, &[]).await.unwrap() }).await;
    expire(&client).await;
    assert!(new.shared().unwrap().recover().await.unwrap().is_empty(), "it is not over yet");
    let dead = "SELECT dead FROM replicas WHERE epoch = $1";
    let dead = client.query_one(dead, &[&FIRST]).await.unwrap();
    assert!(!dead.get::<_, bool>(0), "whose write may yet be acknowledged");
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(write.await.unwrap(), Ok(()));
    let arrivals = fixture::arrivals(&new).await;
    assert_eq!(arrivals, [Arrival::Adopted(operation)]);
    let kept = names(&new, operation).await;
    assert_eq!(kept, ["prepared", "closed"], "nothing comes after a take-over");
}

/// From the end of a release on, another replica decides: nothing may be kept after it.
#[tokio::test]
async fn p2_a_release_waits_for_a_write_that_is_under_way() {
    let database = Database::new().await;
    let replica = Arc::new(frozen(&database).await);
    let operation = opened(&*replica, 1).await;
    let (blocker, client) = (database.meddle().await, database.meddle().await);
    blocker.batch_execute("BEGIN; LOCK TABLE entries IN SHARE MODE").await.unwrap();
    let writer = Arc::clone(&replica);
    let write = tokio::spawn(async move { writer.write(operation, vec![closed(2)]).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let wait = async |count: i64| {
        let waiting = client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0);
        (waiting == count).then_some(())
    };
    eventually("the write waits", || wait(1)).await;
    let released = tokio::spawn(async move { replica.shared().unwrap().release().await });
    eventually("the release waits, too", || wait(2)).await;
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(write.await.unwrap(), Ok(()));
    released.await.unwrap();
    let dead = "SELECT dead FROM replicas WHERE epoch = $1";
    assert!(client.query_one(dead, &[&FIRST]).await.unwrap().get::<_, bool>(0));
}

/// The statement that adopts was committed, and its answer lost: the operation belongs to a replica that was not told.
#[tokio::test]
async fn p2_p3_what_was_adopted_with_an_answer_that_was_lost_is_handed_out_all_the_same() {
    let database = Database::new().await;
    let old = frozen(&database).await;
    let left = opened(&old, 1).await;
    let new = database.open().await;
    let shared = new.shared().unwrap();
    assert!(shared.recover().await.unwrap().is_empty());
    let client = database.meddle().await;
    expire(&client).await;
    assert_eq!(fixture::arrivals(&new).await, [Arrival::Adopted(left)]);
    let other = frozen(&database).await;
    let adopted = opened(&other, 2).await;
    let owner = "UPDATE operations SET owner = (SELECT owner FROM operations WHERE id = $1) \
                 WHERE id = $2";
    client.execute(owner, &[&left.uuid(), &adopted.uuid()]).await.unwrap();
    client.query(CUT, &[]).await.unwrap();
    let told =
        async { while !fixture::arrivals(&new).await.contains(&Arrival::Adopted(adopted)) {} };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is handed out");
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_not_taken_over() {
    let database = Database::new().await;
    let mut config = database.config();
    config.postgres.lease = Span(Duration::from_secs(2));
    let old = database.try_open(config.clone()).await.unwrap();
    old.shared().unwrap().recover().await.unwrap();
    let operation = opened(&old, 1).await;
    let new = database.try_open(config).await.unwrap();
    assert!(new.shared().unwrap().recover().await.unwrap().is_empty());
    let client = database.meddle().await;
    let until = "SELECT lease_until > started_at + interval '10 s' FROM replicas WHERE epoch = $1";
    eventually("five leases", || async {
        let row = client.query_one(until, &[&FIRST]).await.unwrap();
        row.get::<_, bool>(0).then_some(())
    })
    .await;
    old.write(operation, vec![closed(2)]).await.unwrap();
    assert_eq!(old.shared().unwrap().may_act(), Ok(()));
}

/// As just after a restart of the server, which lasted longer than a lease: whoever is back first, with a
/// shorter one, must not take over a replica that is about to renew its own.
#[tokio::test]
async fn p2_a_replica_has_its_own_lease_to_come_back_after_a_restart_of_the_server() {
    let database = Database::new().await;
    let mut config = database.config();
    // The tests' server has not been up as long.
    config.postgres.lease = Span(Duration::from_hours(400));
    let old = database.try_open(config).await.unwrap();
    let operation = opened(&old, 1).await;
    let client = database.meddle().await;
    let lapse = "UPDATE replicas SET lease_until = clock_timestamp() - interval '1 s' \
                 WHERE lease = interval '320 h'"; // four fifths
    assert_eq!(client.execute(lapse, &[]).await.unwrap(), 1);
    let new = database.open().await;
    let owner = new.shared().unwrap().claim(operation).await.unwrap();
    assert!(matches!(owner, Some(Owner::Other(_))), "{owner:?}");
    assert!(new.shared().unwrap().recover().await.unwrap().is_empty());
    old.write(operation, vec![closed(2)]).await.unwrap();
}

/// A process that stops between two statements holds the lock that a take-over waits for.
#[tokio::test]
async fn a_transaction_that_stands_still_does_not_keep_a_lease() {
    let database = Database::new().await;
    let client = database.meddle().await;
    let old = frozen(&database).await;
    let operation = opened(&old, 1).await;
    // As the journal's own sessions are set up.
    client.batch_execute("SET idle_in_transaction_session_timeout = 500; BEGIN").await.unwrap();
    let fence = "SELECT 1 FROM replicas WHERE epoch = $1 FOR KEY SHARE";
    client.query_one(fence, &[&FIRST]).await.unwrap();
    expire(&database.meddle().await).await;
    let new = database.open().await;
    new.shared().unwrap().recover().await.unwrap();
    let arrivals = fixture::arrivals(&new).await;
    assert_eq!(arrivals, [Arrival::Adopted(operation)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_cut_connections_break_nothing_and_lose_nothing() {
    let database = Database::new().await;
    let journal = Arc::new(database.open().await);
    let client = database.meddle().await;
    let (wrote, mut written) = tokio::sync::mpsc::unbounded_channel();
    for task in 0..8 {
        let (journal, wrote) = (Arc::clone(&journal), wrote.clone());
        tokio::spawn(async move {
            for n in 0..25 {
                let key = format!("{task}-{n}");
                // The beginning may be refused, and then nothing is known of it.
                let operation = eventually("a beginning", || async {
                    let operation = OperationId::new();
                    let begun = journal.write(operation, vec![prepared("api_key", n)]).await;
                    begun.is_ok().then_some(operation)
                })
                .await;
                let first = journal.write(operation, vec![committed(n, &key)]);
                let second = journal.write(operation, vec![registered(n, &key)]);
                try_join(first, second).await.unwrap();
                wrote.send(operation).unwrap();
            }
        });
    }
    drop(wrote);
    let (mut cuts, mut operations) = (0, Vec::new());
    while let Some(operation) = written.recv().await {
        operations.push(operation);
        if operations.len() % 4 == 0 {
            cuts += client.query(CUT, &[]).await.unwrap().len();
        }
    }
    assert_eq!(operations.len(), 200);
    assert!(cuts > 10, "{cuts} cuts");
    assert_eq!(journal.health(), Ok(()));
    for operation in operations {
        let names = eventually("a read", || async {
            let stored = journal.operation(operation).await.ok()?.unwrap();
            Some(stored.entries.iter().map(|entry| entry.record.name()).collect::<Vec<_>>())
        })
        .await;
        assert_eq!(names, ["prepared", "committed", "registered"], "each once, in order");
    }
}

/// Records that were acknowledged are gone, as after a failover to a standby that lagged.
#[tokio::test]
async fn p2_a_server_that_fell_back_breaks_the_journal_and_says_so() {
    let database = Database::new().await;
    let journal = database.open().await;
    let operation = opened(&journal, 1).await;
    let client = database.meddle().await;
    client.execute("UPDATE writers SET batch = batch - 1", &[]).await.unwrap();
    let error = journal.write(operation, vec![closed(2)]).await.unwrap_err();
    assert!(matches!(&error, Error::Broken(why) if why.contains("acknowledged")), "{error}");
    assert!(journal.health().is_err());
}

/// It fell back to before this process's start, and gave its epoch to another.
#[tokio::test]
async fn p2_a_server_that_knows_another_process_by_this_epoch_breaks_the_journal() {
    let database = Database::new().await;
    let journal = database.open().await;
    let operation = opened(&journal, 1).await;
    let client = database.meddle().await;
    client.execute("UPDATE replicas SET token = gen_random_uuid()", &[]).await.unwrap();
    client.query(CUT, &[]).await.unwrap();
    let error = journal.write(operation, vec![closed(2)]).await.unwrap_err();
    assert!(matches!(&error, Error::Broken(why) if why.contains("doesn't know")), "{error}");
}

/// Every write of every session waits for the disk, and for a standby where the database wants that.
#[tokio::test]
async fn p1_p2_whatever_the_database_defaults_to_a_commit_waits_for_the_disk() {
    let note = "CREATE TABLE seen (setting text); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;";
    for (default, wanted) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let database = Database::new().await;
        drop(database.open().await);
        let client = database.meddle().await;
        client.batch_execute(note).await.unwrap();
        for table in ["replicas", "writers", "operations", "entries", "evidence"] {
            let trigger = format!(
                "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table} \
                 EXECUTE FUNCTION note()"
            );
            client.batch_execute(&trigger).await.unwrap();
        }
        let set = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {default}', \
             current_database()); END $$"
        );
        client.batch_execute(&set).await.unwrap();
        let journal = database.open().await;
        let operation = opened(&journal, 1).await;
        journal.write(operation, vec![closed(2)]).await.unwrap();
        let opening = opening("api_key", 3);
        let deposit = Deposit { operation: OperationId::new(), opening, late: Late::Sent };
        journal.shared().unwrap().deposit(deposit).await.unwrap();
        journal.shared().unwrap().release().await;
        let seen = client.query("SELECT DISTINCT setting FROM seen", &[]).await.unwrap();
        let seen: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, [wanted], "with {default}");
    }
}

#[tokio::test]
async fn a_server_without_fsync_is_refused() {
    let database = Database::new().await;
    let mut config = database.config();
    config.postgres.allow_no_fsync = false;
    let error = database.try_open(config).await.unwrap_err().to_string();
    assert!(error.contains("fsync is off") && error.contains("set fsync = on"), "{error}");
}

#[tokio::test]
async fn replicas_that_start_at_once_make_the_tables_once() {
    let database = Database::new().await;
    let _all = join_all((0..6).map(|_| database.open())).await;
    let count = "SELECT count(DISTINCT epoch) FROM replicas WHERE NOT dead";
    let row = database.meddle().await.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 6);
}

/// Each waits for its own time, and not for those before it as well.
#[tokio::test]
async fn p8_reads_that_get_no_connection_fail_together() {
    let place = tempfile::tempdir().unwrap();
    let host = place.path().join("s");
    std::os::unix::fs::symlink(Postgres::shared().host(), &host).unwrap();
    let database = Database::of(host.clone()).await;
    let mut config = database.config();
    config.postgres.statement_timeout = Span(Duration::from_secs(1));
    let journal = database.try_open(config).await.unwrap();
    let operation = opened(&journal, 1).await;
    assert!(journal.operation(operation).await.unwrap().is_some());
    let client = database.meddle().await;
    // From here on there is somebody at its place who takes connections and never answers.
    std::fs::remove_file(&host).unwrap();
    std::fs::create_dir(&host).unwrap();
    let silent = std::os::unix::net::UnixListener::bind(host.join(".s.PGSQL.5432")).unwrap();
    client.query(CUT, &[]).await.unwrap();
    let began = Instant::now();
    let reads = join_all((0..6).map(|_| journal.operation(operation))).await;
    assert!(reads.iter().all(|read| matches!(read, Err(Error::Unavailable(_)))), "{reads:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(silent);
    std::fs::remove_dir_all(&host).unwrap();
    std::os::unix::fs::symlink(Postgres::shared().host(), &host).unwrap();
    eventually("a read", || async { journal.operation(operation).await.ok() }).await;
}

/// What another replica writes meanwhile is waited for.
#[tokio::test]
async fn p4_an_operation_that_is_open_again_while_it_is_to_be_forgotten_stays_with_its_records() {
    let database = Database::new().await;
    let journal = Arc::new(database.open().await);
    let operation = opened(&*journal, 1).await;
    journal.write(operation, vec![finished(2)]).await.unwrap();
    let other = database.meddle().await;
    let opens = "BEGIN; UPDATE operations SET state = 0, finished_at = NULL";
    other.batch_execute(opens).await.unwrap();
    let prune = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.prune(at(1000), at(900)).await }
    });
    let client = database.meddle().await;
    let waiting = "SELECT 1 FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the prune waits", || async { client.query_opt(waiting, &[]).await.unwrap() }).await;
    other.batch_execute("COMMIT").await.unwrap();
    prune.await.unwrap().unwrap();
    assert_eq!(names(&*journal, operation).await, ["prepared", "finished"]);
    let kept = client.query_one("SELECT count(*) FROM operations", &[]).await.unwrap();
    assert_eq!(kept.get::<_, i64>(0), 1);
}
