//! The provider misbehaves while a key is being registered.

use std::time::Duration;

use crate::support::keys::{AGENT, Route};
use crate::support::provider::{DEREGISTER, REGISTER};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_is_answered_with_the_services_words_once_it_is_registered() {
    let world = World::new().await;
    let id = world.made("k").await;
    assert_eq!(world.provider.parent_of(&format!("api_key:{id}")), Some(format!("agent:{AGENT}")));
    let owner = world.provider.owner_of(&format!("api_key:{id}")).unwrap();
    assert!(owner.contains("u-1"), "the caller owns it");
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.asked(REGISTER), 1);
    assert_eq!(world.asked(DEREGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_refused_registration_is_not_retried_and_the_row_is_removed() {
    for status in [401, 403, 404, 409, 201, 204] {
        let world = World::new().await;
        world.provider.register().answers(status);
        world.create("k").send().await.expect_undone("done");
        assert_eq!(world.keys.calls(Route::Create), 1, "{status}");
        assert_eq!(world.asked(REGISTER), 1, "{status}");
        world.comes_to_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_answer_of_201_is_no_acknowledgement_even_if_it_was_one() {
    let world = World::new().await;
    world.provider.register().applies_and_answers(201);
    world.create("k").send().await.expect_undone("done");
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_registration_that_fails_for_ever_is_given_up_at_the_deadline() {
    for status in [500, 503] {
        let world = World::new().await;
        world.provider.register().answers(status);
        world.create("k").send().await.expect_undone("done");
        assert!(world.asked(REGISTER) > 1, "{status} is worth another attempt");
        world.comes_to_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_registration_that_fails_twice_and_then_succeeds_stands() {
    let world = World::with(|settings| settings.register = "5s").await;
    world.provider.register().times(1).answers(500);
    world.provider.register().times(1).answers(503);
    let id = world.made("k").await;
    assert_eq!(world.asked(REGISTER), 3);
    assert!(world.is_registered(&id));
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_connections_that_break_before_or_after_the_effect_are_retried() {
    let world = World::with(|settings| settings.register = "5s").await;
    world.provider.register().once().closes_before();
    world.provider.register().once().closes_after();
    world.provider.register().once().garbage_http();
    world.provider.register().once().cuts_body();
    world.made("k").await;
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_200_with_a_body_that_is_no_json_is_an_acknowledgement() {
    let world = World::new().await;
    world.provider.register().once().garbage_body();
    world.made("k").await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_garbage_for_ever_leaves_neither_row_nor_edge() {
    let world = World::new().await;
    world.provider.register().garbage_http();
    world.create("k").send().await.expect_undone("done");
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_registration_slower_than_the_deadline_does_not_count() {
    let world = World::new().await;
    world.provider.register().delays(Duration::from_secs(5));
    world.create("k").send().await.expect_undone("done");
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_registration_that_lands_after_the_undo_is_removed() {
    let world = World::with(|settings| {
        (settings.commits, settings.late_effect) = ("before_answer", "4s");
    })
    .await;
    let gate = world.provider.register().lands_after();
    world.create("k").send().await.expect_undone("done");
    world.operation_in("undoing").await;
    assert_eq!(world.asked(DEREGISTER), 0, "it would be too early");
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.comes_to_nothing().await;
    assert_eq!(world.asked(DEREGISTER), 1);
}

/// The deadline of the whole registration cuts the attempt off.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_registration_that_lands_after_its_deadline_is_removed() {
    let world = World::with(|settings| {
        (settings.commits, settings.late_effect) = ("before_answer", "4s");
        (settings.register, settings.attempt) = ("400ms", "3s");
    })
    .await;
    let gate = world.provider.register().lands_after();
    world.create("k").send().await.expect_undone("done");
    world.operation_in("undoing").await;
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_provider_that_is_down_costs_the_create_and_leaves_nothing() {
    let world = World::new().await;
    // The principal is cached, so that the create gets as far as its registration.
    world.made("before").await;
    world.provider.down();
    let answer = world.create("k").send().await.expect_undone("done");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(world.keys.rows().len(), 1, "the row goes although the provider is down");
    world.provider.up();
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_no_success_is_sent_while_the_registration_is_awaited() {
    let world = World::with(|settings| settings.register = "5s").await;
    let gate = world.provider.register().once().holds();
    let waiting = tokio::spawn(world.create("k").send());
    // The attempt times out by itself after 400 ms and the next one succeeds.
    gate.arrived(1).await;
    assert!(!waiting.is_finished());
    gate.release();
    waiting.await.unwrap().expect(200);
    world.quiescent().await;
    world.same_set();
}
