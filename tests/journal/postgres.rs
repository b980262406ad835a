//! What only a journal in PostgreSQL promises: leases, take-over, evidence, and that a lost
//! connection loses nothing.

use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::journal::{
    Arrival, Deposit, Error, Journal, OpenError, PostgresJournal, Shared,
};
use authz_sidecar::model::{Late, OperationId};
use tokio_postgres::Client;

use crate::fixture::{
    at, closed, committed, done, finished, id, ids, names, opened, prepared, registered, resource,
};
use crate::support::database::Database;
use crate::support::eventually;

/// Ends a replica's lease as if it had run out.
async fn expire(journal: &PostgresJournal, client: &Client) {
    let expire =
        "UPDATE replicas SET lease_until = clock_timestamp() - interval '1 h' WHERE epoch = $1";
    assert_eq!(client.execute(expire, &[&journal.epoch()]).await.unwrap(), 1);
}

/// A replica that is never renewed again, as one is that stands still.
async fn frozen(database: &Database) -> PostgresJournal {
    let mut options = database.options();
    options.lease = Duration::from_hours(1);
    database.try_open(options).await.unwrap()
}

/// One whose lease has just run out, and another that took over from it, with what that got.
async fn taken_over(
    database: &Database,
    begin: impl AsyncFnOnce(&PostgresJournal) -> OperationId,
) -> (PostgresJournal, PostgresJournal, OperationId, Vec<OperationId>) {
    let old = frozen(database).await;
    old.recover().await.unwrap();
    let operation = begin(&old).await;
    expire(&old, &database.meddle().await).await;
    let new = database.open().await;
    let left = new.recover().await.unwrap();
    (old, new, operation, ids(&left))
}

#[tokio::test]
async fn p2_a_replica_whose_lease_ran_out_is_taken_over_and_decides_nothing_any_more() {
    let database = Database::new().await;
    let (old, new, operation, left) = taken_over(&database, async |old| {
        done(old, 1, 2).await;
        opened(old, 3).await
    })
    .await;
    assert_eq!(left, [operation], "only what is unfinished");
    assert_eq!(old.append(operation, vec![closed(4)]).await, Err(Error::Fenced));
    assert_eq!(
        old.append(OperationId::new(), vec![prepared("api_key", 4)]).await,
        Err(Error::Fenced)
    );
    assert_eq!((old.health(), old.may_act()), (Err(Error::Fenced), Err(Error::Fenced)));
    assert_eq!(names(&old, operation).await, ["prepared"], "it may read");
    new.append(operation, vec![closed(4), finished(5)]).await.unwrap();
    assert_eq!(names(&new, operation).await, ["prepared", "closed", "finished"]);
    assert_eq!((new.health(), new.may_act()), (Ok(()), Ok(())));
}

#[tokio::test]
async fn p2_what_was_enqueued_before_a_take_over_comes_whole_before_it_or_not_at_all() {
    let database = Database::new().await;
    let old = frozen(&database).await;
    old.recover().await.unwrap();
    let operation = opened(&old, 1).await;
    let client = database.meddle().await;
    expire(&old, &client).await;
    let new = database.open().await;
    for _ in 0..50 {
        old.enqueue(operation, vec![closed(2)]).await.ok();
    }
    let seen = match new.recover().await.unwrap().pop() {
        Some(stored) => stored.entries.len(),
        // A write was under way, for whose end a take-over waits.
        None => match new.arrivals().await.unwrap().pop() {
            Some(Arrival::Adopted(stored)) => stored.entries.len(),
            other => panic!("{other:?}"),
        },
    };
    // Nothing follows once another has read it.
    assert_eq!(old.append(operation, Vec::new()).await, Err(Error::Fenced));
    assert_eq!(names(&new, operation).await.len(), seen);
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
    let write = tokio::spawn(async move { replica.append(operation, vec![closed(2)]).await });
    let waiting = "SELECT 1 FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the write waits", || async { client.query_opt(waiting, &[]).await.unwrap() }).await;
    expire(&old, &client).await;
    assert!(new.recover().await.unwrap().is_empty(), "it is not over yet");
    let dead = "SELECT dead FROM replicas WHERE epoch = $1";
    let dead = client.query_one(dead, &[&old.epoch()]).await.unwrap();
    assert!(!dead.get::<_, bool>(0), "whose write may yet be acknowledged");
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(write.await.unwrap(), Ok(()));
    let arrivals = new.arrivals().await.unwrap();
    let [Arrival::Adopted(stored)] = &arrivals[..] else { panic!("{arrivals:?}") };
    assert_eq!(stored.entries.len(), 2, "nothing comes after a take-over");
}

