//! What the service tells of its own delays, on which the crash matrix rests.

use std::time::Duration;

use serde_json::json;

use super::support::client::Call;
use super::support::database::Database;
use super::support::eventually;
use super::support::service::late::Late;
use super::support::service::{Options, Service};

const BOUND: Duration = Duration::from_millis(300);
const EVER: Duration = Duration::from_hours(1);

fn create(service: &Service) -> Call {
    let body = json!({"agent_id": "agent-a1", "name": "n"});
    service.client().post("/agent_api_keys").json(&body)
}

async fn late(service: &Service) -> Vec<Late> {
    service.late(EVER, BOUND).await
}

/// The same without what the machine is to blame for, which is known only where a test stops the service.
async fn late_requests(service: &Service) -> Vec<Late> {
    let mut late = late(service).await;
    late.retain(|late| late.what != "standing still");
    late
}

#[tokio::test]
async fn a_create_that_its_database_holds_up_is_late_before_and_after_its_commit() {
    let service = Service::with_agent(Options::default()).await;
    let database = Database::meddle_with(&service).await;
    database.batch_execute("BEGIN; LOCK TABLE agent_api_keys IN EXCLUSIVE MODE").await.unwrap();
    let create = tokio::spawn(create(&service).send());
    let told = eventually("its statement is late", || async {
        late_requests(&service).await.into_iter().find(|late| 0.3 < late.took - late.waited)
    })
    .await;
    assert_eq!((told.what.as_str(), told.asked), ("POST /agent_api_keys", 0.0));
    database.batch_execute("COMMIT").await.unwrap();
    assert_eq!(create.await.unwrap().status, 200);
    service.idle().await;
    let told = late_requests(&service).await.pop().unwrap();
    assert!(told.took > 0.3, "{told}");
    assert_eq!(service.late(Duration::ZERO, BOUND).await, [], "it is past");
    assert_eq!(service.late(EVER, EVER).await, [], "and was not as late as that");
}

#[tokio::test]
async fn a_standstill_and_what_was_sent_meanwhile_are_late() {
    let service = Service::with_agent(Options::default()).await;
    service.signal("STOP").await;
    let create = tokio::spawn(create(&service).send());
    // Nothing tells when it has stood still for long enough, but the clock.
    tokio::time::sleep(2 * BOUND).await;
    service.signal("CONT").await;
    assert_eq!(create.await.unwrap().status, 200);
    service.idle().await;
    let mut what: Vec<_> = late(&service).await.into_iter().map(|late| late.what).collect();
    what.sort();
    what.dedup();
    assert_eq!(what, ["POST /agent_api_keys", "standing still"]);
}

#[tokio::test]
async fn what_is_asked_to_be_late_only_reads_or_changes_nothing_is_not_told() {
    let service = Service::with_agent(Options::default()).await;
    let hangs = service.fault("DELETE /agent_api_keys/{id}").hang_before().arm().await;
    let hanging = tokio::spawn(service.client().delete("/agent_api_keys/x").send());
    hangs.struck(1).await;
    let database = Database::meddle_with(&service).await;
    database.batch_execute("BEGIN; LOCK TABLE agent_api_keys").await.unwrap();
    let list = service.client().get("/agent_api_keys?agent_name=a1");
    let list = tokio::spawn(list.send());
    let again = "/agent_api_keys/name/nothing?agent_name=a1";
    let refused = tokio::spawn(service.client().delete(again).send());
    tokio::time::sleep(2 * BOUND).await;
    database.batch_execute("COMMIT").await.unwrap();
    assert_eq!(list.await.unwrap().status, 200);
    assert_eq!(refused.await.unwrap().status, 404);
    let long = 2.0 * BOUND.as_secs_f64();
    service.fault("POST /agent_api_keys").delay_before(long).arm().await;
    assert_eq!(create(&service).send().await.status, 200);
    assert_eq!(late_requests(&service).await, []);
    service.release().await;
    assert_eq!(hanging.await.unwrap().status, 200);
    service.idle().await;
    assert_eq!(late_requests(&service).await, []);
}

#[tokio::test]
async fn what_tests_ask_does_not_wait_for_the_connections_that_requests_hold() {
    let service = Service::with_agent(Options::default()).await;
    let hangs = service.fault("POST /agent_api_keys").hang_before().arm().await;
    let creates: Vec<_> = (0..45).map(|_| tokio::spawn(create(&service).send())).collect();
    // As many as there are connections: the others wait for one.
    hangs.struck(40).await;
    assert_eq!(service.rows().await, []);
    let waits = |late: &Late| late.waited > 0.3 && late.waited >= late.took;
    eventually("those that wait are late", || async {
        (late(&service).await.iter().filter(|late| waits(late)).count() == 5).then_some(())
    })
    .await;
    service.reset().await;
    for create in creates {
        let status = create.await.unwrap().status;
        assert!(status == 200 || status == 409);
    }
}
