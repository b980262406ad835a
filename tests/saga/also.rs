//! Requests that make a resource on the side (`makes_also`).

use serde_json::json;

use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::REGISTER;
use crate::world::World;

const RULE: &str = "
  - name: register-agent
    match: POST /agents/register
    makes_also: [{ type: api_key, where: { /name: $request.body#/key_name } }]
";

/// The registration of an agent that may make a key of that name, and a create of "k" whose outcome is unknown.
async fn world_with_a_key_named(name: &str) -> World {
    let world = World::with(|settings| settings.more_rules = RULE).await;
    let body = json!({"agent_id": AGENT, "key_name": name});
    world.call("POST", "/agents/register").json(&body).send().await.expect(200);
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    world
}

/// Schedule 19 of docs/DESIGN.md.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_row_that_another_request_may_have_made_on_the_side_is_reported_and_not_undone() {
    let world = world_with_a_key_named("k").await;
    let operation = world.operation_in("reported").await;
    let why = operation["known"].as_str().unwrap();
    assert!(why.contains("not enforced"), "{why}");
    assert_eq!((world.keys.rows().len(), world.keys.calls(Route::Delete)), (1, 0));
    assert_eq!(world.asked(REGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_request_that_makes_another_row_on_the_side_keeps_no_row_from_being_undone() {
    let world = world_with_a_key_named("l").await;
    world.quiescent().await;
    assert!(world.keys.rows().is_empty());
}

/// It is on record before it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_request_that_may_make_a_row_on_the_side_is_remembered_over_a_crash() {
    let mut world = World::with(|settings| settings.more_rules = RULE).await;
    let gate = Gate::closed();
    world.keys.on(Route::Other, Fault::once().held_before(&gate));
    let body = json!({"agent_id": AGENT, "key_name": "k"});
    let aside = tokio::spawn(world.call("POST", "/agents/register").json(&body).send());
    gate.reached(1).await;
    world.restart().await;
    drop(aside.await);
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    world.operation_in("reported").await;
    assert_eq!(world.keys.rows().len(), 1);
}

/// It may have made the row all the same.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_request_that_fails_may_have_made_a_row_on_the_side() {
    for status in [408, 500] {
        let world = World::with(|settings| settings.more_rules = RULE).await;
        world.keys.on(Route::Other, Fault::once().status(status));
        let body = json!({"agent_id": AGENT, "key_name": "k"});
        world.call("POST", "/agents/register").json(&body).send().await.expect(status);
        world.keys.on(Route::Create, Fault::once().status(500));
        world.create("k").send().await.expect(500);
        world.operation_in("reported").await;
        assert_eq!((world.keys.rows().len(), world.keys.calls(Route::Delete)), (1, 0), "{status}");
    }
}
