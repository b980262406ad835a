//! A neighbour answers, a byte at a time: bytes that come buy it no time, and nothing is lost
//! whether or not the last of them is waited for.

use std::time::Duration;

use crate::back_end::{OFTEN, opened, with};
use crate::client::{Answer, Call};
use crate::support::eventually;
use crate::support::keys::{Fault, Route};
use crate::support::provider::{DEREGISTER, REGISTER};
use crate::world::World;

/// Often enough for a time-out that began anew with each byte; of some sixty bytes at least.
const PAUSE: Duration = Duration::from_millis(250);

/// Longer than all bounds that one answer waits for, and far shorter than what trickles takes.
const SOON: Duration = Duration::from_secs(6);

async fn soon(call: Call) -> Answer {
    tokio::time::timeout(SOON, call.send()).await.expect("an answer within its bounds")
}

/// One whose head trickles too, and one whose head comes at once.
fn trickles() -> [Fault; 2] {
    [Fault::once().trickles(PAUSE), Fault::once().trickles_body(PAUSE)]
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_create_whose_answer_trickles_is_a_504_in_time_and_is_undone() {
    for fault in trickles() {
        let world = World::with(|settings| {
            (settings.exchange, settings.late_effect) = ("2s", "3s");
        })
        .await;
        world.made("before").await;
        world.keys.on(Route::Create, fault);
        let create = tokio::spawn(soon(world.create("k")));
        world.has_asked(Route::Create, 2).await;
        // Meanwhile all others are served.
        world.get("/elsewhere").send().await.expect(200);
        let other = world.made("other").await;
        world.delete(&other).send().await.expect(200);
        assert!(!create.is_finished(), "it still trickles");
        create.await.unwrap().expect_problem(504, "upstream-timeout");
        world.quiescent().await;
        world.same_set();
        assert_eq!(world.keys.rows().len(), 1, "the one before");
        assert_eq!(world.asked(REGISTER), 2, "nothing is registered without an answer");
    }
}

/// Without an exclusive writer no probe proves anything: only the last byte can.
#[tokio::test(flavor = "multi_thread")]
async fn p2_the_last_byte_of_an_answer_that_trickles_past_its_time_names_the_row_that_is_undone() {
    let world = World::with(|settings| {
        (settings.exclusive_writer, settings.late_effect) = (false, "6s");
    })
    .await;
    // Some two hundred bytes: 2 s at least, and the exchange may take one.
    let slow = Duration::from_millis(10);
    world.keys.on(Route::Create, Fault::once().trickles_body(slow));
    world.create("k").send().await.expect_problem(504, "upstream-timeout");
    world.operation_in("unknown").await;
    world.operation_in("undoing").await;
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_whose_answer_trickles_in_within_its_time_is_registered_and_passed_on() {
    let world = World::with(|settings| {
        (settings.exchange, settings.late_effect) = ("10s", "20s");
    })
    .await;
    world.keys.on(Route::Create, Fault::once().trickles(Duration::from_millis(1)));
    let id = world.made("k").await;
    assert!(world.is_registered(&id));
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_whose_answer_trickles_is_a_504_in_time_and_is_deregistered() {
    for fault in trickles() {
        let world = World::new().await;
        let (id, stays) = (world.given("d"), world.given("stays"));
        world.keys.on(Route::Delete, fault);
        soon(world.delete(&id)).await.expect_problem(504, "upstream-timeout");
        world.get("/elsewhere").send().await.expect(200);
        world.quiescent().await;
        world.same_set();
        assert_eq!(world.keys.rows(), [stays].into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_that_trickles_without_an_effect_deregisters_nothing() {
    let world = World::new().await;
    let id = world.given("d");
    world.keys.on(Route::Delete, Fault::once().without_effect().trickles(PAUSE));
    soon(world.delete(&id)).await.expect_problem(504, "upstream-timeout");
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.keys.rows(), [id].into());
    assert_eq!(world.asked(DEREGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_whose_probe_trickles_is_refused_in_time_and_not_sent() {
    for fault in trickles() {
        let world = World::new().await;
        let id = world.given("d");
        world.keys.on(Route::Get, fault.clone());
        let refused = soon(world.delete(&id)).await.expect_problem(503, "unavailable");
        assert!(refused.text("detail").contains("nothing was sent"), "{}", refused.text("detail"));
        world.keys.on(Route::List, fault);
        soon(world.delete_by_name("d")).await.expect_problem(503, "unavailable");
        let sent = world.keys.calls(Route::Delete) + world.keys.calls(Route::DeleteByName);
        assert_eq!(sent, 0);
        world.quiescent().await;
        world.same_set();
        world.delete(&id).send().await.expect(200);
        world.comes_to_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_a_registration_whose_answer_trickles_is_undone_in_time() {
    let world = World::new().await;
    world.made("before").await;
    world.provider.register().trickles(PAUSE);
    // Each attempt takes effect: what stands in the back end is removed with the row.
    soon(world.create("k")).await.expect_undone("done");
    world.get("/elsewhere").send().await.expect(200);
    world.provider.register().reset();
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.keys.rows().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_deregistration_whose_answer_trickles_holds_up_no_client_and_is_repeated() {
    let world = World::new().await;
    world.made("before").await;
    let id = world.given("d");
    world.provider.deregister().trickles(PAUSE);
    soon(world.delete(&id)).await.expect(200);
    let asked = || async { (world.asked(DEREGISTER) > 2).then_some(()) };
    eventually("it is tried again", asked).await;
    world.made("meanwhile").await;
    world.get("/elsewhere").send().await.expect(200);
    let tried = world.asked(DEREGISTER);
    world.provider.deregister().reset();
    world.quiescent().await;
    assert!(world.asked(DEREGISTER) > tried, "what is not acknowledged is not done");
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_a_create_that_probes_a_back_end_which_trickles_is_undone_and_keeps_it_open() {
    let world = with(OFTEN).await;
    world.provider.down();
    opened(&world).await;
    world.provider.register().trickles(PAUSE);
    world.provider.up();
    for _ in 0..2 {
        // Whoever is no probe is refused at once.
        let probed = || async {
            let refused = soon(world.create("k")).await.expect(503);
            refused.text("type").ends_with("not-registered").then_some(())
        };
        eventually("a create probes", probed).await;
        assert_eq!(world.circuit("register").await, 1);
    }
    world.get("/elsewhere").send().await.expect(200);
    world.provider.register().reset();
    world.create_until(200).await;
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.keys.rows().len(), 2, "the first and the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_deregistration_that_probes_a_back_end_which_trickles_keeps_it_open() {
    let world = with(OFTEN).await;
    let ids: Vec<_> = (0..5).map(|n| world.given(&format!("d-{n}"))).collect();
    world.provider.down();
    for id in &ids {
        world.delete(id).send().await.expect(200);
    }
    world.until_circuit("deregister", 1).await;
    world.provider.clear_calls();
    world.provider.deregister().trickles(PAUSE);
    world.provider.up();
    let probed = || async { (world.asked(DEREGISTER) > 2).then_some(()) };
    eventually("it is probed again", probed).await;
    assert_eq!(world.circuit("deregister").await, 1);
    assert_eq!(world.operations().await.len(), ids.len(), "nothing was acknowledged");
    world.get("/elsewhere").send().await.expect(200);
    world.provider.deregister().reset();
    world.quiescent().await;
    world.same_set();
}
