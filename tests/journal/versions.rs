//! Journals of other releases: an earlier one's is read, a later one's refused.

use authz_sidecar::dualwrite::index::go_on;
use authz_sidecar::dualwrite::operation::Operation;
use authz_sidecar::journal::{Error, Journal, Of, OpenError, OpenOptions, Shared};
use authz_sidecar::model::OperationId;
use tokio_postgres::Client;

use crate::fixture::{Calls, Place, at, finished, ids, names, opened, resource};
use crate::postgres::frozen;
use crate::support::database::Database;

/// Every kind of record that version 1 knew.
const VERSION_1: &str = include_str!("version1.sql");

/// Its create, which ended, and its delete, which did not.
fn operations() -> [OperationId; 2] {
    ["01a20f08-94f1-71c4-8639-908ecbfd1001", "01a20f08-94f1-71c4-8639-908ecbfd1002"]
        .map(|id| OperationId::parse(id).unwrap())
}

/// Asserts that `journal` gives all that version 1 wrote, and goes on from there.
async fn is_read_and_carried_on(journal: &dyn Journal) {
    let [create, delete] = operations();
    let of_create = [
        "prepared",
        "closed",
        "committed",
        "registered",
        "passed",
        "undoing",
        "undoing",
        "deleted",
        "sweep",
        "reported",
        "finished",
    ];
    assert_eq!(names(journal, create).await, of_create);
    let of_delete = ["prepared", "targets", "closed", "deleted", "sweep"];
    assert_eq!(names(journal, delete).await, of_delete);
    assert_eq!(ids(&journal.unfinished().await.unwrap()), [delete]);
    let key = resource("api_key", "01a20f08-94f1-71c4-8639-908ecbfd1075");
    assert_eq!(journal.holder(&key).await.unwrap().map(|stored| stored.id), Some(create));
    let found = journal.met("api_key", Of::Creates, 1_795_548_550, 1_795_548_551).await;
    assert_eq!(found, [create]);

    let left = Operation::replay(&journal.operation(delete).await.unwrap().unwrap()).unwrap();
    let (_, end) = go_on(&left, vec![finished(1_795_548_600)]).unwrap();
    journal.append(end).await.unwrap();
    opened(journal, 1_795_548_601).await;
    assert_eq!(journal.prune(at(1_795_548_700), at(1_795_548_699)).await, Ok(1));
}

#[tokio::test]
async fn what_version_1_wrote_is_read_and_carried_on() {
    let place = Place::new();
    place.meddle(VERSION_1);
    let journal = place.open();
    is_read_and_carried_on(&journal).await;
    drop(journal);
    place.open();
}

/// The rows of [`VERSION_1`] as PostgreSQL has them: with the replica that left them.
fn rows_in_postgresql(epoch: i64) -> String {
    let (_, rows) = VERSION_1.split_once("\nINSERT INTO operations").unwrap();
    let columns =
        "owner, begun, id, resource_type, kind, opened_at, settled_at, state, finished_at";
    let operations = format!("INSERT INTO operations ({columns}) VALUES ({epoch}, {epoch}, '");
    format!("INSERT INTO operations{rows}")
        .replace("INSERT INTO operations VALUES (x'", &operations)
        .replace("(x'", "('")
        .replace(", x'", ", '")
}

#[tokio::test]
async fn what_version_1_wrote_into_postgresql_is_read_and_carried_on() {
    let database = Database::new().await;
    let old = database.open().await;
    let client = database.meddle().await;
    client.batch_execute(&rows_in_postgresql(old.epoch())).await.unwrap();
    old.release().await;
    drop(old);
    as_version_1(&client).await;
    let journal = database.open().await;
    assert_eq!(journal.recover().await.unwrap(), [operations()[1]]);
    is_read_and_carried_on(&journal).await;
    let versions = "SELECT version FROM versions ORDER BY what";
    let versions = client.query(versions, &[]).await.unwrap();
    let versions: Vec<i32> = versions.iter().map(|row| row.get(0)).collect();
    assert_eq!(versions, [3, 3], "records and schema, so that version 1 opens it no more");
}

