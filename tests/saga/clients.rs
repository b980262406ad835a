//! The client goes away: what it began goes on, or was never begun.

use crate::support::keys::{Fault, Gate, Route};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p2_of_a_create_whose_body_never_ends_nothing_is_sent() {
    let world = World::new().await;
    drop(world.create("gone").begin_without_end().await);
    world.made("here").await;
    assert_eq!(world.keys.calls(Route::Create), 1);
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_client_that_leaves_before_the_service_answers_changes_nothing() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_before(&gate));
    let client = world.create("k").begin().await;
    gate.reached(1).await;
    drop(client);
    gate.open();
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1, "the service made it all the same");
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_client_that_leaves_during_the_registration_changes_nothing() {
    let world = World::new().await;
    let gate = world.provider.register().once().holds();
    let client = world.create("k").begin().await;
    gate.arrived(1).await;
    drop(client);
    gate.release();
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_client_that_leaves_during_the_undo_changes_nothing() {
    let world = World::new().await;
    world.provider.register().answers(403);
    let gate = Gate::closed();
    world.keys.on(Route::Delete, Fault::once().held_before(&gate));
    let client = world.create("k").begin().await;
    gate.reached(1).await;
    drop(client);
    gate.open();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_client_that_leaves_while_the_principal_is_resolved_changes_nothing() {
    let world = World::new().await;
    let gate = world.provider.authn().once().holds();
    let client = world.create("k").begin().await;
    gate.arrived(1).await;
    drop(client);
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_client_that_leaves_during_a_delete_changes_nothing() {
    let world = World::new().await;
    let id = world.given("k");
    let gate = Gate::closed();
    world.keys.on(Route::Delete, Fault::once().held_before(&gate));
    let client = world.delete(&id).begin().await;
    gate.reached(1).await;
    drop(client);
    gate.open();
    world.comes_to_nothing().await;
}
