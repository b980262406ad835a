//! The service is down, silent or slow: what is unfinished waits for it, and holds up nothing else.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::{DEREGISTER, Provider};
use crate::support::sidecar::{Config, Sidecar};
use crate::world::World;

const UNDOS: usize = 40;

/// `bounds.background_calls`, by default.
const PLACES: usize = 32;

/// Creates that the back end refuses and whose undo ends as `fault` says.
async fn undos(world: &World, fault: Fault) {
    world.keys.on(Route::Delete, fault);
    world.provider.register().answers(403);
    let creates: Vec<_> =
        (0..UNDOS).map(|n| tokio::spawn(world.create(&format!("u-{n}")).send())).collect();
    for create in creates {
        create.await.unwrap().expect_problem(503, "not-registered");
    }
    world.provider.register().reset();
}

fn waits(operation: &Value) -> bool {
    operation["waits_for"] == "service"
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_undos_wait_for_a_service_that_is_down_and_all_are_made_once_it_is_back() {
    let world = World::with(|settings| (settings.reply, settings.call) = ("1ms", "5s")).await;
    undos(&world, Fault::always().without_effect().status(500)).await;
    assert_eq!(world.circuit("service").await, 0, "it answers, whatever it says");
    world.keys.down().await;
    world.until_circuit("service", 1).await;
    // All but the one that probes.
    let all_wait = |operations: &[Value]| {
        operations.iter().filter(|operation| waits(operation)).count() >= UNDOS - 2
    };
    let waiting = world.operations_until("they wait", all_wait).await;
    let one = waiting.iter().find(|operation| waits(operation)).unwrap();
    assert_eq!(one["stuck"], true, "{one:#}");
    assert!(one["next"].as_str().unwrap().contains("until the service answers again"), "{one:#}");
    assert!(one["remedy"].as_str().unwrap().contains("see that the service runs"), "{one:#}");
    world.keys.mend();
    let calls = world.keys.calls(Route::Delete);
    world.keys.up();
    world.comes_to_nothing().await;
    assert_eq!(world.circuit("service").await, 0);
    let calls = world.keys.calls(Route::Delete) - calls;
    assert!((UNDOS..UNDOS + 3).contains(&calls), "{calls} calls for {UNDOS} undos");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_service_that_is_silent_holds_up_no_deregistration_and_no_other_request() {
    // Longer than the test is patient: the undos hold all places that the service has.
    let world = World::with(|settings| (settings.reply, settings.call) = ("1ms", "60s")).await;
    let id = world.given("d");
    world.provider.deregister().answers(503);
    world.delete(&id).send().await.expect(200);
    world.provider.wait_until(|provider| !provider.calls(DEREGISTER).is_empty()).await;
    let gate = Gate::closed();
    undos(&world, Fault::times(PLACES).held_before(&gate)).await;
    gate.reached(PLACES).await;
    world.provider.deregister().reset();
    eventually("the deregistration", || async { (!world.is_registered(&id)).then_some(()) }).await;
    world.get("/elsewhere").send().await.expect(200);
    world.made("k").await;
    gate.open();
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.keys.rows().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_service_that_answers_a_byte_at_a_time_is_as_good_as_down_for_undos_alone() {
    let world = World::with(|settings| (settings.reply, settings.call) = ("1ms", "200ms")).await;
    undos(&world, Fault::always().without_effect().trickles_body(Duration::from_millis(100))).await;
    world.until_circuit("service", 1).await;
    world.get("/elsewhere").send().await.expect(200);
    world.keys.mend();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_clients_success_tells_those_that_wait_that_the_service_is_back() {
    let world = World::with(|settings| settings.reply = "1ms").await;
    undos(&world, Fault::always().without_effect().status(500)).await;
    world.keys.down().await;
    world.until_circuit("service", 1).await;
    world.get("/elsewhere").send().await.expect_problem(502, "upstream-unreachable");
    world.keys.mend();
    world.keys.up();
    // A client's success is as good as a probe's: a create that is answered shows that it is there.
    world.made("k").await;
    assert_eq!(world.circuit("service").await, 0);
    world.quiescent().await;
    world.same_set();
}

/// A listener whose queue is full: whoever connects waits for the kernel's next try, a second later.
async fn overcrowded() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // As many as its queue holds and one (Linux): a machine that is busy may take its time for each.
    let mut queued = vec![TcpStream::connect(address).await.unwrap()];
    queued.push(TcpStream::connect(address).await.unwrap());
    let another = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address));
    assert!(another.await.is_err(), "it has room for more");
    (listener, queued)
}

/// From the answer on L counts: what left later could take effect when nobody looks any more.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_create_that_finds_no_connection_within_its_time_does_not_leave_later() {
    let (provider, (listener, queued)) = (Provider::start(), overcrowded().await);
    let service = format!("http://{}", listener.local_addr().unwrap());
    let config = Config::new(&service, &provider.url())
        .late_effect(Duration::from_mins(10))
        .set("/bounds/exchange", "300ms")
        .set("/pool/connect_timeout", "5m");
    let sidecar = Sidecar::start(config).await;
    let create = sidecar.client().post("/agent_api_keys").header("x-user-id", "u-1");
    let answer = create.json(&json!({"agent_id": AGENT, "name": "k"})).send().await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    // It ends long before L: certainly nothing was sent, nor will be.
    sidecar.wait_quiescent().await;
    drop((listener, queued));
}
