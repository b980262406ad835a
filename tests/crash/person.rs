//! A person at the admin port, who orders attempts, ends operations, and removes rows that are
//! nobody's.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::ledger::{GivenUp, Ledger, OPERATOR_MARK, Order};
use super::names::{DISCARDED, Knows, RETRIED, knows};
use super::plan::{Orders, Plan};
use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::service::removed::MARK;

/// What an order must carry.
pub const TOKEN: &str = "only-for-the-crash-matrix";

/// Between two looks at what is unfinished.
const PAUSE: Duration = Duration::from_millis(25);

/// A person, for one round.
pub struct Person {
    /// What they order.
    pub orders: Orders,
    /// Where rows can be seen past the sidecar.
    pub service: Arc<Service>,
    /// Whose rows they are.
    pub agent: String,
    /// What clients were told, and this person.
    pub ledger: Arc<Mutex<Ledger>>,
    pub dice: Rng,
    /// How many attempts they still order: what is to rest does so in the end.
    pub retries: u8,
    /// How many operations they still end: of all others everything is compared.
    pub discards: u8,
    /// Whether they end what is reported once none of its rows is nobody's, instead of waiting until
    /// it ends by itself. With replayed creates it may not: its row stands for another create.
    pub ends_reported: bool,
}

impl Person {
    pub fn new(
        plan: &Plan,
        service: Arc<Service>,
        agent: String,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Self {
        let orders = plan.orders;
        let dice = Rng::with_seed(plan.seed.wrapping_mul(37));
        let ends_reported = orders == Orders::Discards || plan.quirks.replays;
        Self { orders, service, agent, ledger, dice, retries: 30, discards: 2, ends_reported }
    }

    /// Gives orders beside the clients, until told to stop.
    pub async fn work(mut self, admin: Client, stop: Arc<AtomicBool>) -> Self {
        while self.orders != Orders::None && !stop.load(Ordering::Relaxed) {
            if let Some(unfinished) = unfinished(&admin).await {
                self.look(&admin, &unfinished).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self
    }

    /// Gives orders about some of what is unfinished.
    pub async fn look(&mut self, admin: &Client, unfinished: &[Value]) {
        for operation in unfinished {
            let discard = self.orders == Orders::Discards && self.dice.u8(..8) == 0;
            let given_up = if discard { given_up(operation) } else { None };
            if let Some(given_up) = given_up
                && self.discards > 0
            {
                self.discards -= 1;
                self.order(admin, operation, "discard", given_up).await;
            } else if self.orders != Orders::None && self.retries > 0 && self.dice.u8(..4) == 0 {
                self.retries -= 1;
                self.order(admin, operation, "retry", GivenUp::default()).await;
            }
        }
    }

    /// Removes reported rows that no client was given, through the sidecar, and gives how many. An
    /// operation of which none is left may be ended then: that gives nothing up.
    pub async fn clear_up(&mut self, client: &Client, admin: &Client, reported: &[Value]) -> usize {
        let rows = self.service.made(&self.agent, &[]).await;
        let mut nobodys: BTreeSet<_> = rows.into_iter().map(|row| row.id).collect();
        let told: Vec<_> = {
            let ledger = self.ledger.lock().unwrap();
            ledger.creates.iter().filter_map(|create| create.told.clone()).collect()
        };
        nobodys.retain(|id| !told.contains(id));
        let mut removed = 0;
        for operation in reported {
            let left: Vec<_> = ids(operation).filter(|id| nobodys.contains(id)).collect();
            for id in &left {
                let target = format!("/agent_api_keys/{id}");
                let call = client.delete(&target).header("x-user-id", "operator");
                let call = call.header(MARK, OPERATOR_MARK);
                // What fails is found again.
                removed += usize::from(call.try_send().await.is_ok());
            }
            if left.is_empty() && self.ends_reported {
                self.order(admin, operation, "discard", GivenUp::default()).await;
            }
        }
        removed
    }

    async fn order(&self, admin: &Client, operation: &Value, what: &str, given_up: GivenUp) {
        let operation = operation["id"].as_str().unwrap().to_owned();
        let call = admin
            .post(&format!("/operations/{operation}/{what}"))
            .header("authorization", &format!("Bearer {TOKEN}"))
            .json(&json!({"by": "alice", "reason": "to see what happens"}));
        let record = if what == "retry" { RETRIED } else { DISCARDED };
        let order = Order { operation, record, given_up, told: None };
        let place = self.ledger().order(order);
        let status = call.try_send().await.ok().map(|answer| answer.status);
        let mut ledger = self.ledger();
        ledger.orders[place].told = status;
        ledger.answered(what, status);
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }
}

/// Operations that have not ended; `None` where nobody answers.
pub async fn unfinished(admin: &Client) -> Option<Vec<Value>> {
    let answer = admin.get("/operations?limit=1000").try_send().await.ok()?;
    if answer.status != 200 {
        return None;
    }
    answer.json()["operations"].as_array().cloned()
}

/// What it would give up to discard `operation`; nothing where that can't be told exactly.
fn given_up(operation: &Value) -> Option<GivenUp> {
    match knows(operation["phase"].as_str()?, operation["rule"].as_str()?) {
        Knows::One => Some(GivenUp { ids: BTreeSet::new(), rows: 1 }),
        Knows::Ids => Some(GivenUp { ids: ids(operation).collect(), rows: 0 }),
        Knows::Nothing => None,
    }
}

fn ids(operation: &Value) -> impl Iterator<Item = String> {
    let ids = operation["resource_ids"].as_array().into_iter().flatten();
    ids.filter_map(Value::as_str).map(str::to_owned)
}
