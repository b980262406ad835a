//! A thousand operations are open when the process dies, and both neighbours are down when it is
//! back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::client::{Answer, Client};
use crate::support::keys::{AGENT, Fault, Gate, Keys, Route};
use crate::support::provider::{DEREGISTER, Provider};
use crate::support::sidecar::{Config, Sidecar};

const UNDOS: usize = 400;
const DELETES: usize = 400;
const UNKNOWN: usize = 200;

/// How long the thousand may take: beside the other tests, with a debug build, as is. Alone, with a
/// release build, `RECOVERY_LIMIT_MS=2000` is what is promised (scripts/test.sh).
fn limit() -> Duration {
    let set = std::env::var("RECOVERY_LIMIT_MS").ok().map(|text| text.parse().unwrap());
    Duration::from_millis(set.unwrap_or(15_000))
}

/// Sends `count` requests, some at once, and expects `status` for each.
async fn all<F>(client: Client, count: usize, status: u16, send: impl Fn(Client, usize) -> F)
where
    F: Future<Output = Answer> + Send + 'static,
{
    let room = std::sync::Arc::new(Semaphore::new(32));
    let mut under_way = JoinSet::new();
    for n in 0..count {
        let place = room.clone().acquire_owned().await.unwrap();
        let answer = send(client.clone(), n);
        under_way.spawn(async move {
            let answer = answer.await;
            drop(place);
            answer
        });
    }
    while let Some(answer) = under_way.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

async fn create(client: Client, name: String) -> Answer {
    let call = client.post("/agent_api_keys").header("x-user-id", "u-1");
    call.json(&json!({"agent_id": AGENT, "name": name})).send().await
}

async fn delete(client: Client, id: String) -> Answer {
    client.delete(&format!("/agent_api_keys/{id}")).header("x-user-id", "u-1").send().await
}

/// Leaves a thousand operations open: undos, deletes that are to be deregistered, and creates of
/// which nobody knows whether they made a row.
async fn leave_open(keys: &Keys, provider: &Provider, sidecar: &Sidecar) {
    let client = || sidecar.client();
    // All rows before are listed, and then none is found.
    let gate = Gate::closed();
    keys.on(Route::Create, Fault::times(UNKNOWN).held_after(&gate).status(500));
    let mut unknown = JoinSet::new();
    for n in 0..UNKNOWN {
        unknown.spawn(create(client(), format!("c-{n}")));
        // Some at once, so that no list before is refused for want of a connection.
        gate.reached(n.saturating_sub(16)).await;
    }
    gate.reached(UNKNOWN).await;
    keys.on(Route::List, Fault::always().without_effect().status(500));
    gate.open();
    while let Some(answer) = unknown.join_next().await {
        assert_eq!(answer.unwrap().status, 500);
    }
    let given: Vec<_> = (0..DELETES)
        .map(|n| {
            let id = keys.insert(AGENT, &format!("d-{n}"), "external");
            provider.seed(&format!("api_key:{id}"), "{}", Some(&format!("agent:{AGENT}")));
            id
        })
        .collect();
    provider.deregister().answers(503);
    all(client(), DELETES, 200, |client, n| delete(client, given[n].clone())).await;
    keys.on(Route::Delete, Fault::always().without_effect().status(500));
    provider.register().answers(403);
    all(client(), UNDOS, 503, |client, n| create(client, format!("u-{n}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p3_a_thousand_open_operations_are_carried_on_as_soon_as_peers_answer() {
    let (keys, provider) = (Keys::start().await, Provider::start());
    // What may yet happen within L is not what is measured.
    let config = ["create-key", "delete-key"]
        .into_iter()
        .fold(Config::new(&keys.url(), &provider.url()), |config, rule| {
            config.rule(rule, "/commits", "before_answer")
        })
        .late_effect(Duration::from_mins(1))
        .set("/bounds/reply", "1ms")
        .set("/bounds/inline_deregister", "1ms")
        .set("/bounds/retry", "10s");
    let mut sidecar = Sidecar::start(config).await;
    leave_open(&keys, &provider, &sidecar).await;
    assert_eq!(sidecar.operations().await.len(), UNDOS + DELETES + UNKNOWN);
    sidecar.kill9().await;
    keys.down().await;
    provider.down();
    sidecar.restart().await;
    for circuit in ["service", "deregister"] {
        let label = format!("circuit=\"{circuit}\"");
        crate::support::eventually("the circuit is open", || async {
            let open = sidecar.metric("authz_sidecar_circuit_open", &label).await;
            (open > 0.0).then_some(())
        })
        .await;
    }
    keys.mend();
    for endpoint in [provider.register(), provider.deregister()] {
        endpoint.reset();
    }
    provider.clear_calls();
    let began = Instant::now();
    keys.up();
    provider.up();
    let deregistered = || {
        let calls = provider.calls(DEREGISTER);
        calls.into_iter().map(|call| call.body).collect::<BTreeSet<_>>().len()
    };
    // Rows are gone, and each resource is deregistered.
    while !keys.rows().is_empty() || deregistered() < UNDOS + DELETES + UNKNOWN {
        let late = began.elapsed() > limit();
        if late {
            let left = sidecar.operations().await;
            panic!("{} rows, {} deregistered; left: {left:?}", keys.rows().len(), deregistered());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("a thousand open operations were carried on in {:?}", began.elapsed());
    assert!(provider.registered().is_empty());
}
