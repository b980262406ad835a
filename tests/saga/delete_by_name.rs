//! Deletes by name: the answer names no id, names are not unique, and any one row goes.

use serde_json::Value;

use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::DEREGISTER;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p3_of_several_equal_names_only_the_row_that_went_is_deregistered() {
    let world = World::new().await;
    for _ in 0..3 {
        world.given("k");
    }
    world.given("other");
    world.delete_by_name("k").send().await.expect(200);
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 3);
    world.same_set();
    assert_eq!(world.asked(DEREGISTER), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_two_deletes_of_one_name_deregister_what_they_removed() {
    let world = World::new().await;
    for _ in 0..3 {
        world.given("k");
    }
    let gate = Gate::closed();
    world.keys.on(Route::DeleteByName, Fault::times(2).held_before(&gate));
    let first = tokio::spawn(world.delete_by_name("k").send());
    let second = tokio::spawn(world.delete_by_name("k").send());
    gate.reached(2).await;
    gate.open();
    first.await.unwrap().expect(200);
    second.await.unwrap().expect(200);
    world.quiescent().await;
    // Two at once may have picked the same row.
    assert!((1..=2).contains(&world.keys.rows().len()));
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_name_that_nobody_has_is_the_services_own_404() {
    let world = World::new().await;
    world.given("other");
    let answer = world.delete_by_name("k").send().await.expect(404);
    assert_eq!(answer.text("message"), "no such key");
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.asked(DEREGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_only_a_row_that_is_confirmed_gone_is_deregistered() {
    let world = World::new().await;
    world.given("k");
    // The service says that it deleted one, and did not.
    world.keys.on(Route::DeleteByName, Fault::once().without_effect());
    world.delete_by_name("k").send().await.expect(200);
    world.quiescent().await;
    assert_eq!(world.asked(DEREGISTER), 0);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_confirm_that_fails_is_no_absence() {
    let world = World::new().await;
    for _ in 0..2 {
        world.given("k");
    }
    world.keys.on(Route::Get, Fault::times(3).status(500));
    world.delete_by_name("k").send().await.expect(200);
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_unknown_delete_by_name_is_looked_into() {
    for (status, fault) in [(500, Fault::once().status(500)), (502, Fault::once().cut_in_body())] {
        let world = World::new().await;
        for _ in 0..2 {
            world.given("k");
        }
        world.keys.on(Route::DeleteByName, fault);
        world.delete_by_name("k").send().await.expect(status);
        world.quiescent().await;
        assert_eq!(world.keys.rows().len(), 1);
        world.same_set();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_by_name_whose_probe_fails_is_refused_and_not_sent() {
    let world = World::new().await;
    world.given("k");
    world.keys.on(Route::List, Fault::once().status(500));
    world.delete_by_name("k").send().await.expect_problem(503, "unavailable");
    world.keys.on(Route::List, Fault::once().changed(|answer| answer.body = b"{}".to_vec()));
    world.delete_by_name("k").send().await.expect_problem(503, "unavailable");
    world.keys.on(Route::List, Fault::once().status(401));
    world.delete_by_name("k").send().await.expect(401);
    assert_eq!(world.keys.calls(Route::DeleteByName), 0);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_agent_may_be_named_either_way() {
    let world = World::new().await;
    world.given("k");
    let target = format!("/agent_api_keys/name/k?agent_name=name-of-{AGENT}");
    world.call("DELETE", &target).send().await.expect(200);
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_while_the_provider_is_down_a_delete_by_name_succeeds() {
    let world = World::new().await;
    world.given("k");
    world.given("k");
    world.provider.down();
    world.delete_by_name("k").send().await.expect(200);
    world.provider.up();
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    world.same_set();
}

/// No path can name its id, so that the service can't be asked for it, however often that is tried.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_that_can_t_be_asked_for_holds_up_no_other_of_its_delete() {
    let world = World::new().await;
    let id = world.given("k");
    let listed = Fault::once().changed(|answer| {
        let mut rows: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
        let mut other = rows[0].clone();
        other["id"] = "a/b".into();
        rows.push(other);
        answer.body = serde_json::to_vec(&rows).unwrap();
    });
    world.keys.on(Route::List, listed);
    world.delete_by_name("k").send().await.expect(200);
    let deregistered = || async { (!world.is_registered(&id)).then_some(()) };
    eventually("the other is deregistered", deregistered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_registration_that_can_t_be_removed_holds_up_no_other_of_its_delete() {
    let world = World::new().await;
    for _ in 0..2 {
        world.given("k");
    }
    let gate = Gate::closed();
    world.keys.on(Route::DeleteByName, Fault::once().held_after(&gate));
    let delete = tokio::spawn(world.delete_by_name("k").send());
    gate.reached(1).await;
    for id in world.keys.rows() {
        world.keys.remove(&id);
    }
    world.provider.deregister().once().answers(503);
    gate.open();
    delete.await.unwrap().expect(200);
    world.quiescent().await;
    world.same_set();
    let calls = world.provider.calls(DEREGISTER);
    assert_ne!(calls[0].body, calls[1].body, "the second is for the other row");
    assert_eq!(calls.len(), 3, "what was removed is not asked for again");
}