#[tokio::test]
async fn p4_ids_are_unique_over_replicas() {
    let database = Database::new().await;
    let (one, other) = (database.open().await, database.open().await);
    let (first, second) = (opened(&one, 1).await, opened(&other, 2).await);
    one.append(first, vec![committed(3, "k")]).await.unwrap();
    let taken = Err(Error::Taken { resource: resource("api_key", "k"), holder: first });
    assert_eq!(other.append(second, vec![committed(4, "k")]).await, taken);
    let holder = other.holder(&resource("api_key", "k")).await.unwrap();
    assert_eq!(holder.map(|stored| stored.id), Some(first));
    assert_eq!(other.append(first, vec![closed(5)]).await, Err(Error::NotOwned(first)));
}

#[tokio::test]
async fn p4_of_replicas_that_claim_the_same_ids_at_once_each_id_goes_to_one() {
    let database = Database::new().await;
    let replicas = [Arc::new(database.open().await), Arc::new(database.open().await)];
    let mut claims = tokio::task::JoinSet::new();
    for n in 0..40 {
        for (which, replica) in replicas.iter().enumerate() {
            let replica = Arc::clone(replica);
            claims.spawn(async move {
                let operation = opened(&*replica, n).await;
                // In opposite orders, as a deadlock needs them.
                let pair = [committed(60, &format!("a{n}")), committed(60, &format!("b{n}"))];
                let entries =
                    if which == 0 { pair.to_vec() } else { pair.into_iter().rev().collect() };
                (n, replica.append(operation, entries).await)
            });
        }
    }
    let claims = claims.join_all().await;
    for n in 0..40 {
        let of: Vec<_> = claims.iter().filter(|(of, _)| *of == n).map(|(_, claim)| claim).collect();
        assert_eq!(of.iter().filter(|claim| claim.is_ok()).count(), 1, "{of:?}");
        assert!(of.iter().any(|claim| matches!(claim, Err(Error::Taken { .. }))), "{of:?}");
    }
}

