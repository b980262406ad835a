//! The authorization back end is down, silent, slow, or refuses.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Call;
use crate::support::eventually;
use crate::support::keys::{Fault, Route};
use crate::support::provider::{DEREGISTER, REGISTER};
use crate::world::{TOKEN, World};

/// Opens at the third failure, and is then probed seldom: within a test, not by itself.
pub(crate) const SELDOM: &str = "{ failures: 3, span: 0s, pause: 60s, max_pause: 60s }";

/// Opens at the third failure, and is then probed often.
pub(crate) const OFTEN: &str = "{ failures: 3, span: 0s, pause: 20ms, max_pause: 100ms }";

pub(crate) async fn with(breaker: &'static str) -> World {
    let world = World::with(|settings| settings.breaker = breaker).await;
    // Its principal is known from here on.
    world.made("before").await;
    world
}

/// Creates until the circuit opens: these are undone.
pub(crate) async fn opened(world: &World) {
    for _ in 0..10 {
        world.create("k").send().await.expect_problem(503, "not-registered");
        if world.circuit("register").await == 1 {
            return;
        }
    }
    panic!("the circuit stays closed");
}

impl World {
    /// Whether a circuit is open, as its metric tells.
    pub(crate) async fn circuit(&self, name: &str) -> u64 {
        self.counted(&format!("authz_sidecar_circuit_open{{circuit=\"{name}\"}}")).await
    }

    pub(crate) async fn until_circuit(&self, name: &str, open: u64) {
        let what = format!("the circuit {name} is {open}");
        eventually(&what, || async { (self.circuit(name).await == open).then_some(()) }).await;
    }

    /// Orders an attempt of an operation.
    async fn retry(&self, id: &str) {
        let order = Call::new(self.addresses().admin, "POST", &format!("/operations/{id}/retry"));
        let order = order.and_header("authorization", &format!("Bearer {TOKEN}"));
        order.json(&json!({"by": "alice"})).send().await.expect(200);
    }

