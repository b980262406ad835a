//! The clients: they create and delete keys of one agent, by id and by name, now and then with a
//! fault of the service for their own request, and note what they are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use serde_json::{Value, json};

use super::ledger::{Create, Ledger, Refusal, Target, create_mark, delete_mark};
use super::wanted::{CREATE_FAULTS, DELETE_FAULTS, SLOW_CREATE, Wanted, shared_name};
use crate::support::client::{Call, Client};
use crate::support::service::quirks::Quirks;
use crate::support::service::removed::MARK;
use crate::support::service::{Made, Service};

/// What the clients of a round share.
#[derive(Clone)]
pub struct Load {
    /// The sidecar, or what is tested in its place.
    pub client: Client,
    /// The service behind it.
    pub service: Arc<Service>,
    /// The round's own agent: its id.
    pub agent_id: String,
    /// And its name.
    pub agent_name: String,
    /// Whether there is all that the sidecar serves: webhook keys, bypassed agents, faults.
    pub everything: bool,
    /// The service itself, where some clients may go past the sidecar.
    pub past: Option<Client>,
    /// Whether they fight: see `Plan::quarrel`.
    pub quarrel: bool,
    /// Whether many creates are slow: see `Plan::slow`.
    pub slow: bool,
    /// Seconds that are longer than the sidecar waits for an answer, and shorter than L.
    pub too_long: f64,
    /// What the service is like.
    pub quirks: Quirks,
    /// What was asked for and told.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Set once the clients shall stop.
    pub stop: Arc<AtomicBool>,
}

/// Where keys are.
pub const KEYS: &str = "/agent_api_keys";

impl Load {
    /// Runs `clients` at once, each for so many requests, until they are through or told to stop.
    pub async fn run(self, clients: u64, requests: u64, seed: u64) {
        let clients: Vec<_> = (1..=clients)
            .map(|number| {
                let load = self.clone();
                let dice = Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number));
                tokio::spawn(load.client(number, requests, dice))
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    }

    async fn client(self, number: u64, requests: u64, mut dice: Rng) {
        for request in 0..requests {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let unique = format!("{number}-{request}");
            match dice.u8(..100) {
                0..55 => self.create(&unique, &mut dice).await,
                55..80 => self.delete_by_id(&unique, &mut dice).await,
                _ => self.delete_by_name(&mut dice).await,
            }
        }
    }

