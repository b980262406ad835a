//! A create that does not stand is undone, and the undo itself fails.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::DEREGISTER;
use crate::world::World;

/// L of these worlds.
const L: Duration = Duration::from_millis(1500);

async fn refusing() -> World {
    let world = World::with(|settings| {
        settings.reply = "500ms";
        settings.commits = "before_answer";
    })
    .await;
    world.provider.register().answers(403);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_undo_that_fails_is_tried_until_it_succeeds() {
    let world = World::with(|settings| settings.reply = "10s").await;
    world.provider.register().answers(403);
    world.keys.on(Route::Delete, Fault::times(2).without_effect().status(500));
    world.keys.on(Route::Delete, Fault::once().without_effect().closes());
    world.create("k").send().await.expect_undone("done");
    assert!(world.keys.rows().is_empty(), "done is done");
    assert_eq!(world.keys.calls(Route::Delete), 4);
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_undo_that_takes_longer_than_the_reply_may_is_pending_and_goes_on() {
    let world = refusing().await;
    world.keys.on(Route::Delete, Fault::always().without_effect().status(500));
    world.create("k").send().await.expect_undone("pending");
    assert_eq!(world.keys.rows().len(), 1);
    let operations = world
        .operations_until("one is stuck", |operations| {
            operations.iter().any(|o| o["stuck"] == true)
        })
        .await;
    assert!(operations[0]["last_failure"].as_str().unwrap().contains("500"), "{operations:?}");
    assert!(operations[0]["remedy"].is_string(), "{operations:?}");
    world.keys.mend();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_2xx_to_the_undo_is_no_proof_that_the_row_is_gone() {
    let world = World::with(|settings| settings.reply = "10s").await;
    world.provider.register().answers(403);
    world.keys.on(Route::Delete, Fault::times(2).without_effect());
    world.create("k").send().await.expect_undone("done");
    assert!(world.keys.rows().is_empty(), "done is done");
    assert_eq!(world.keys.calls(Route::Delete), 3);
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_only_confirm_ends_an_undo_and_it_is_asked_until_it_answers() {
    let world = refusing().await;
    world.keys.on(Route::Get, Fault::always().status(500));
    world.create("k").send().await.expect_undone("pending");
    assert_eq!(world.asked(DEREGISTER), 0, "nothing is deregistered before it is confirmed gone");
    world.keys.mend();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_answer_about_another_row_confirms_nothing() {
    let world = refusing().await;
    let other = serde_json::json!({"id": "other", "agent_id": AGENT}).to_string().into_bytes();
    let changed = Fault::always().changed(move |answer| {
        (answer.status, answer.body) = (200, other.clone());
    });
    world.keys.on(Route::Get, changed);
    world.create("k").send().await.expect_undone("pending");
    assert_eq!(world.asked(DEREGISTER), 0);
    world.keys.mend();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_undo_whose_deregister_fails_is_tried_until_it_succeeds() {
    let world = refusing().await;
    world.provider.deregister().answers(503);
    world.create("k").send().await.expect_undone("done");
    assert!(world.keys.rows().is_empty(), "the row did not wait for the provider");
    world.operation_in("undoing").await;
    world.provider.deregister().reset();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_service_that_is_down_is_waited_for() {
    let world = refusing().await;
    let gate = Gate::closed();
    world.keys.on(Route::Delete, Fault::once().without_effect().held_before(&gate));
    let waiting = tokio::spawn(world.create("k").send());
    gate.reached(1).await;
    world.keys.down().await;
    waiting.await.unwrap().expect_undone("pending");
    world.keys.up();
    world.comes_to_nothing().await;
}

/// Nothing that the sidecar can do removes it.
#[tokio::test(flavor = "multi_thread")]
async fn r2_p9_a_row_that_stays_although_the_service_accepts_its_delete_is_reported() {
    let world = refusing().await;
    world.keys.on(Route::Delete, Fault::always().without_effect());
    world.create("k").send().await.expect_undone("pending");
    let operation = world.operation_in("reported").await;
    assert!(operation["known"].as_str().unwrap().contains("all the same"), "{operation}");
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(world.asked(DEREGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_404_to_the_undo_is_as_good_as_a_2xx() {
    let world = World::new().await;
    world.provider.register().answers(403);
    world.keys.on(Route::Delete, Fault::once().status(404));
    world.create("k").send().await.expect_undone("done");
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 1);
}

/// The service's reads come from a replica that lags: its DELETE finds no row and answers 200, and `confirm`
/// answers 404, while the row stands.
#[tokio::test(flavor = "multi_thread")]
async fn c3_p2_while_reads_may_lag_no_client_is_told_that_its_row_is_gone() {
    let world = World::with(|settings| {
        settings.read_lag = "400ms";
        settings.reply = "10s";
    })
    .await;
    world.provider.register().answers(403);
    world.keys.on(Route::Delete, Fault::once().without_effect().status(200));
    world.keys.on(Route::Get, Fault::once().without_effect().status(404));
    world.create("k").send().await.expect_undone("done");
    assert!(world.keys.rows().is_empty(), "done is done");
    world.comes_to_nothing().await;
}

/// Schedule 16 of docs/DESIGN.md.
#[tokio::test(flavor = "multi_thread")]
async fn r2_p9_an_undo_that_the_service_refuses_time_and_again_is_reported_with_its_cause() {
    let world = World::with(|settings| settings.reply = "100ms").await;
    world.provider.register().answers(403);
    world.keys.on(Route::Delete, Fault::always().without_effect().status(409));
    world.create("k").send().await.expect_undone("pending");
    let operation = world.operation_in("reported").await;
    let why = operation["known"].as_str().unwrap();
    assert!(why.contains("the undo is refused") && why.contains("409"), "{why}");
    assert!(world.keys.calls(Route::Delete) < 100);
    // A person removes the row.
    let row = world.keys.rows().pop_first().unwrap();
    world.keys.remove(&row);
    world.quiescent().await;
}

/// The undo's first DELETE was accepted, and the row came after it: that the row is there after L tells nothing of the
/// service.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_delete_that_was_accepted_before_the_row_could_be_there_reports_nothing() {
    let world = World::with(|settings| settings.reply = "10s").await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().lands_after(&gate));
    world.keys.on(Route::Get, Fault::always().status(500));
    world.provider.register().answers(403);
    let create = tokio::spawn(world.create("k").send());
    world.has_asked(Route::Delete, 1).await;
    world.has_asked(Route::Get, 1).await;
    let accepted = Instant::now();
    gate.open();
    while accepted.elapsed() <= L {
        world.has_asked(Route::Get, world.keys.calls(Route::Get) + 1).await;
    }
    world.keys.mend();
    create.await.unwrap().expect_undone("done");
    assert!(world.keys.calls(Route::Delete) > 1);
    world.comes_to_nothing().await;
}

/// Neither is the service's last word: the caller may be accepted later, and too many requests are of the moment.
#[tokio::test(flavor = "multi_thread")]
async fn p2_an_undo_that_is_not_refused_for_good_is_tried_until_it_succeeds() {
    for status in [403, 429] {
        let world = World::with(|settings| settings.reply = "100ms").await;
        world.provider.register().answers(403);
        world.keys.on(Route::Delete, Fault::always().without_effect().status(status));
        world.create("k").send().await.expect_undone("pending");
        let began = Instant::now();
        while began.elapsed() < 2 * L {
            world.has_asked(Route::Delete, world.keys.calls(Route::Delete) + 1).await;
        }
        assert!(world.keys.calls(Route::Delete) > 10);
        assert_eq!(world.operations().await[0]["phase"], "undoing", "{status}");
        world.keys.mend();
        world.comes_to_nothing().await;
    }
}

/// Ten refusals in a row are the last word, and not ten in all.
#[tokio::test(flavor = "multi_thread")]
async fn p2_refusals_of_an_undo_count_only_in_a_row() {
    let world = refusing().await;
    let refused = || Fault::times(8).without_effect().status(409);
    for fault in [refused(), Fault::once().without_effect(), refused()] {
        world.keys.on(Route::Delete, fault);
    }
    world.create("k").send().await.expect_undone("pending");
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 8 + 1 + 8 + 1);
}

/// The service may refuse to delete what is not there yet.
#[tokio::test(flavor = "multi_thread")]
async fn p2_an_undo_that_is_refused_before_the_row_has_to_be_there_is_tried_on() {
    let world = World::with(|settings| {
        (settings.reply, settings.late_effect) = ("100ms", "6s");
    })
    .await;
    world.provider.register().answers(403);
    world.keys.on(Route::Delete, Fault::always().without_effect().status(409));
    world.create("k").send().await.expect_undone("pending");
    world.has_asked(Route::Delete, 14).await;
    assert_eq!(world.operations().await[0]["phase"], "undoing");
    world.keys.mend();
    let gone = async || world.keys.rows().is_empty().then_some(());
    eventually("the row is removed", gone).await;
}

/// A read may not show for λ what the DELETE did.
#[tokio::test(flavor = "multi_thread")]
async fn c3_p2_a_row_that_may_be_gone_for_a_reader_that_lags_is_not_reported_to_stay() {
    const LAG: Duration = Duration::from_secs(1);
    let world = World::with(|settings| {
        (settings.reply, settings.commits, settings.read_lag) = ("100ms", "before_answer", "1s");
    })
    .await;
    world.provider.register().answers(403);
    world.keys.on(Route::Delete, Fault::always().without_effect());
    world.create("k").send().await.expect_undone("pending");
    world.has_asked(Route::Delete, 1).await;
    let first = Instant::now();
    world.operation_in("reported").await;
    // The first that counts was accepted once the row had to be seen, λ after its create.
    assert!(first.elapsed() > LAG + L + LAG / 2, "{:?}", first.elapsed());
}