    /// Creates until one is answered so; those before it are refused unsent.
    pub(crate) async fn create_until(&self, status: u16) {
        let create = || async { Some(self.create("k").send().await.status) };
        eventually("such an answer", || async { create().await.filter(|is| *is == status) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_while_the_back_end_is_down_creates_are_refused_before_they_are_sent() {
    let world = with(SELDOM).await;
    assert_eq!(world.circuit("register").await, 0);
    world.provider.down();
    opened(&world).await;
    let sent = world.keys.calls(Route::Create);
    for _ in 0..20 {
        let answer = world.create("k").send().await.expect_problem(503, "unavailable");
        assert!(answer.text("detail").contains("nothing was sent"), "{}", answer.text("detail"));
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
    }
    assert_eq!(world.keys.calls(Route::Create), sent, "the service saw none of them");
    let refused = "authz_sidecar_intercepted_refused_total{rule=\"create-key\",reason=\"circuit\"}";
    assert_eq!(world.counted(refused).await, 20);
    assert_eq!(world.circuit("register").await, 1);
    let openings = "authz_sidecar_circuit_openings_total{circuit=\"register\"}";
    assert_eq!(world.counted(openings).await, 1);
    let ready = world.health("/readyz").await.expect(200).json().to_string();
    assert!(ready.contains("creates are refused"), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_first_create_that_is_registered_again_lets_all_others_in() {
    let world = with(OFTEN).await;
    world.provider.down();
    opened(&world).await;
    world.provider.up();
    world.create_until(200).await;
    for _ in 0..20 {
        world.made("after").await;
    }
    assert_eq!(world.circuit("register").await, 0);
    assert!(!world.health("/readyz").await.json().to_string().contains("circuit"));
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_one_create_probes_and_the_others_are_refused_until_it_ends() {
    let world = World::with(|settings| {
        settings.breaker = "{ failures: 3, span: 0s, pause: 20ms, max_pause: 30s }";
        (settings.register, settings.attempt) = ("8s", "8s");
    })
    .await;
    world.made("before").await;
    world.provider.register().times(3).closes_before();
    let gate = world.provider.register().holds();
    // The first opens the circuit by itself, and goes on trying: it can't be held back any more.
    let opens = tokio::spawn(world.create("opens").send());
    gate.arrived(1).await;
    world.until_circuit("register", 1).await;
    let probes = || world.counted("authz_sidecar_circuit_probes_total{circuit=\"register\"}");
    let probe = loop {
        let mut create = tokio::spawn(world.create("k").send());
        let refused = tokio::select! {
            () = gate.arrived(2) => None,
            answer = &mut create => Some(answer.unwrap()),
        };
        match refused {
            Some(answer) => _ = answer.expect_problem(503, "unavailable"),
            None => break create,
        }
    };
    let sent = world.keys.calls(Route::Create);
    for _ in 0..20 {
        world.create("k").send().await.expect_problem(503, "unavailable");
    }
    assert_eq!(probes().await, 1);
    assert_eq!(world.keys.calls(Route::Create), sent);
    assert_eq!(sent, 3, "one before, one that opened it, one probe");
    gate.release();
    opens.await.unwrap().expect(200);
    probe.await.unwrap().expect(200);
    world.made("after").await;
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_probe_that_the_service_refuses_makes_way_for_the_next() {
    let world = with("{ failures: 3, span: 0s, pause: 20ms, max_pause: 60s }").await;
    world.provider.down();
    opened(&world).await;
    world.provider.up();
    world.keys.on(Route::Create, Fault::times(3).without_effect().status(422));
    // A probe whose end is not told would hold up the next for a minute.
    for _ in 0..3 {
        world.create_until(422).await;
    }
    world.create_until(200).await;
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_creates_that_need_no_back_end_pass_while_it_is_down() {
    let world = with(SELDOM).await;
    let guest = r#"{"principal_type": "guest", "user_id": null}"#;
    world.provider.principal("Bearer guest", guest);
    let as_guest = || world.create("g").anonymous_with("authorization", "Bearer guest").send();
    as_guest().await.expect(200);
    world.provider.down();
    opened(&world).await;
    world.create("b").anonymous_with("x-agent-api-key", "k").send().await.expect(200);
    as_guest().await.expect(200);
    // One that nobody knows yet would have to ask authn, which is down too.
    let unknown = world.create("k").header("x-user-id", "u-2").send().await;
    unknown.expect_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_forwards_and_counts_what_the_circuit_would_have_refused() {
    let world = World::with(|settings| {
        settings.observe = true;
        settings.breaker = SELDOM;
    })
    .await;
    world.made("before").await;
    world.provider.down();
    world.create("k").send().await.expect(200);
    world.until_circuit("register", 1).await;
    let calls = world.exceptions("observed").await;
    for _ in 0..5 {
        world.create("k").send().await.expect(200);
    }
    assert_eq!(world.exceptions("observed_circuit").await, 5);
    assert_eq!(world.exceptions("observed").await, calls, "nothing was tried for them");
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 7);
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_refusals_of_the_back_end_keep_the_circuit_closed() {
    let world = with(SELDOM).await;
    for status in [400, 401, 403, 404, 422] {
        world.provider.register().times(2).answers(status);
        for _ in 0..2 {
            world.create("k").send().await.expect_undone("done");
        }
    }
    assert_eq!(world.circuit("register").await, 0);
    assert_eq!(world.keys.calls(Route::Create), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_a_back_end_that_accepts_and_stays_silent_is_as_good_as_down() {
    let world = with("{ failures: 3, span: 0s, pause: 10s, max_pause: 10s }").await;
    let register = world.provider.register().holds();
    let deregister = world.provider.deregister().holds();
    opened(&world).await;
    let sent = world.keys.calls(Route::Create);
    for _ in 0..5 {
        world.create("k").send().await.expect_problem(503, "unavailable");
    }
    assert_eq!(world.keys.calls(Route::Create), sent);
    let id = world.given("d");
    world.delete(&id).send().await.expect(200);
    world.get("/elsewhere").send().await.expect(200);
    assert!(world.is_registered(&id), "it can't be deregistered yet");
    // Calls that were given up land now, all at once: what they register is deregistered again.
    register.release();
    deregister.release();
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_back_end_that_answers_a_byte_a_second_is_as_good_as_down() {
    let world = with(SELDOM).await;
    world.provider.register().trickles(Duration::from_secs(1));
    opened(&world).await;
    let sent = world.keys.calls(Route::Create);
    world.create("k").send().await.expect_problem(503, "unavailable");
    assert_eq!(world.keys.calls(Route::Create), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_deletes_go_through_while_the_back_end_is_down_and_all_are_deregistered_once() {
    const DELETES: usize = 60;
    let world = with(OFTEN).await;
    let ids: Vec<_> = (0..DELETES).map(|n| world.given(&format!("d-{n}"))).collect();
    world.provider.down();
    for (n, id) in ids.iter().enumerate() {
        let delete =
            if n % 2 == 0 { world.delete(id) } else { world.delete_by_name(&format!("d-{n}")) };
        delete.send().await.expect(200);
    }
    assert_eq!(world.keys.rows().len(), 1, "the deletes went through");
    assert_eq!(world.provider.registered().len(), DELETES + 1, "nothing is deregistered yet");
    world.provider.clear_calls();
    world.provider.up();
    world.quiescent().await;
    world.same_set();
    let mut calls: Vec<_> = world.provider.calls(DEREGISTER).into_iter().map(|c| c.body).collect();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), DELETES, "each resource");
    assert_eq!(world.asked(DEREGISTER), DELETES, "and each once");
    assert_eq!(world.asked(REGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_resource_that_can_not_be_deregistered_keeps_no_create_and_no_other_delete_out() {
    let world = with(OFTEN).await;
    let poisoned = world.given("poisoned");
    world.provider.deregister().answers(500);
    world.delete(&poisoned).send().await.expect(200);
    world.until_circuit("deregister", 1).await;
    for _ in 0..10 {
        world.made("k").await;
    }
    let other = world.given("other");
    world.delete(&other).send().await.expect(200);
    world.provider.deregister().reset();
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_whoever_is_ordered_to_retry_comes_to_its_turn_however_many_wait_besides() {
    const DELETES: usize = 3;
    let world = with(SELDOM).await;
    let ids: Vec<_> = (0..DELETES).map(|n| world.given(&format!("d-{n}"))).collect();
    world.provider.deregister().answers(500);
    for id in &ids {
        world.delete(id).send().await.expect(200);
    }
    let all_wait = |operations: &[Value]| {
        let waiting = operations.iter().filter(|one| one["waits_for"] == "back end");
        waiting.count() == DELETES
    };
    let meant = &ids[1];
    let asked = || {
        let calls = world.provider.calls(DEREGISTER);
        calls.iter().filter(|call| call.body.contains(meant.as_str())).count()
    };
    // At first it may wait among those that have not been tried yet, afterwards behind the others.
    for round in 0..2 {
        let before = asked();
        for _ in 0..DELETES {
            let waiting = world.operations_until("they wait", all_wait).await;
            let is_meant = |one: &&Value| one["resource_ids"][0] == meant.as_str();
            let operation = waiting.iter().find(is_meant).unwrap()["id"].as_str().unwrap();
            let calls = world.asked(DEREGISTER);
            world.retry(operation).await;
            let asks = || async { (world.asked(DEREGISTER) > calls).then_some(()) };
            eventually("one asks", asks).await;
        }
        world.operations_until("they wait", all_wait).await;
        assert!(asked() > before, "round {round}");
    }
    world.provider.deregister().reset();
    world.retry(world.operations().await[0]["id"].as_str().unwrap()).await;
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_answer_of_a_delete_waits_for_no_back_end_that_is_known_to_be_down() {
    // Longer than this test is patient.
    let world = World::with(|settings| {
        (settings.breaker, settings.inline_deregister) = (SELDOM, "60s");
    })
    .await;
    world.provider.deregister().answers(503);
    let delete = |name: &str| world.delete(&world.given(name)).send();
    let soon = |answer| tokio::time::timeout(Duration::from_secs(20), answer);
    soon(delete("fails")).await.expect("a failed attempt is waited for").expect(200);
    world.until_circuit("deregister", 1).await;
    soon(delete("waits")).await.expect("no attempt is made").expect(200);
}
