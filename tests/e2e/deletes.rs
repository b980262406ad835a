//! Deletes.

use std::collections::BTreeSet;

use crate::support::provider::DEREGISTER;
use crate::{World, resource};

#[tokio::test]
async fn e2e_a_delete_by_id_is_deregistered() {
    let world = World::start().await;
    let (id, other) = (world.key("n").await, world.key("other").await);
    let answer = world.delete(&format!("/agent_api_keys/{id}")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("deleted"), "in the service's own words");
    assert_eq!(world.provider.registered(), BTreeSet::from([resource(&other)]));
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_a_delete_of_nothing_deregisters_nothing() {
    let world = World::start().await;
    world.key("n").await;
    for id in ["018f0000-0000-7000-8000-000000000000", "nothing"] {
        assert_eq!(world.delete(&format!("/agent_api_keys/{id}")).await.status, 200);
    }
    assert_eq!(world.provider.calls(DEREGISTER).len(), 0, "P4");
    assert_eq!(world.delete("/agent_api_keys/name/none?agent_id=agent-a1").await.status, 404);
    world.assert_same_set().await;
    assert_eq!(world.provider.calls(DEREGISTER).len(), 0, "P4");
}

#[tokio::test]
async fn e2e_a_near_miss_of_an_id_deregisters_nothing() {
    let world = World::start().await;
    let id = world.key("n").await;
    let upper = id.to_ascii_uppercase();
    for spelling in [upper.clone(), format!("{id};x"), format!("{id}%20"), format!("{id}%0A")] {
        let answer = world.delete(&format!("/agent_api_keys/{spelling}")).await;
        assert!([200, 400].contains(&answer.status), "{spelling}: {}", answer.status);
    }
    world.assert_same_set().await;
    assert_eq!(world.service.ids().await, [id], "the live key stays");
    assert_eq!(world.provider.calls(DEREGISTER).len(), 0, "P4: and stays registered");
}

#[tokio::test]
async fn e2e_a_delete_by_name_deregisters_the_row_that_went() {
    let world = World::start().await;
    let (id, other) = (world.key("n").await, world.key("other").await);
    for query in ["agent_id=agent-a1", "agent_name=a1"] {
        let answer = world.delete(&format!("/agent_api_keys/name/n?{query}")).await;
        assert!([200, 404].contains(&answer.status));
    }
    world.provider.wait_until(|provider| !provider.registered().contains(&resource(&id))).await;
    world.assert_same_set().await;
    assert_eq!(world.service.ids().await, [other]);
}

#[tokio::test]
async fn e2e_a_delete_by_name_of_several_rows_deregisters_only_what_went() {
    let world = World::start().await;
    for _ in 0..5 {
        let key = resource(&world.service.key("agent-a1", "n").await);
        world.provider.seed(&key, "{}", Some("agent:agent-a1"));
    }
    let target = "/agent_api_keys/name/n?agent_id=agent-a1";
    let (one, two) = tokio::join!(world.delete(target), world.delete(target));
    assert_eq!((one.status, two.status), (200, 200));
    world.assert_same_set().await;
    // Two at once may have picked the same row.
    let left = world.service.ids().await.len();
    assert!((3..=4).contains(&left), "{left} of 5");
}

#[tokio::test]
async fn p3_a_delete_while_the_provider_is_down_is_deregistered_later() {
    let world = World::start().await;
    let id = world.key("n").await;
    world.provider.down();
    assert_eq!(world.delete(&format!("/agent_api_keys/{id}")).await.status, 200);
    assert!(world.provider.registered().contains(&resource(&id)));
    world.provider.up();
    world.assert_same_set().await;
}

#[tokio::test]
async fn p3_a_delete_of_which_only_the_answer_failed_is_deregistered() {
    let world = World::start().await;
    let (kept, gone) = (world.key("kept").await, world.key("gone").await);
    let route = "DELETE /agent_api_keys/{id}";
    let fault = world.service.fault(route).before(500).times(1).arm().await;
    assert_eq!(world.delete(&format!("/agent_api_keys/{kept}")).await.status, 500);
    fault.struck(1).await;
    let fault = world.service.fault(route).after(500).times(1).arm().await;
    assert_eq!(world.delete(&format!("/agent_api_keys/{gone}")).await.status, 500);
    fault.struck(1).await;
    world.assert_same_set().await;
    assert_eq!(world.service.ids().await, [kept]);
}
