//! The sidecar dies in each phase and is started again on the same journal. (That no promise
//! depends on how it dies is for the tests that kill the real process.)

use std::collections::BTreeSet;

use crate::journal::Stalled;
use crate::support::keys::{Fault, Gate, Route};
use crate::support::provider::{DEREGISTER, REGISTER};
use crate::world::World;

async fn patient() -> World {
    World::with(|settings| {
        settings.register = "8s";
        settings.attempt = "8s";
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_prepared_and_the_row_made_it_is_claimed_and_undone() {
    let mut world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&gate));
    let _client = world.create("k").begin().await;
    gate.reached(1).await;
    world.restart().await;
    world.comes_to_nothing().await;
    assert_eq!(world.asked(REGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_prepared_and_the_row_made_without_an_exclusive_writer_it_is_reported() {
    let mut world = World::with(|settings| settings.exclusive_writer = false).await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&gate));
    let _client = world.create("k").begin().await;
    gate.reached(1).await;
    world.restart().await;
    let operation = world.operation_in("reported").await;
    assert_eq!(world.keys.rows().len(), 1);
    // It stays reported, over another restart too.
    world.restart().await;
    assert_eq!(world.operation_in("reported").await["id"], operation["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_prepared_and_the_row_made_after_the_restart_it_is_claimed_and_undone() {
    let mut world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_before(&gate));
    let _client = world.create("k").begin().await;
    gate.reached(1).await;
    world.restart().await;
    world.operation_in("unknown").await;
    gate.open();
    world.has_asked(Route::Delete, 1).await;
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_committed_it_is_undone_and_a_registration_under_way_is_removed() {
    let mut world = World::with(|settings| {
        (settings.register, settings.attempt, settings.late_effect) = ("8s", "8s", "4s");
    })
    .await;
    let gate = world.provider.register().once().lands_after();
    let _client = world.create("k").begin().await;
    gate.arrived(1).await;
    world.restart().await;
    world.has_asked(Route::Delete, 1).await;
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_committed_without_an_exclusive_writer_it_is_undone_by_its_id() {
    let mut world = World::with(|settings| {
        settings.exclusive_writer = false;
        settings.register = "8s";
        settings.attempt = "8s";
    })
    .await;
    let gate = world.provider.register().once().holds();
    let _client = world.create("k").begin().await;
    gate.arrived(1).await;
    world.restart().await;
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_acknowledged_create_outlives_the_crash_right_after_it() {
    let mut world = World::new().await;
    let mut made = BTreeSet::new();
    for round in 0..5 {
        made.insert(world.made(&format!("k-{round}")).await);
        world.restart().await;
    }
    world.quiescent().await;
    assert_eq!(world.keys.rows(), made);
    world.same_set();
    assert_eq!(world.asked(DEREGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_registered_but_not_answered_it_stands() {
    let mut world = patient().await;
    let gate = world.provider.register().once().holds();
    let client = tokio::spawn(world.create("k").try_send());
    gate.arrived(1).await;
    let stalled = Stalled::of(&world);
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    // The record is on its way to the disk, which it reaches after the crash.
    stalled.a_while().await;
    world.crash();
    let answer = client.await.unwrap();
    assert!(answer.is_none_or(|answer| answer.status != 200), "it was answered too early");
    drop(stalled);
    world.revive().await;
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    world.same_set();
    assert_eq!(world.asked(DEREGISTER), 0);
}

/// Somewhere among these one is registered and its client not yet answered.
#[tokio::test(flavor = "multi_thread")]
async fn p2_of_creates_cut_anywhere_those_that_were_answered_stand() {
    for after in [1, 3, 7, 12] {
        let mut world = World::new().await;
        let creates: Vec<_> =
            (0..16).map(|n| tokio::spawn(world.create(&format!("k-{n}")).try_send())).collect();
        world.provider.wait_until(|provider| provider.registered().len() >= after).await;
        world.restart().await;
        let mut answered = BTreeSet::new();
        for create in creates {
            if let Some(answer) = create.await.unwrap().filter(|answer| answer.status == 200) {
                answered.insert(answer.id());
            }
        }
        world.quiescent().await;
        world.same_set();
        assert!(answered.is_subset(&world.keys.rows()), "an acknowledged create was undone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_undoing_it_is_undone() {
    let mut world = World::new().await;
    world.provider.register().answers(403);
    let gate = Gate::closed();
    world.keys.on(Route::Delete, Fault::once().without_effect().held_before(&gate));
    let _client = world.create("k").begin().await;
    gate.reached(1).await;
    world.restart().await;
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_undone_but_not_deregistered_it_is_deregistered() {
    let mut world = World::with(|settings| settings.reply = "5s").await;
    world.provider.register().once().applies_and_answers(201);
    world.provider.deregister().answers(503);
    world.create("k").send().await.expect_undone("done");
    world.restart().await;
    assert_eq!(world.provider.registered().len(), 1);
    world.provider.deregister().reset();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_registration_that_lands_after_a_crash_is_removed() {
    let mut world = World::with(|settings| {
        (settings.commits, settings.late_effect) = ("before_answer", "4s");
    })
    .await;
    let gate = world.provider.register().lands_after();
    world.create("k").send().await.expect_undone("done");
    world.restart().await;
    world.operation_in("undoing").await;
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_deleted_while_the_provider_is_down_it_is_deregistered_by_the_stored_principal() {
    let mut world = World::new().await;
    let (id, other) = (world.given("k"), world.given("other"));
    // The principal is known before the provider goes.
    world.delete(&other).send().await.expect(200);
    world.provider.down();
    world.delete(&id).send().await.expect(200);
    world.restart().await;
    assert!(world.is_registered(&id));
    world.provider.up();
    world.comes_to_nothing().await;
    let last = world.provider.calls(DEREGISTER).pop().unwrap();
    assert!(last.body.contains("u-1"), "{}", last.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_under_way_is_looked_into() {
    for held_after in [true, false] {
        let mut world = World::new().await;
        let id = world.given("k");
        let gate = Gate::closed();
        let fault = Fault::once();
        let fault = if held_after { fault.held_after(&gate) } else { fault.held_before(&gate) };
        world.keys.on(Route::Delete, fault);
        let _client = world.delete(&id).begin().await;
        gate.reached(1).await;
        world.restart().await;
        gate.open();
        world.comes_to_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_by_name_under_way_is_looked_into() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world.given("k");
    }
    let gate = Gate::closed();
    world.keys.on(Route::DeleteByName, Fault::once().held_after(&gate));
    let _client = world.delete_by_name("k").begin().await;
    gate.reached(1).await;
    world.restart().await;
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 2);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_service_and_a_provider_that_are_down_at_the_restart_are_waited_for() {
    let mut world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&gate));
    let _client = world.create("k").begin().await;
    gate.reached(1).await;
    world.crash();
    world.keys.down().await;
    world.provider.down();
    world.revive().await;
    world.operation_in("unknown").await;
    world.keys.up();
    world.provider.up();
    world.comes_to_nothing().await;
}
