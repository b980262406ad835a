//! The journal is full, slow or broken: nothing is done before what it rests on is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use crate::adoption::{process, serve};
use crate::shared::Slow;
use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::REGISTER;
use crate::world::World;

/// Holds the journal's write lock: until it is dropped, nothing becomes durable. The sidecar's writer
/// waits 5 s for it, and takes longer for a fault.
pub(crate) struct Stalled(#[expect(dead_code, reason = "held")] Connection);

impl Stalled {
    pub(crate) fn of(world: &World) -> Self {
        let connection = Connection::open(world.journal()).unwrap();
        connection.busy_timeout(Duration::from_secs(2)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    /// Long enough for anything that does not wait for the journal.
    pub(crate) async fn a_while(&self) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A registration may be held for as long as a test wants.
async fn patient() -> World {
    World::with(|settings| {
        settings.register = "20s";
        settings.attempt = "20s";
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_while_the_journal_is_full_nothing_is_sent_and_the_rest_goes_on() {
    let world = World::with(|settings| settings.journal = "1KiB").await;
    let id = world.given("k");
    let answer = world.create("k").send().await.expect_problem(503, "unavailable");
    assert!(answer.text("detail").contains("journal.max_bytes"), "it names the mend");
    assert!(answer.header("retry-after").is_some());
    world.delete(&id).send().await.expect_problem(503, "unavailable");
    world.delete_by_name("k").send().await.expect_problem(503, "unavailable");
    assert_eq!(world.keys.calls(Route::Create), 0);
    assert_eq!(world.keys.calls(Route::Delete), 0);
    assert_eq!(world.keys.calls(Route::DeleteByName), 0);
    assert_eq!(world.asked(REGISTER), 0);
    world.get("/elsewhere").send().await.expect(200);
    let series = "authz_sidecar_intercepted_refused_total{rule=\"create-key\",reason=\"journal\"}";
    assert_eq!(world.counted(series).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_nothing_is_sent_before_its_intent_is_durable() {
    // Nobody gives up meanwhile.
    let world = World::with(|settings| settings.call = "10s").await;
    let id = world.given("k");
    let stalled = Stalled::of(&world);
    let requests = [
        tokio::spawn(world.create("k").send()),
        tokio::spawn(world.delete(&id).send()),
        tokio::spawn(world.delete_by_name("k").send()),
    ];
    stalled.a_while().await;
    let sent = [Route::Create, Route::Delete, Route::DeleteByName].map(|r| world.keys.calls(r));
    assert_eq!(sent, [0; 3]);
    drop(stalled);
    for request in requests {
        let status = request.await.unwrap().status;
        assert!(status == 200 || status == 404, "{status}");
    }
    world.quiescent().await;
    world.same_set();
}

/// The journal may keep what was begun once it goes on: an end follows it there.
#[tokio::test(flavor = "multi_thread")]
async fn p2_p8_a_request_whose_intent_is_not_durable_in_time_is_refused_unsent_and_withdrawn() {
    let world = World::new().await;
    let id = world.given("k");
    let stalled = Stalled::of(&world);
    let requests = [
        tokio::spawn(world.create("k").send()),
        tokio::spawn(world.delete(&id).send()),
        tokio::spawn(world.delete_by_name("k").send()),
    ];
    for request in requests {
        request.await.unwrap().expect_problem(503, "unavailable");
    }
    drop(stalled);
    // Its records come behind those of all three.
    world.made("other").await;
    world.quiescent().await;
    let sent = [Route::Create, Route::Delete, Route::DeleteByName].map(|r| world.keys.calls(r));
    assert_eq!(sent, [1, 0, 0], "only what came later");
    assert!(world.keys.rows().contains(&id) && world.keys.rows().len() == 2);
    world.same_set();
}

/// What it removes is on record before it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn p3_the_client_of_a_delete_does_not_wait_for_a_journal_that_stands_still() {
    let world = World::new().await;
    let id = world.made("k").await;
    world.quiescent().await;
    let deleting = Gate::closed();
    world.keys.on(Route::Delete, Fault::once().held_after(&deleting));
    let delete = tokio::spawn(world.delete(&id).send());
    deleting.reached(1).await;
    let stalled = Stalled::of(&world);
    deleting.open();
    delete.await.unwrap().expect(200);
    assert!(world.is_registered(&id), "its answer is not on record yet");
    drop(stalled);
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_no_success_is_sent_before_registered_is_durable() {
    let world = patient().await;
    let gate = world.provider.register().once().holds();
    let create = tokio::spawn(world.create("k").send());
    gate.arrived(1).await;
    let stalled = Stalled::of(&world);
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    stalled.a_while().await;
    assert!(!create.is_finished(), "the client was answered before Registered was durable");
    drop(stalled);
    create.await.unwrap().expect(200);
    world.quiescent().await;
    world.same_set();
}

/// A crash now could be followed by the delete of the row: then only the record tells what to
/// deregister.
#[tokio::test(flavor = "multi_thread")]
async fn p3_nothing_is_registered_before_committed_is_durable() {
    let world = patient().await;
    let creating = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&creating));
    let create = tokio::spawn(world.create("k").send());
    creating.reached(1).await;
    let stalled = Stalled::of(&world);
    creating.open();
    stalled.a_while().await;
    assert_eq!(world.asked(REGISTER), 0);
    drop(stalled);
    create.await.unwrap().expect(200);
    world.quiescent().await;
    world.same_set();
}

/// The delete saw the row, removed it and ended before the create was answered. From then on only the
/// create's own record can tell what its registration leaves behind.
#[tokio::test(flavor = "multi_thread")]
async fn s2_p3_a_delete_that_ended_before_its_create_was_answered_leaves_no_edge() {
    let mut world = World::with(|settings| {
        (settings.register, settings.attempt) = ("20s", "20s");
        (settings.exchange, settings.late_effect) = ("4s", "4s");
    })
    .await;
    let creating = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&creating));
    let create = tokio::spawn(world.create("k").send());
    creating.reached(1).await;
    let id = world.keys.rows().first().unwrap().clone();
    world.delete(&id).send().await.expect(200);
    world.operations_until("the delete has ended", |left| left.len() == 1).await;
    let stalled = Stalled::of(&world);
    creating.open();
    // The journal breaks while it waits. What it has not kept by then is as lost as in a crash.
    create.await.unwrap().expect_undone("unknown");
    drop(stalled);
    world.restart().await;
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_no_undo_is_sent_before_undoing_is_durable() {
    let world = World::with(|settings| {
        (settings.register, settings.attempt) = ("700ms", "700ms");
    })
    .await;
    let gate = world.provider.register().once().holds();
    let create = tokio::spawn(world.create("k").send());
    gate.arrived(1).await;
    let stalled = Stalled::of(&world);
    // The deadline of the registration passes meanwhile.
    for _ in 0..3 {
        stalled.a_while().await;
    }
    assert_eq!(world.keys.calls(Route::Delete), 0);
    drop(stalled);
    create.await.unwrap().expect_undone("done");
    gate.release();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_journal_that_breaks_before_registered_leaves_the_create_to_recovery() {
    let mut world = patient().await;
    let gate = world.provider.register().once().holds();
    let create = tokio::spawn(world.create("k").send());
    gate.arrived(1).await;
    let stalled = Stalled::of(&world);
    gate.release();
    create.await.unwrap().expect_undone("unknown");
    assert_eq!(world.keys.calls(Route::Delete), 0, "nobody knows what the journal holds");
    // From here on a restart is needed; what needs no journal goes on.
    world.create("k").send().await.expect_problem(503, "unavailable");
    world.get("/elsewhere").send().await.expect(200);
    assert_eq!(world.keys.calls(Route::Create), 1);
    drop(stalled);
    world.restart().await;
    world.comes_to_nothing().await;
}

/// Whether a delete removed the row meanwhile can't be read just then.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_create_asks_again_for_the_deletes_beside_it_where_the_journal_can_not_be_read() {
    let world = World::without_sidecar().await;
    let (journal, _arrivals) = Slow::new();
    let process = Arc::new(process(&world, Arc::clone(&journal)));
    let serve = |method: &str, target: &str, body| serve(&world, &process, method, target, body);
    let creating = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&creating));
    let body = json!({"agent_id": AGENT, "name": "k"}).to_string();
    let create = serve("POST", "/agent_api_keys", body);
    creating.reached(1).await;
    let recorded = journal.other_than(&[]);
    let id = world.keys.rows().first().unwrap().clone();
    let delete = serve("DELETE", &format!("/agent_api_keys/{id}"), String::new());
    assert_eq!(delete.await.unwrap(), 200);
    let delete = journal.other_than(&[recorded]);
    journal.ends(delete).await;
    journal.blind.store(1, Ordering::SeqCst);
    creating.open();
    assert_eq!(create.await.unwrap(), 200);
    let read = async || (journal.blind.load(Ordering::SeqCst) == 0).then_some(());
    eventually("a reading failed", read).await;
    let gone = async || (!world.is_registered(&id)).then_some(());
    eventually("the registration is removed", gone).await;
}