#[tokio::test]
async fn p3_evidence_is_accepted_after_a_take_over_and_reaches_the_owner_until_it_is_settled() {
    let database = Database::new().await;
    let (old, new, operation, _) = taken_over(&database, async |old| opened(old, 1).await).await;
    let late = Late::Answer { id: id("k") };
    let deposit = Deposit { operation, opening: vec![prepared("api_key", 1)], late: late.clone() };
    old.deposit(deposit).await.unwrap();
    for _ in 0..2 {
        let arrivals = new.arrivals().await.unwrap();
        let [Arrival::Evidence { receipt, operation: of, late: told }] = &arrivals[..] else {
            panic!("{arrivals:?}")
        };
        assert_eq!((of, told), (&operation, &late));
        if !names(&new, operation).await.contains(&"committed") {
            new.append(operation, vec![committed(9, "k")]).await.unwrap();
            continue;
        }
        new.settle(*receipt).await.unwrap();
    }
    let client = database.meddle().await;
    let left = client.query_one("SELECT count(*) FROM evidence", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn p3_evidence_of_a_forgotten_operation_begins_it_anew() {
    let database = Database::new().await;
    let (old, new, operation, _) = taken_over(&database, async |old| opened(old, 1).await).await;
    new.append(operation, vec![finished(2)]).await.unwrap();
    assert_eq!(new.prune(at(1000), at(900)).await, Ok(1));
    let opening = vec![prepared("api_key", 1)];
    let late = Late::Answer { id: id("k") };
    old.deposit(Deposit { operation, opening, late: late.clone() }).await.unwrap();
    // Begun anew and told of by whichever replica comes first.
    let arrivals = new.arrivals().await.unwrap();
    assert!(matches!(&arrivals[..], [Arrival::Evidence { operation: of, .. }] if *of == operation));
    assert_eq!(names(&new, operation).await, ["prepared"]);
    // It is recorded only now, and what was forgotten until now is not known for it (P4).
    let begun = new.operation(operation).await.unwrap().unwrap().entries.remove(0);
    assert!(begun.at > at(1000), "{}", begun.at);
    new.append(operation, vec![closed(1001), committed(1001, "k")]).await.unwrap();
    assert_eq!(new.prune(at(9000), at(8000)).await, Ok(0), "what evidence waits for is kept");
}

#[tokio::test]
async fn p3_evidence_of_a_finished_operation_of_a_dead_replica_is_adopted_with_it() {
    let database = Database::new().await;
    let (old, new, _, left) = taken_over(&database, async |old| opened(old, 1).await).await;
    assert_eq!(left.len(), 1);
    let operation = left[0];
    new.append(operation, vec![finished(2)]).await.unwrap();
    new.release().await;
    old.deposit(Deposit { operation, opening: vec![prepared("api_key", 1)], late: Late::Sent })
        .await
        .unwrap();
    let third = database.open().await;
    assert!(third.recover().await.unwrap().is_empty(), "it is finished");
    let arrivals = third.arrivals().await.unwrap();
    assert!(matches!(&arrivals[..], [Arrival::Evidence { operation: of, .. }] if *of == operation));
    third.append(operation, vec![closed(9)]).await.unwrap();
}

#[tokio::test]
async fn a_running_replica_adopts_what_another_left_within_a_lease_and_each_once() {
    let database = Database::new().await;
    let replicas = [database.open().await, database.open().await];
    for replica in &replicas {
        assert!(replica.recover().await.unwrap().is_empty());
    }
    let old = frozen(&database).await;
    let mut left = std::collections::BTreeSet::new();
    for intent in 0..150 {
        left.insert(opened(&old, intent).await);
    }
    expire(&old, &database.meddle().await).await;
    let expired = tokio::time::Instant::now();
    let mut adopted = Vec::new();
    while adopted.len() < left.len() {
        let arrivals = tokio::select! {
            arrivals = replicas[0].arrivals() => arrivals,
            arrivals = replicas[1].arrivals() => arrivals,
        };
        for arrival in arrivals.unwrap() {
            let Arrival::Adopted(stored) = arrival else { panic!("{arrival:?}") };
            adopted.push(stored.id);
        }
    }
    assert!(expired.elapsed() < Duration::from_secs(2), "a lease: {:?}", expired.elapsed());
    assert_eq!(adopted.iter().copied().collect::<std::collections::BTreeSet<_>>(), left);
    assert_eq!(adopted.len(), left.len());
}

#[tokio::test]
async fn a_replica_that_gives_up_its_lease_is_not_waited_for() {
    let database = Database::new().await;
    let old = frozen(&database).await;
    let operation = opened(&old, 1).await;
    old.enqueue(operation, vec![closed(2)]).await.unwrap();
    old.release().await;
    assert_eq!(old.append(operation, vec![finished(3)]).await, Err(Error::Fenced));
    let new = database.open().await;
    assert_eq!(ids(&new.recover().await.unwrap()), [operation]);
    assert_eq!(names(&new, operation).await, ["prepared", "closed"]);
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_not_taken_over() {
    let database = Database::new().await;
    let mut options = database.options();
    options.lease = Duration::from_millis(600);
    let old = database.try_open(options.clone()).await.unwrap();
    old.recover().await.unwrap();
    let operation = opened(&old, 1).await;
    let new = database.try_open(options).await.unwrap();
    assert!(new.recover().await.unwrap().is_empty());
    let client = database.meddle().await;
    let until = "SELECT lease_until > started_at + interval '3 s' FROM replicas WHERE epoch = $1";
    eventually("five leases", || async {
        let row = client.query_one(until, &[&old.epoch()]).await.unwrap();
        row.get::<_, bool>(0).then_some(())
    })
    .await;
    old.append(operation, vec![closed(2)]).await.unwrap();
    assert_eq!(old.may_act(), Ok(()));
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
    client.query_one(fence, &[&old.epoch()]).await.unwrap();
    expire(&old, &database.meddle().await).await;
    let new = database.open().await;
    new.recover().await.unwrap();
    let arrivals = new.arrivals().await.unwrap();
    assert!(matches!(&arrivals[..], [Arrival::Adopted(stored)] if stored.id == operation));
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
                    let begun = journal.append(operation, vec![prepared("api_key", n)]).await;
                    begun.is_ok().then_some(operation)
                })
                .await;
                journal.enqueue(operation, vec![committed(n, &key)]).await.unwrap();
                journal.append(operation, vec![registered(n, &key)]).await.unwrap();
                wrote.send(operation).unwrap();
            }
        });
    }
    drop(wrote);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let (mut cuts, mut operations) = (0, Vec::new());
    while let Some(operation) = written.recv().await {
        operations.push(operation);
        if operations.len() % 4 == 0 {
            cuts += client.query_one(cut, &[]).await.unwrap().get::<_, i64>(0);
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
    let error = journal.append(operation, vec![closed(2)]).await.unwrap_err();
    assert!(matches!(&error, Error::Broken(why) if why.contains("acknowledged")), "{error}");
    assert!(journal.health().is_err());
}

#[tokio::test]
async fn what_a_later_release_wrote_is_refused() {
    // Records are of one form in both databases, and so is their version.
    for (what, this) in [("schema", 1), ("records", 2)] {
        let database = Database::new().await;
        drop(database.open().await);
        let client = database.meddle().await;
        let raise = "UPDATE versions SET version = version + 1 WHERE what = $1";
        assert_eq!(client.execute(raise, &[&what]).await.unwrap(), 1);
        let error = database.try_open(database.options()).await.unwrap_err();
        let OpenError::NewerDatabase { found, known, .. } = error else { panic!("{error}") };
        assert_eq!((found, known), (this + 1, this), "{what}");
    }
}

#[tokio::test]
async fn a_server_without_fsync_is_refused() {
    let database = Database::new().await;
    let mut options = database.options();
    options.allow_no_fsync = false;
    let error = database.try_open(options).await.unwrap_err().to_string();
    assert!(error.contains("fsync is off") && error.contains("set fsync = on"), "{error}");
}

#[tokio::test]
async fn replicas_that_start_at_once_make_the_tables_once() {
    let database = Database::new().await;
    let all = futures_util::future::join_all((0..6).map(|_| database.open())).await;
    let mut epochs: Vec<_> = all.iter().map(PostgresJournal::epoch).collect();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 6);
}
