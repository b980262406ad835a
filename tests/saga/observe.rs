//! `mode: observe`: everything is recorded and counted, nothing is refused, nothing is undone.

use serde_json::json;

use crate::support::keys::{AGENT, Fault, Route};
use crate::support::provider::DEREGISTER;
use crate::world::World;

async fn observing() -> World {
    World::with(|settings| settings.observe = true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_observed_creates_are_registered_like_any() {
    let world = observing().await;
    world.made("k").await;
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.exceptions("observed").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_observed_creates_stand_unregistered_and_are_counted() {
    let world = observing().await;
    for (count, status) in [(1, 403), (2, 503), (3, 201)] {
        world.provider.register().reset();
        world.provider.register().answers(status);
        world.create("k").send().await.expect(200);
        assert_eq!(world.exceptions("observed").await, count);
    }
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 3);
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_observed_creates_pass_without_a_principal() {
    let world = observing().await;
    world.provider.authn().once().answers(401);
    world.create("k").header("x-user-id", "refused").send().await.expect(200);
    world.provider.authn().once().answers(500);
    world.create("k").send().await.expect(200);
    world.provider.down();
    world.create("k").send().await.expect(200);
    assert_eq!(world.exceptions("observed_principal").await, 3);
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_an_observed_create_of_unknown_outcome_is_never_undone() {
    let world = observing().await;
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_observed_deletes_are_sent_although_their_probe_fails() {
    let world = observing().await;
    let id = world.given("k");
    world.keys.on(Route::Get, Fault::once().status(500));
    world.delete(&id).send().await.expect(200);
    let series = "authz_sidecar_exceptions_total{rule=\"delete-key\",exception=\"observed_probe\"}";
    assert_eq!(world.counted(series).await, 1);
    assert_eq!(world.keys.calls(Route::Delete), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_observed_deletes_are_deregistered_like_any() {
    let world = observing().await;
    let id = world.given("k");
    world.delete(&id).send().await.expect(200);
    world.comes_to_nothing().await;
    assert_eq!(world.asked(DEREGISTER), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_observed_requests_pass_a_journal_that_is_full() {
    let world = World::with(|settings| {
        settings.observe = true;
        settings.journal = "1KiB";
    })
    .await;
    let id = world.given("k");
    world.create("k").send().await.expect(200);
    world.delete(&id).send().await.expect(200);
    assert_eq!(world.exceptions("unrecorded").await, 1);
    let series = "authz_sidecar_exceptions_total{rule=\"delete-key\",exception=\"unrecorded\"}";
    assert_eq!(world.counted(series).await, 1);
}

/// `check` asks only enforced rules for a proof of newness.
#[tokio::test(flavor = "multi_thread")]
async fn p1_observed_creates_are_registered_without_a_proof_of_newness_too() {
    let world = World::with(|settings| (settings.observe, settings.new) = (true, "")).await;
    let id = world.create("k").send().await.expect(200).text("id");
    assert!(world.is_registered(&id));
}

/// An observed create passes even if it can't be recorded, and its client was told of the row.
#[tokio::test(flavor = "multi_thread")]
async fn s3_p4_a_row_that_an_observed_create_may_have_made_unrecorded_is_reported() {
    let world = World::with(|settings| settings.observe_webhooks = true).await;
    world.keys.on(Route::Create, Fault::once().without_effect().status(500));
    let create = json!({"agent_id": AGENT, "name": "h", "api_key_type": "github"});
    world.call("POST", "/agent_api_keys").json(&create).send().await.expect(500);
    let unrecorded = world.keys.insert(AGENT, "h", "github");
    let operation = world.operation_in("reported").await;
    assert!(operation["known"].as_str().unwrap().contains("observes"), "{operation}");
    assert_eq!(world.keys.rows(), [unrecorded].into());
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

/// An observed create of the process before may have made the row, and no record tells.
#[tokio::test(flavor = "multi_thread")]
async fn s3_p4_after_a_restart_that_enforces_what_was_observed_before_still_counts() {
    let mut world = World::with(|settings| {
        (settings.observe_webhooks, settings.late_effect) = (true, "4s");
    })
    .await;
    world.restart_with(|settings| settings.observe_webhooks = false).await;
    world.keys.on(Route::Create, Fault::once().without_effect().status(500));
    let create = json!({"agent_id": AGENT, "name": "h", "api_key_type": "github"});
    world.call("POST", "/agent_api_keys").json(&create).send().await.expect(500);
    let unrecorded = world.keys.insert(AGENT, "h", "github");
    let operation = world.operation_in("reported").await;
    assert!(operation["known"].as_str().unwrap().contains("pass unrecorded"), "{operation}");
    assert_eq!(world.keys.rows(), [unrecorded].into());
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_observed_create_that_a_crash_interrupts_stands() {
    let mut world = World::with(|settings| {
        settings.observe = true;
        settings.register = "8s";
        settings.attempt = "8s";
    })
    .await;
    let gate = world.provider.register().once().holds();
    let _client = world.create("k").begin().await;
    gate.arrived(1).await;
    world.restart().await;
    gate.release();
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(world.keys.calls(Route::Delete), 0);
}
