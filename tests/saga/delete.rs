//! Deletes by id.

use std::time::Duration;

use crate::support::keys::{Fault, Gate, Route};
use crate::support::provider::{DEREGISTER, REGISTER};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_deleted_key_is_deregistered_before_the_client_is_answered() {
    let world =
        World::with(|settings| (settings.inline_deregister, settings.attempt) = ("5s", "5s")).await;
    let id = world.given("k");
    let answer = world.delete(&id).send().await.expect(200);
    let said = format!("\"Agent API key with ID {id} deleted\"");
    assert_eq!(String::from_utf8(answer.body).unwrap(), said);
    assert_eq!(world.asked(DEREGISTER), 1, "inline");
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_young_key_that_was_seen_is_deregistered_once() {
    let world = World::new().await;
    let id = world.made("k").await;
    world.delete(&id).send().await.expect(200);
    world.comes_to_nothing().await;
    assert_eq!(world.asked(DEREGISTER), 1);
}

/// A service that commits after its answer may not show the row to the probe.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_young_key_that_the_probe_can_not_see_is_deregistered_all_the_same() {
    let world = World::new().await;
    let id = world.made("k").await;
    world.keys.on(Route::Get, Fault::once().status(404));
    world.delete(&id).send().await.expect(200);
    world.comes_to_nothing().await;
}

