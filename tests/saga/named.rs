//! Requests that name the id of the row that they make: the id of a row that is gone comes back.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Call;
use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::{self, DEREGISTER, REGISTER};
use crate::world::{Settings, World};

const PUT: &str = "
  - name: put-key
    match: PUT /agent_api_keys/{id}
    commits: late
    new: { status: [201] }
    replay_headers: []
    register:
      type: api_key
      id: $response.body#/id
      parent: { type: agent, id: $response.body#/agent_id }
    undo:
      request: DELETE /agent_api_keys/{$register.id}
      accepted_on: [200, 404]
    confirm:
      request: GET /agent_api_keys/{$register.id}
      gone_on: [404]
";

const PROBE: &str = "    probe:
      sees: all
      before: true
      request: GET /agent_api_keys
      query: { agent_id: $request.body#/agent_id }
      rows: ''
      where: { /name: $request.body#/name }
      row: { id: /id }
";

async fn world() -> World {
    World::with(|settings| settings.more_rules = PUT).await
}

fn put(world: &World, id: &str) -> Call {
    let body = json!({"agent_id": AGENT, "name": "n"});
    world.call("PUT", &format!("/agent_api_keys/{id}")).json(&body)
}

/// Before, the id belonged to the first create for minutes: 503 and a report.
#[tokio::test(flavor = "multi_thread")]
async fn p1_a_row_that_was_deleted_is_made_again_under_its_id() {
    let world = world().await;
    for _ in 0..2 {
        put(&world, "k").send().await.expect(201);
        assert!(world.is_registered("k"));
        put(&world, "k").send().await.expect(200);
        world.delete("k").send().await.expect(200);
        world.quiescent().await;
        assert!(!world.is_registered("k"));
    }
    assert_eq!(world.asked(REGISTER), 2);
}

/// Until L has passed since the first delete, the second create watches its row; the third must wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn p1_rows_that_come_and_go_quickly_under_one_id_are_refused_and_never_reported() {
    let world = world().await;
    for _ in 0..4 {
        let status = put(&world, "k").send().await.status;
        assert!(status == 201 || status == 503, "{status}");
        assert!(world.keys.rows().len() == usize::from(status == 201), "refused unsent");
        world.delete("k").send().await;
        let operations = world.operations().await;
        assert!(operations.iter().all(|one| one["phase"] != "reported"), "{operations:#?}");
    }
    world.quiescent().await;
    assert_eq!((world.keys.rows().len(), world.is_registered("k")), (0, false));
    put(&world, "k").send().await.expect(201);
}

/// The deregistration of the old row would come after the registration of the new one.
async fn is_refused_until_deregistered(world: World, delete: impl FnOnce(&World) -> Call) {
    put(&world, "k").send().await.expect(201);
    world.quiescent().await;
    world.provider.deregister().answers(503);
    delete(&world).send().await.expect(200);
    let refused = put(&world, "k").send().await.expect(503);
    assert!(refused.text("detail").contains("not finished with this row yet; nothing was sent"));
    assert_eq!(world.keys.calls(Route::Put), 1);
    put(&world, "other").send().await.expect(201);
    world.provider.deregister().reset();
    world.quiescent().await;
    put(&world, "k").send().await.expect(201);
    assert!(world.is_registered("k"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_is_refused_unsent_until_the_old_row_is_deregistered() {
    is_refused_until_deregistered(early().await, |world| world.delete("k")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_is_refused_unsent_until_a_row_deleted_by_name_is_deregistered() {
    is_refused_until_deregistered(early().await, |world| world.delete_by_name("n")).await;
}

/// A deregistration of "k" has left as one of so many, and lands when the gate is released.
async fn is_refused_until_it_has_landed(world: &World, late: provider::Gate, left: usize) {
    let again = async || (world.asked(DEREGISTER) > left).then_some(());
    eventually("another attempt", again).await;
    put(world, "k").send().await.expect(503);
    late.release();
    world.quiescent().await;
    put(world, "k").send().await.expect(201);
    assert!(world.is_registered("k"));
}

/// A deregistration that was not answered may land up to L later. The back end refuses `refused` before it.
async fn is_refused_while_one_lands(refused: usize) {
    let world = world().await;
    put(&world, "k").send().await.expect(201);
    for _ in 0..refused {
        world.provider.deregister().once().answers(403);
    }
    let late = world.provider.deregister().once().lands_after();
    world.delete("k").send().await.expect(200);
    late.arrived(1).await;
    is_refused_until_it_has_landed(&world, late, refused + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_is_refused_unsent_while_a_deregistration_may_land() {
    is_refused_while_one_lands(0).await;
}

/// The caller's principal is refused, and what was sent with the configured one is not answered.
#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_is_refused_unsent_while_a_deregistration_by_the_stand_in_may_land() {
    is_refused_while_one_lands(1).await;
}

/// A deregistration that was sent before a crash may land up to L later, too.
#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_is_refused_unsent_while_a_deregistration_from_before_a_crash_may_land() {
    let mut world = early().await;
    put(&world, "k").send().await.expect(201);
    world.quiescent().await;
    let late = world.provider.deregister().once().lands_after();
    world.delete("k").send().await.expect(200);
    late.arrived(1).await;
    world.restart().await;
    is_refused_until_it_has_landed(&world, late, 1).await;
}

/// The DELETE would remove the row, or not, and its deregistration come before the registration.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_is_refused_unsent_while_a_create_names_its_row() {
    let world = world().await;
    let gate = Gate::closed();
    world.keys.on(Route::Put, Fault::once().held_before(&gate));
    let create = tokio::spawn(put(&world, "k").send());
    gate.reached(1).await;
    let refused = world.delete("k").send().await.expect(503);
    assert!(refused.text("detail").contains("not finished with this row yet; nothing was sent"));
    assert_eq!(world.keys.calls(Route::Delete), 0);
    world.delete("other").send().await.expect(200);
    gate.open();
    create.await.unwrap().expect(201);
    world.delete("k").send().await.expect(200);
    world.quiescent().await;
    assert!(!world.is_registered("k"));
}

/// The undo's DELETE would remove the row that the next request makes.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_create_is_refused_unsent_while_the_row_before_it_is_undone() {
    let set = |settings: &mut Settings| (settings.more_rules, settings.reply) = (PUT, "100ms");
    let world = World::with(set).await;
    world.provider.register().once().answers(403);
    world.keys.on(Route::Delete, Fault::once().without_effect().status(503));
    put(&world, "k").send().await.expect_undone("pending");
    put(&world, "k").send().await.expect(503);
    assert_eq!(world.keys.calls(Route::Put), 1);
    world.quiescent().await;
    put(&world, "k").send().await.expect(201);
    assert!(world.is_registered("k"));
}

/// Where a service commits before it answers, each of these ends at once.
async fn early() -> World {
    let put = PUT.replace("commits: late", "commits: before_answer");
    World::with(|settings| {
        settings.more_rules = Box::leak(put.into_boxed_str());
        settings.commits = "before_answer";
        settings.call = "5s";
    })
    .await
}

/// While a delete by name asks for its rows, another delete removes one, and it is made again.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_that_came_back_while_a_delete_listed_it_leaves_no_edge() {
    let world = early().await;
    put(&world, "k").send().await.expect(201);
    world.quiescent().await;
    let gate = Gate::closed();
    world.keys.on(Route::List, Fault::once().held_before(&gate));
    let by_name = tokio::spawn(world.delete_by_name("n").send());
    gate.reached(1).await;
    world.delete("k").send().await.expect(200);
    world.quiescent().await;
    put(&world, "k").send().await.expect(201);
    world.quiescent().await;
    assert!(world.is_registered("k"));
    gate.open();
    by_name.await.unwrap().expect(200);
    world.quiescent().await;
    assert!(world.keys.rows().is_empty(), "it went");
    assert!(!world.is_registered("k"));
}

/// Until L after the undo's last DELETE, it may remove the row that the next request makes.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_create_is_refused_unsent_while_the_delete_of_an_undo_may_land() {
    const L: Duration = Duration::from_millis(1500);
    let set = |settings: &mut Settings| (settings.more_rules, settings.reply) = (PUT, "100ms");
    let world = World::with(set).await;
    world.provider.register().once().answers(403);
    world.keys.on(Route::Delete, Fault::always().without_effect());
    put(&world, "k").send().await.expect_undone("pending");
    let began = Instant::now();
    while began.elapsed() < L / 2 {
        world.has_asked(Route::Delete, world.keys.calls(Route::Delete) + 1).await;
    }
    world.keys.mend();
    eventually("the row went", async || world.keys.rows().is_empty().then_some(())).await;
    let went = Instant::now();
    eventually("another", async || (put(&world, "k").send().await.status == 201).then_some(()))
        .await;
    assert!(went.elapsed() > L * 4 / 5, "{:?}", went.elapsed());
}

/// As [`early`], with a list from before each create.
async fn with_probe() -> World {
    let rule = PUT.replace("commits: late", "commits: before_answer") + PROBE;
    World::with(|settings| {
        settings.more_rules = Box::leak(rule.into_boxed_str());
        (settings.commits, settings.reply, settings.call) = ("before_answer", "100ms", "5s");
    })
    .await
}

/// The list from before the create shows a row which was undone until the create was sent.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_row_that_was_undone_since_the_list_and_came_back_is_not_taken_for_the_old_one() {
    let world = with_probe().await;
    world.provider.register().once().answers(403);
    world.keys.on(Route::Delete, Fault::always().without_effect().status(503));
    put(&world, "k").send().await.expect_undone("pending");
    let gate = Gate::closed();
    world.keys.on(Route::List, Fault::once().held_after(&gate));
    world.keys.on(Route::Put, Fault::once().cut_in_body());
    let again = tokio::spawn(put(&world, "k").send());
    gate.reached(1).await;
    world.keys.mend();
    let known = async || {
        let operations = world.operations().await;
        operations.iter().all(|one| one["phase"] != "undoing").then_some(())
    };
    eventually("the first is undone", known).await;
    world.keys.on(Route::Put, Fault::once().cut_in_body());
    gate.open();
    again.await.unwrap().expect(502);
    let reported = world.operation_in("reported").await;
    assert_eq!(world.keys.rows(), ["k".to_owned()].into(), "{reported}");
}

/// The same of a row that its client deleted.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_row_that_was_deleted_since_the_list_and_came_back_is_not_taken_for_the_old_one() {
    let world = with_probe().await;
    put(&world, "k").send().await.expect(201);
    world.quiescent().await;
    let gate = Gate::closed();
    world.keys.on(Route::List, Fault::once().held_after(&gate));
    let again = tokio::spawn(put(&world, "k").send());
    gate.reached(1).await;
    world.delete("k").send().await.expect(200);
    world.quiescent().await;
    world.keys.on(Route::Put, Fault::once().cut_in_body());
    gate.open();
    again.await.unwrap().expect(502);
    let reported = world.operation_in("reported").await;
    assert_eq!(world.keys.rows(), ["k".to_owned()].into(), "{reported}");
}

/// A bypassed request names the same id, and nobody knows what became of it: the row may be its own.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_row_that_a_bypassed_request_may_have_made_again_is_not_undone() {
    let world = World::with(|settings| {
        (settings.more_rules, settings.reply) = (PUT, "100ms");
    })
    .await;
    world.provider.register().once().answers(403);
    world.keys.on(Route::Delete, Fault::always().without_effect().status(503));
    put(&world, "k").send().await.expect_undone("pending");
    world.keys.on(Route::Put, Fault::once().cut_in_body());
    let bypassed = put(&world, "k").anonymous_with("x-agent-identity", "agent-1");
    bypassed.send().await.expect(502);
    world.keys.mend();
    let reported = world.operation_in("reported").await;
    assert!(reported["known"].as_str().unwrap().contains("not enforced"), "{reported}");
    assert_eq!(world.keys.rows().len(), 1);
}
