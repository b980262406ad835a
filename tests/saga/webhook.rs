//! The create that does not tell its agent: the parent is looked up once there is a key.

use crate::support::keys::{AGENT, Fault, Route};
use crate::support::provider::REGISTER;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_parent_of_a_webhook_key_is_looked_up() {
    let world = World::new().await;
    let id = world.webhook("k").send().await.expect(200).text("key_id");
    assert_eq!(world.provider.parent_of(&format!("api_key:{id}")), Some(format!("agent:{AGENT}")));
    assert_eq!(world.keys.calls(Route::AgentByName), 1);
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_key_whose_parent_can_not_be_looked_up_does_not_stand() {
    let faults = [
        Fault::always().status(500),
        Fault::always().status(404),
        Fault::always().changed(|answer| answer.body = b"{}".to_vec()),
        Fault::always().closes(),
    ];
    for fault in faults {
        let world = World::new().await;
        world.keys.on(Route::AgentByName, fault);
        world.webhook("k").send().await.expect_undone("done");
        assert_eq!(world.asked(REGISTER), 0, "never without its parent");
        world.comes_to_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_look_up_that_fails_once_is_repeated() {
    let world = World::with(|settings| settings.register = "5s").await;
    world.keys.on(Route::AgentByName, Fault::once().status(500));
    world.webhook("k").send().await.expect(200);
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.keys.calls(Route::AgentByName), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_webhook_create_that_the_service_refuses_is_its_own_answer() {
    let world = World::new().await;
    let body = serde_json::json!({"agent_name": "nobody", "source": "github", "name": "k"});
    let call = world.call("POST", "/agent_api_keys/webhook-trigger").json(&body);
    let answer = call.send().await.expect(404);
    assert_eq!(answer.text("detail"), "no such agent");
    world.comes_to_nothing().await;
    assert_eq!(world.asked(REGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_webhook_create_of_unknown_outcome_is_claimed_by_source_and_undone() {
    let world = World::new().await;
    // Another type of key with the same name is no row of this create.
    let other = world.keys.insert(AGENT, "k", "slack");
    world.keys.on(Route::Webhook, Fault::once().status(500));
    world.webhook("k").send().await.expect(500);
    world.quiescent().await;
    assert_eq!(world.keys.rows(), [other].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_refusal_asks_for_no_parent() {
    let world = World::new().await;
    world.keys.on(Route::Webhook, Fault::once().without_effect().status(409));
    world.webhook("k").send().await.expect(409);
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::AgentByName), 0);
}