/// Makes the tables and their versions what they were in version 1.
async fn as_version_1(client: &Client) {
    let lower = "ALTER TABLE replicas DROP COLUMN lease; \
         DROP INDEX listed; DROP INDEX void; DROP INDEX overlapping; \
         CREATE INDEX settled ON operations (resource_type, kind, settled_at, opened_at); \
         UPDATE versions SET version = 1";
    client.batch_execute(lower).await.unwrap();
}

/// Nobody said how long its lease is.
#[tokio::test]
async fn p2_a_replica_of_version_1_is_given_five_minutes_and_runs_on() {
    let database = Database::new().await;
    let old = frozen(&database).await;
    let operation = opened(&old, 1).await;
    let client = database.meddle().await;
    as_version_1(&client).await;
    let new = database.open().await;
    let lease = "SELECT lease >= interval '5 min' FROM replicas WHERE epoch = $1";
    assert!(client.query_one(lease, &[&old.epoch()]).await.unwrap().get::<_, bool>(0));
    // It runs on, beside the new release, and ends as it did.
    old.write(operation, vec![finished(2)]).await.unwrap();
    old.release().await;
    new.recover().await.unwrap();
}

#[tokio::test]
async fn what_a_later_release_wrote_is_refused_with_the_mend_each_time() {
    for what in ["schema", "records"] {
        let place = Place::new();
        drop(place.open());
        place.meddle(&format!("UPDATE versions SET version = 99 WHERE what = '{what}'"));
        let error = place.try_open(OpenOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&format!("{what} 99")), "{message}");
        assert!(message.contains("run that release"), "{message}");
        assert_eq!(place.try_open(OpenOptions::default()).unwrap_err().to_string(), message);
    }
}

#[tokio::test]
async fn what_a_later_release_wrote_into_postgresql_is_refused_with_the_mend_each_time() {
    for what in ["schema", "records"] {
        let database = Database::new().await;
        drop(database.open().await);
        let client = database.meddle().await;
        let raise = "UPDATE versions SET version = 99 WHERE what = $1";
        assert_eq!(client.execute(raise, &[&what]).await.unwrap(), 1);
        let error = database.try_open(database.options()).await.unwrap_err();
        assert!(matches!(error, OpenError::NewerDatabase { found: 99, .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&format!("{what} 99")), "{message}");
        assert!(message.contains("run that release"), "{message}");
        let again = database.try_open(database.options()).await.unwrap_err();
        assert_eq!(again.to_string(), message);
    }
}

/// How many records there are, and whether each is of the version that the journal is of.
const RECORDS: &str = "SELECT count(*), min(version) = max(version) \
     AND max(version) = (SELECT version FROM versions WHERE what = 'records') FROM entries";

#[tokio::test]
async fn each_record_bears_its_version() {
    let place = Place::new();
    let journal = place.open();
    let operation = opened(&journal, 1).await;
    journal.write(operation, vec![finished(2)]).await.unwrap();
    drop(journal);
    let file = rusqlite::Connection::open(place.path()).unwrap();
    let seen = file.query_row(RECORDS, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(seen, Ok((2_i64, true)));
}

#[tokio::test]
async fn each_record_in_postgresql_bears_its_version() {
    let database = Database::new().await;
    let journal = database.open().await;
    journal.recover().await.unwrap();
    let operation = opened(&journal, 1).await;
    journal.write(operation, vec![finished(2)]).await.unwrap();
    let seen = database.meddle().await.query_one(RECORDS, &[]).await.unwrap();
    assert_eq!((seen.get(0), seen.get(1)), (2_i64, true));
}

/// As a later release leaves them that was rolled out beside this one.
#[tokio::test]
async fn a_record_of_a_later_release_in_postgresql_is_not_guessed_at() {
    let database = Database::new().await;
    let journal = database.open().await;
    let operation = opened(&journal, 1).await;
    let client = database.meddle().await;
    client.execute("UPDATE entries SET version = 99", &[]).await.unwrap();
    let read = journal.operation(operation).await;
    assert!(matches!(&read, Err(Error::Broken(why)) if why.contains("version 99")), "{read:?}");
    assert!(journal.health().is_err());
}
