//! Who takes over from whom in PostgreSQL, after an absence and after a take-over.

use std::time::{Duration, Instant};

use authz_sidecar::journal::{Arrival, Error, Journal, Owner};
use authz_sidecar::model::Span;

use crate::fixture::{arrivals, opened};
use crate::postgres::{FIRST, expire, frozen};
use crate::support::database::Database;
use crate::support::eventually;

#[tokio::test]
async fn p2_a_process_that_was_taken_over_or_is_another_by_now_adopts_nothing() {
    let change = ["dead = true", "token = gen_random_uuid()"];
    for change in change {
        let database = Database::new().await;
        let old = frozen(&database).await;
        let left = frozen(&database).await;
        let operation = opened(&left, 1).await;
        left.shared().unwrap().release().await;
        let client = database.meddle().await;
        let change = format!("UPDATE replicas SET {change} WHERE epoch = $1");
        client.execute(&change, &[&FIRST]).await.unwrap();
        let owner = old.shared().unwrap().claim(operation).await.unwrap();
        assert!(matches!(owner, Some(Owner::Other(_))), "{change}: {owner:?}");
    }
}

/// It writes nothing by which it would find out.
#[tokio::test]
async fn p9_a_replica_that_was_taken_over_finds_out_by_itself() {
    let database = Database::new().await;
    let journal = database.open().await;
    let client = database.meddle().await;
    client.execute("UPDATE replicas SET dead = true", &[]).await.unwrap();
    let fenced = || async { (journal.health() == Err(Error::Fenced)).then_some(()) };
    eventually("it is fenced", fenced).await;
}

/// Others may have been cut off with it: they get a lease's length to come back.
#[tokio::test]
async fn p2_a_replica_that_was_away_itself_takes_nobody_over_at_once() {
    const LEASE: Duration = Duration::from_secs(3);
    let database = Database::new().await;
    let mut config = database.config();
    config.postgres.lease = Span(LEASE);
    let replica = database.try_open(config).await.unwrap();
    replica.shared().unwrap().recover().await.unwrap();
    let other = frozen(&database).await;
    let operation = opened(&other, 1).await;
    let client = database.meddle().await;
    // It can't renew its lease while somebody holds this.
    client.batch_execute("BEGIN; LOCK TABLE replicas IN EXCLUSIVE MODE").await.unwrap();
    let until = "SELECT clock_timestamp() >= max(lease_until) - interval '200 milliseconds' \
                 FROM replicas WHERE epoch = 1";
    let away =
        || async { client.query_one(until, &[]).await.unwrap().get::<_, bool>(0).then_some(()) };
    eventually("it was away for most of a lease", away).await;
    expire(&client).await;
    client.batch_execute("COMMIT").await.unwrap();
    let back = Instant::now();
    let adopted = arrivals(&replica).await;
    assert_eq!(adopted, [Arrival::Adopted(operation)]);
    assert!(back.elapsed() > LEASE * 4 / 5, "{:?}", back.elapsed());
}
