//! The service answers a create with a row that it did not make for it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Call;
use crate::support::keys::{AGENT, Fault, Route};
use crate::support::provider::REGISTER;
use crate::world::World;

/// A world whose rule reads the status, and honours a replay key.
async fn world() -> World {
    World::with(|settings| {
        settings.new = "{ status: [201] }";
        settings.replay_headers = "[Idempotency-Key]";
    })
    .await
}

/// Answers a create with this row, and makes none.
fn answers(world: &World, status: u16, id: &str) {
    let body = json!({"id": id, "agent_id": AGENT, "name": "k"}).to_string();
    let answer = move |answer: &mut crate::support::keys::Response| {
        (answer.status, answer.body) = (status, body.clone().into_bytes());
    };
    world.keys.on(Route::Create, Fault::once().without_effect().changed(answer));
}

fn with_key(call: Call) -> Call {
    call.header("idempotency-key", "k-1")
}

/// The back end would refuse the caller; before, that removed the row.
#[tokio::test(flavor = "multi_thread")]
async fn c1_p4_a_row_that_the_service_found_passes_on_and_is_left_alone() {
    let world = world().await;
    let live = world.given("k");
    world.provider.register().answers(403);
    answers(&world, 200, &live);
    assert_eq!(world.create("k").send().await.expect(200).text("id"), live);
    world.quiescent().await;
    assert_eq!(world.asked(REGISTER), 0);
    assert_eq!(world.keys.rows(), [live.clone()].into());
    assert!(world.is_registered(&live));
}

/// 201, as the first time. Before, a back end that refused the caller removed row and registration.
#[tokio::test(flavor = "multi_thread")]
async fn c1_p4_a_replayed_answer_removes_no_row_and_registers_nothing() {
    let world = world().await;
    let live = world.given("k");
    world.provider.register().answers(403);
    answers(&world, 201, &live);
    with_key(world.create("k")).send().await.expect_undone("unknown");
    let operation = world.operation_in("reported").await;
    assert!(operation["known"].as_str().unwrap().contains("replay key"), "{operation}");
    assert_eq!(world.asked(REGISTER), 0);
    assert_eq!(world.keys.rows(), [live.clone()].into());
    assert_eq!(world.keys.calls(Route::Delete), 0);
    assert!(world.is_registered(&live));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_status_that_tells_a_new_row_has_it_registered_and_undone_like_any() {
    let world = World::with(|settings| settings.new = "{ status: [200] }").await;
    let id = world.create("k").send().await.expect(200).text("id");
    assert!(world.is_registered(&id));
    world.provider.register().answers(403);
    world.create("l").send().await.expect_undone("done");
    world.quiescent().await;
    assert_eq!(world.keys.rows(), [id].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_row_that_was_listed_before_is_found_and_another_is_new() {
    let world = World::with(|settings| settings.new = "listed_before").await;
    let old = world.given("k");
    answers(&world, 200, &old);
    world.create("k").send().await.expect(200);
    assert_eq!(world.asked(REGISTER), 0);
    let id = world.create("k").send().await.expect(200).text("id");
    assert!(world.is_registered(&id));
}

/// Nothing could come of it but a row that nobody may undo.
#[tokio::test(flavor = "multi_thread")]
async fn c1_p1_a_replay_key_that_makes_a_create_hopeless_is_refused_unsent() {
    let world = World::with(|settings| settings.replay_headers = "[Idempotency-Key]").await;
    let told = with_key(world.create("k")).send().await.expect(400);
    assert!(told.text("detail").contains("nothing was sent"));
    assert_eq!(world.keys.calls(Route::Create), 0);
    world.create("k").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_p9_an_id_that_no_path_can_name_is_reported_and_not_stuck() {
    let world = World::new().await;
    answers(&world, 200, "a/b");
    world.create("k").send().await.expect_undone("unknown");
    let operation = world.operation_in("reported").await;
    assert_eq!(operation["needs_a_person"], true, "{operation}");
    assert_eq!(world.asked(REGISTER), 0);
}

/// A world in which a replay key proves nothing, and the back end keeps owners.
async fn keeping() -> World {
    World::with(|settings| {
        settings.replay_headers = "[Idempotency-Key]";
        settings.owned = "keeps_owner";
    })
    .await
}

/// The owner of a row that another create made stays.
#[tokio::test(flavor = "multi_thread")]
async fn p1_where_the_back_end_keeps_owners_a_replayed_answer_is_registered_and_passes_on() {
    let world = keeping().await;
    let live = world.given("k");
    answers(&world, 200, &live);
    assert_eq!(with_key(world.create("k")).send().await.expect(200).id(), live);
    assert_eq!(world.asked(REGISTER), 1);
    assert_eq!(world.keys.calls(Route::Get), 1, "it is there");
    world.quiescent().await;
    assert_eq!(world.keys.rows(), [live].into());
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_row_that_is_not_proven_new_is_never_undone_if_it_can_not_be_registered() {
    let world = keeping().await;
    let live = world.given("k");
    world.provider.register().answers(403);
    answers(&world, 200, &live);
    with_key(world.create("k")).send().await.expect_undone("unknown");
    world.operation_in("reported").await;
    assert_eq!(world.keys.rows(), [live.clone()].into());
    assert!(world.is_registered(&live));
    // A person removes the row.
    world.keys.remove(&live);
    world.quiescent().await;
    assert!(!world.is_registered(&live));
}

/// A read that lags could show a row that was deleted before the create was sent.
#[tokio::test(flavor = "multi_thread")]
async fn p1_an_unproven_row_is_looked_at_no_earlier_than_reads_may_lag() {
    const LAG: Duration = Duration::from_millis(700);
    let world = World::with(|settings| {
        settings.replay_headers = "[Idempotency-Key]";
        settings.owned = "keeps_owner";
        settings.read_lag = "700ms";
    })
    .await;
    let live = world.given("k");
    answers(&world, 200, &live);
    let began = Instant::now();
    with_key(world.create("k")).send().await.expect(200);
    assert!(began.elapsed() >= LAG);
    assert_eq!(world.keys.calls(Route::Get), 1);
}

/// The service repeats the answer of a create whose row its client has deleted (schedule 31 of docs/DESIGN.md).
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_replayed_answer_whose_row_is_gone_is_refused_and_its_registration_removed() {
    let world = keeping().await;
    answers(&world, 200, "gone");
    with_key(world.create("k")).send().await.expect_undone("unknown");
    assert_eq!(world.asked(REGISTER), 1);
    world.quiescent().await;
    assert!(!world.is_registered("gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_crash_while_an_unproven_row_is_registered_leaves_the_row_alone() {
    let mut world = keeping().await;
    let live = world.given("k");
    answers(&world, 200, &live);
    let register = world.provider.register().once().lands_after();
    let create = tokio::spawn(with_key(world.create("k")).send());
    register.arrived(1).await;
    world.crash();
    drop(create.await);
    register.release();
    world.revive().await;
    world.operation_in("reported").await;
    assert_eq!((world.keys.rows(), world.keys.calls(Route::Delete)), ([live].into(), 0));
}