/// It was made past the sidecar: that no record holds its id proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn p3_where_others_write_a_key_that_the_probe_can_not_see_is_deregistered_all_the_same() {
    let world = World::with(|settings| settings.exclusive_writer = false).await;
    let id = world.given("k");
    world.keys.on(Route::Get, Fault::once().status(404));
    world.delete(&id).send().await.expect(200);
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_deleting_nothing_is_forwarded_and_deregisters_nothing() {
    let world = World::new().await;
    let id = world.given("k");
    world.delete("unknown").send().await.expect(200);
    assert_eq!(world.keys.calls(Route::Delete), 1);
    world.quiescent().await;
    assert_eq!((world.asked(REGISTER), world.asked(DEREGISTER)), (0, 0));
    assert!(world.is_registered(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_id_in_another_spelling_deregisters_no_live_key() {
    let world = World::new().await;
    let id = world.given("k");
    let upper = id.to_uppercase();
    for spelling in [upper.clone(), format!("{id};x"), format!("{id}%20"), format!("{id}%0A")] {
        let status = world.delete(&spelling).send().await.status;
        assert!(status == 200 || status == 400, "{spelling}: {status}");
    }
    world.quiescent().await;
    assert!(world.is_registered(&id));
    assert_eq!(world.asked(DEREGISTER), 0);
    // A service that finds the row under the other spelling, and yet deletes nothing.
    let row = world.keys.row(&id).unwrap();
    let body = serde_json::json!({"id": row.id, "agent_id": row.agent}).to_string().into_bytes();
    let liberal = Fault::once().changed(move |answer| {
        (answer.status, answer.body) = (200, body.clone());
    });
    world.keys.on(Route::Get, liberal);
    world.delete(&upper).send().await.expect(200);
    world.quiescent().await;
    assert_eq!(world.asked(DEREGISTER), 0);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_while_the_provider_is_down_deletes_succeed_and_are_deregistered_later() {
    let world = World::new().await;
    let (first, second) = (world.given("a"), world.given("b"));
    world.provider.down();
    let begun = std::time::Instant::now();
    world.delete(&first).send().await.expect(200);
    world.delete(&second).send().await.expect(200);
    assert!(begun.elapsed() < Duration::from_secs(3), "the client does not wait for the provider");
    let operation = world.operation_in("looking").await;
    assert!(operation["known"].is_string() && operation["next"].is_string(), "{operation}");
    assert_eq!(world.provider.registered().len(), 2);
    world.provider.up();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_slow_deregistration_does_not_hold_the_client_up() {
    let world = World::new().await;
    let id = world.given("k");
    let gate = world.provider.deregister().holds();
    let begun = std::time::Instant::now();
    world.delete(&id).send().await.expect(200);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(world.is_registered(&id));
    gate.release();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_needs_no_principal() {
    let world = World::new().await;
    let id = world.given("k");
    world.provider.authn().answers(503);
    world.delete(&id).send().await.expect(200);
    world.comes_to_nothing().await;
    assert!(world.provider.calls(DEREGISTER)[0].body.contains("authz-sidecar"), "deregister_as");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_where_the_callers_principal_is_refused_the_configured_one_deregisters() {
    for status in [401, 403] {
        let world = World::new().await;
        let id = world.given("k");
        world.provider.deregister().once().answers(status);
        world.delete(&id).send().await.expect(200);
        world.comes_to_nothing().await;
        let calls = world.provider.calls(DEREGISTER);
        assert_eq!(calls.len(), 2);
        assert!(calls[0].body.contains("u-1") && calls[1].body.contains("authz-sidecar"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_deregistration_is_repeated_whatever_breaks_it() {
    let world = World::new().await;
    let id = world.given("k");
    world.provider.deregister().once().answers(500);
    world.provider.deregister().once().closes_before();
    world.provider.deregister().once().garbage_http();
    world.provider.deregister().once().delays(Duration::from_secs(2));
    // Unexpected answers are none, from whichever principal.
    world.provider.deregister().times(2).answers(201);
    world.delete(&id).send().await.expect(200);
    world.comes_to_nothing().await;
    assert_eq!(world.asked(DEREGISTER), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_whose_probe_fails_is_refused_and_not_sent() {
    let faults = [
        Fault::once().status(500),
        Fault::once().status(429),
        Fault::once().closes().without_effect(),
        Fault::once().cut_in_body(),
        Fault::once().changed(|answer| answer.body = b"[]".to_vec()),
        Fault::once().changed(|answer| answer.body = b"{\"id\": \"x\"".to_vec()),
        Fault::once().changed(|answer| answer.status = 202),
    ];
    let world = World::new().await;
    let id = world.given("k");
    for fault in faults {
        world.keys.mend();
        // A GET whose reused connection breaks is sent once more.
        world.keys.on(Route::Get, fault.clone());
        world.keys.on(Route::Get, fault);
        world.delete(&id).send().await.expect_problem(503, "unavailable");
    }
    assert_eq!(world.keys.calls(Route::Delete), 0);
    assert!(world.operations().await.is_empty());
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_with_bad_credentials_gets_the_services_own_answer() {
    let world = World::new().await;
    let id = world.given("k");
    for status in [401, 403, 400] {
        world.keys.on(Route::Get, Fault::once().status(status));
        let answer = world.delete(&id).send().await.expect(status);
        assert_eq!(answer.text("detail"), "as the test wants");
        assert_eq!(world.keys.calls(Route::Delete), 0);
    }
    // A service that hides the row from this caller, and refuses the delete itself.
    world.keys.on(Route::Get, Fault::once().status(404));
    world.keys.on(Route::Delete, Fault::once().without_effect().status(403));
    world.delete(&id).send().await.expect(403);
    world.quiescent().await;
    assert_eq!(world.asked(DEREGISTER), 0);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_refused_delete_deregisters_nothing() {
    let world = World::new().await;
    let id = world.given("k");
    world.keys.on(Route::Delete, Fault::once().without_effect().status(409));
    world.delete(&id).send().await.expect(409);
    world.quiescent().await;
    assert_eq!(world.asked(DEREGISTER), 0);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_unknown_delete_that_removed_the_row_is_deregistered() {
    let faults = [
        (500, Fault::once().status(500)),
        (404, Fault::once().status(404)),
        (202, Fault::once().changed(|answer| answer.status = 202)),
        (502, Fault::once().cut_in_head()),
        (502, Fault::once().cut_in_body()),
        (502, Fault::once().closes()),
    ];
    for (status, fault) in faults {
        let world = World::new().await;
        let id = world.given("k");
        world.keys.on(Route::Delete, fault);
        world.delete(&id).send().await.expect(status);
        world.comes_to_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_unknown_delete_that_removed_nothing_deregisters_nothing() {
    let faults = [
        (500, Fault::once().without_effect().status(500)),
        (404, Fault::once().without_effect().status(404)),
        (502, Fault::once().without_effect().closes()),
    ];
    for (status, fault) in faults {
        let world = World::new().await;
        let id = world.given("k");
        world.keys.on(Route::Delete, fault);
        world.delete(&id).send().await.expect(status);
        world.operation_in("looking").await;
        world.quiescent().await;
        assert_eq!(world.asked(DEREGISTER), 0);
        world.same_set();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_that_takes_effect_after_its_time_out_is_deregistered() {
    let world = World::new().await;
    let id = world.given("k");
    let gate = Gate::closed();
    world.keys.on(Route::Delete, Fault::once().held_before(&gate));
    world.delete(&id).send().await.expect_problem(504, "upstream-timeout");
    world.operation_in("looking").await;
    assert!(world.is_registered(&id));
    gate.open();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_service_that_refuses_connections_deletes_nothing() {
    let world = World::new().await;
    let id = world.given("k");
    let gate = Gate::closed();
    world.keys.on(Route::Get, Fault::once().held_after(&gate));
    world.keys.down().await;
    world.delete(&id).send().await.expect_problem(503, "unavailable");
    world.keys.up();
    gate.open();
    world.delete(&id).send().await.expect(200);
    world.comes_to_nothing().await;
}

/// The look-up before shows what a reader sees that lags behind, and the way to the service repeats the DELETE: the
/// first removes the row, and the second is answered. (Found by the simulation.)
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_that_no_answer_told_of_is_deregistered_once_it_is_gone() {
    let world = World::with(|settings| settings.read_lag = "300ms").await;
    let id = world.made("k").await;
    world.quiescent().await;
    world.keys.on(Route::Get, Fault::once().status(404));
    world.keys.on(Route::Delete, Fault::once().status(404));
    world.delete(&id).send().await.expect(404);
    assert!(world.keys.rows().is_empty(), "it went");
    world.comes_to_nothing().await;
}