    async fn create(&self, unique: &str, dice: &mut Rng) {
        let mut wanted = self.wanted(unique, dice);
        if let Some(service) = &self.past
            && self.quirks.replays
            && dice.u8(..4) == 0
        {
            // The sidecar is to meet the replay of what it has not seen.
            self.send(self.call(service, &wanted), wanted.note(true)).await;
        }
        self.attempt(&wanted, dice).await;
        // Under the faults that every run has, nothing is asked for again.
        let retries = if self.quirks == Quirks::default() { 0 } else { 2 };
        for retry in 1..=retries {
            // Most of what failed is asked for again. What did not fail is only where that repeats the
            // answer: else it is another create.
            let told = self.ledger().told(&wanted.secret);
            let again = match (told, self.quirks.replays) {
                (false, _) => 70,
                (true, true) => 15,
                (true, false) => 0,
            };
            if dice.u8(..100) >= again || self.stop.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(dice.u64(..200))).await;
            if !self.quirks.replays {
                wanted.bring(format!("{}-{unique}-{retry}", self.agent_name));
            }
            self.attempt(&wanted, dice).await;
        }
    }

    /// Sends a create, for the first time or again.
    async fn attempt(&self, wanted: &Wanted, dice: &mut Rng) {
        let faults = if self.slow { &SLOW_CREATE[..] } else { &CREATE_FAULTS };
        let call = self.with_fault(self.call(&self.client, wanted), wanted.route, faults, dice);
        if dice.u8(..100) < 5 {
            self.ledger().create(wanted.note(false));
            return hang_up(call).await;
        }
        self.send(call, wanted.note(false)).await;
    }

    fn call(&self, client: &Client, wanted: &Wanted) -> Call {
        let mut call = client.post(&wanted.target).header("x-user-id", "alice").json(&wanted.body);
        if wanted.bypass {
            call = call.header("x-agent-identity", &self.agent_id);
        }
        if self.quirks.replays {
            call = call.header("idempotency-key", &wanted.secret);
        }
        call
    }

    /// Sends a create and notes what its client is told.
    async fn send(&self, call: Call, create: Create) {
        let place = self.ledger().create(create);
        let call = call.header(MARK, &create_mark(place));
        let answer = call.try_send().await.ok();
        let mut ledger = self.ledger();
        ledger.answered("create", answer.as_ref().map(|answer| answer.status));
        let Some(answer) = answer else { return };
        if (200..300).contains(&answer.status) {
            ledger.creates[place].told = Some(answer.id());
        } else {
            ledger.creates[place].refused = Refusal::of(answer.status, &answer.body);
            ledger.creates[place].answered = now();
        }
    }

    async fn delete_by_id(&self, unique: &str, dice: &mut Rng) {
        let known: Vec<_> = {
            let ledger = self.ledger();
            ledger.creates.iter().filter_map(|create| create.told.clone()).collect()
        };
        if known.is_empty() {
            return self.create(unique, dice).await;
        }
        let id = known[dice.usize(..known.len())].clone();
        let call = self.client.delete(&format!("{KEYS}/{id}"));
        let route = "DELETE /agent_api_keys/{id}";
        // Not each time: meanwhile the service could commit a create that it has just answered.
        let ask = self.ledger().deletes.len().is_multiple_of(2);
        let existed = ask && {
            let rows = self.service.made(&self.agent_id, &[]).await;
            // All reads show it by now.
            let shown = |row: &Made| row.age.is_none_or(|age| age > self.quirks.lag);
            rows.iter().any(|row| row.id == id && shown(row))
        };
        self.delete(call, route, Target::Id(id), existed, dice).await;
    }

    async fn delete_by_name(&self, dice: &mut Rng) {
        let name = shared_name(dice);
        let call = self.client.delete(&format!("{KEYS}/name/{name}?agent_id={}", self.agent_id));
        let route = "DELETE /agent_api_keys/name/{name}";
        self.delete(call, route, Target::Name(name), false, dice).await;
    }

    async fn delete(&self, call: Call, route: &str, target: Target, existed: bool, dice: &mut Rng) {
        let call = self.with_fault(call.header("x-user-id", "alice"), route, &DELETE_FAULTS, dice);
        let what = match &target {
            Target::Id(_) => "delete",
            Target::Name(_) => "delete by name",
        };
        let place = self.ledger().delete(target);
        self.ledger().deletes[place].existed = existed;
        let call = call.header(MARK, &delete_mark(place));
        if dice.u8(..100) < 5 {
            return hang_up(call).await;
        }
        let status = call.try_send().await.ok().map(|answer| answer.status);
        let mut ledger = self.ledger();
        ledger.deletes[place].told = status;
        ledger.answered(what, status);
    }

    /// Asks the service to fail this request, once in five times; every second time in a quarrel, and
    /// where it is slow.
    fn with_fault(
        &self,
        call: Call,
        route: &str,
        faults: &[(&str, &str, u16)],
        dice: &mut Rng,
    ) -> Call {
        if !self.everything || dice.u8(..if self.quarrel || self.slow { 2 } else { 5 }) > 0 {
            return call;
        }
        let (point, what, status) = faults[dice.usize(..faults.len())];
        let value: Value = match what {
            "delay" if point == "commit" => (self.too_long / 3.0).into(),
            "delay" => self.too_long.into(),
            "without" => "id".into(),
            _ => status.into(),
        };
        let fault = json!([{"route": route, "point": point, "do": what, "value": value}]);
        call.header("x-fault", &fault.to_string())
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }
}

/// Unix time, in seconds.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

/// Sends the request and goes away.
async fn hang_up(call: Call) {
    // A sidecar that is dead by now takes no request.
    let _ = call.try_hang_up().await;
}
