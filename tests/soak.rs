//! Six clients create and delete one key name, by id and by name, while the service fails
//! now and then before and after its insert. At the end rows and registrations are the same set,
//! and no acknowledged create was undone (P1–P4).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as loudly as tests, and a soak tells what it did"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use support::client::Client;
use support::provider::{DEREGISTER, Provider};
use support::service::{Options, Service};
use support::sidecar::{Config, Sidecar};

/// How long the clients are at it: a minute, unless `SOAK_SECONDS` says otherwise.
fn duration() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

const CLIENTS: u64 = 6;

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// Keys that a client was given.
    created: BTreeSet<String>,
    /// Keys whose deletion by id a client asked for, whatever came of it.
    deleted: BTreeSet<String>,
    /// How often each kind of answer came.
    answers: BTreeMap<String, usize>,
    /// Deletes by name that may each have removed one key.
    deletes_by_name: usize,
}

/// A small generator, so that a run depends on its seed and on timing only.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        let sides = u64::try_from(of.len()).unwrap();
        &of[usize::try_from(self.roll(sides)).unwrap()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p3_p4_rows_and_registrations_stay_the_same_set() {
    let provider = Provider::start();
    let service = Service::start(Options::default()).await;
    let agent = service.agent("a1").await;
    let config = Config::new(&service.upstream(), &provider.url());
    let config = config.late_effect(Duration::from_secs(5)).set("/bounds/exchange", "5s");
    let sidecar = Sidecar::start(config).await;
    let after = service.fault("POST /agent_api_keys").after(500).probability(0.05).arm().await;
    let before = service.fault("POST /agent_api_keys").before(500).probability(0.05).arm().await;
    provider.register().delays(Duration::from_millis(5));

    let told = Arc::new(Mutex::new(Told::default()));
    let until = Instant::now() + duration();
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|seed| {
            let (told, agent, client) = (Arc::clone(&told), agent.clone(), sidecar.client());
            tokio::spawn(async move {
                let mut dice = Dice(seed);
                while Instant::now() < until {
                    act(&client, &agent, &mut dice, &told).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    after.disarm().await;
    before.disarm().await;
    service.idle().await;
    sidecar.wait_quiescent().await;

    let rows: BTreeSet<String> =
        service.ids().await.into_iter().map(|id| format!("api_key:{id}")).collect();
    let told = std::mem::take(&mut *told.lock().unwrap());
    println!(
        "answers={:?} rows={} calls={}",
        told.answers,
        rows.len(),
        provider.calls(DEREGISTER).len()
    );
    assert_eq!(rows, provider.registered(), "P2, P3: a row without edge, or an edge without row");
    for row in &rows {
        assert_eq!(provider.parent_of(row), Some(format!("agent:{agent}")), "P1: {row}");
    }
    // A key that a client was given and nobody asked to delete by id may only be missing because
    // a delete by name removed it, one each.
    let missing = told
        .created
        .iter()
        .filter(|id| !rows.contains(&format!("api_key:{id}")) && !told.deleted.contains(*id));
    assert!(missing.count() <= told.deletes_by_name, "P2: an acknowledged create is gone");
    assert_eq!(undone_after_success(&service, &told).await, Vec::<String>::new());
    assert!(told.created.len() > 50, "the clients created too little to show anything");
    assert!(told.answers.keys().any(|answer| answer == "create 500"), "no fault struck");
}

async fn act(client: &Client, agent: &str, dice: &mut Dice, told: &Mutex<Told>) {
    let mine = |answer: &str| {
        *told.lock().unwrap().answers.entry(answer.to_owned()).or_default() += 1;
    };
    let by_name = dice.roll(2) == 0;
    match dice.roll(4) {
        0 | 1 => {
            let parent = if by_name { ("agent_name", "a1") } else { ("agent_id", agent) };
            let body = json!({parent.0: parent.1, "name": "one"});
            let call = client.post("/agent_api_keys").header("x-user-id", "alice").json(&body);
            let answer = call.send().await;
            mine(&format!("create {}", answer.status));
            if answer.status == 200 {
                told.lock().unwrap().created.insert(answer.id());
            }
        }
        2 => {
            let id = {
                let told = told.lock().unwrap();
                let live: Vec<_> = told.created.difference(&told.deleted).cloned().collect();
                (!live.is_empty()).then(|| dice.pick(&live).clone())
            };
            let Some(id) = id else { return };
            told.lock().unwrap().deleted.insert(id.clone());
            let call = client.delete(&format!("/agent_api_keys/{id}")).header("x-user-id", "alice");
            mine(&format!("delete {}", call.send().await.status));
        }
        _ => {
            let query =
                if by_name { "agent_name=a1".to_owned() } else { format!("agent_id={agent}") };
            let target = format!("/agent_api_keys/name/one?{query}");
            told.lock().unwrap().deletes_by_name += 1;
            let call = client.delete(&target).header("x-user-id", "alice");
            mine(&format!("delete by name {}", call.send().await.status));
        }
    }
}

/// Creates that a client was told had succeeded and that the sidecar undid all the same: their
/// row was sent a DELETE by id that no client asked for.
async fn undone_after_success(service: &Service, told: &Told) -> Vec<String> {
    let deletes = service.requests_to("delete_key").await;
    let ids = deletes.iter().filter_map(|seen| seen.path.rsplit('/').next()).map(str::to_owned);
    ids.filter(|id| told.created.contains(id) && !told.deleted.contains(id)).collect()
}
