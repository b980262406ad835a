//! The sidecar itself on such disks, between doubles of the service and of the back end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::dice::Dice;
use crate::image::Disk;
use crate::seeds;
use crate::shim::{Fault, Shim};
use crate::support::client::{Call, Client};
use crate::support::keys::{AGENT, Keys, Route};
use crate::support::provider::{Provider, REGISTER};
use crate::support::sidecar::{Config, Sidecar};

/// The sidecar's neighbours, which keep their power.
pub(crate) struct World {
    pub(crate) keys: Keys,
    pub(crate) provider: Provider,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self { keys: Keys::start().await, provider: Provider::start() }
    }

    /// A sidecar with its journal in `directory`.
    pub(crate) fn config(&self, directory: &Path, shim: Option<&Shim>) -> Config {
        let journal = format!("sqlite:{}", directory.join("journal.db").display());
        let config = Config::new(&self.keys.url(), &self.provider.url());
        let config = config.set("/journal/url", journal);
        let environment = shim.map(Shim::environment).unwrap_or_default();
        environment.iter().fold(config, |config, (name, value)| config.env(name, value))
    }

    /// Once nothing is unfinished: rows and registrations are one set.
    async fn comes_to_rest(&self, sidecar: &Sidecar, what: &str) -> BTreeSet<String> {
        sidecar.wait_quiescent().await;
        let rows = self.keys.rows().into_iter().map(|id| format!("api_key:{id}"));
        let rows: BTreeSet<String> = rows.collect();
        assert_eq!(rows, self.provider.registered(), "{what}: P2, P3");
        rows
    }
}

pub(crate) fn create(client: &Client, name: &str) -> Call {
    let body = json!({"agent_id": AGENT, "name": name});
    client.post("/agent_api_keys").header("x-user-id", "alice").json(&body)
}

fn delete(client: &Client, id: &str) -> Call {
    client.delete(&format!("/agent_api_keys/{id}")).header("x-user-id", "alice")
}

fn delete_by_name(client: &Client, name: &str) -> Call {
    let target = format!("/agent_api_keys/name/{name}?agent_id={AGENT}&api_key_type=external");
    client.delete(&target).header("x-user-id", "alice")
}

/// What clients were told and asked.
#[derive(Default)]
struct Told {
    created: BTreeSet<String>,
    deleting: BTreeSet<String>,
}

/// Eight clients create, and delete what they created, until the sidecar is gone.
async fn load(sidecar: &mut Sidecar, creates: usize) -> Told {
    let told = Arc::new(Mutex::new(Told::default()));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (told, client) = (Arc::clone(&told), sidecar.client());
            tokio::spawn(async move {
                for round in 0.. {
                    let call = create(&client, &format!("k{number}"));
                    let Ok(answer) = call.try_send().await else { return };
                    if answer.status != 200 {
                        continue;
                    }
                    let id = answer.id();
                    told.lock().unwrap().created.insert(id.clone());
                    if round % 2 == number % 2 {
                        told.lock().unwrap().deleting.insert(id.clone());
                        if delete(&client, &id).try_send().await.is_err() {
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    while told.lock().unwrap().created.len() < creates {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sidecar.kill9().await;
    for client in clients {
        client.await.unwrap();
    }
    std::mem::take(&mut *told.lock().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_p3_a_sidecar_that_loses_power_leaves_no_orphan_and_no_acknowledged_create_behind() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let world = World::new().await;
        let (directory, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shim = Shim::new(directory.path(), Fault::None).logging(scratch.path().join("log"));
        let mut sidecar = Sidecar::start(world.config(directory.path(), Some(&shim))).await;
        let told = load(&mut sidecar, 20 + dice.roll(60)).await;
        let mut disk = Disk::default();
        disk.replay(&scratch.path().join("log"), |_| {});
        let left = TempDir::new().unwrap();
        disk.power_fails(&mut dice, left.path());

        let sidecar = Sidecar::start(world.config(left.path(), None)).await;
        let rows = world.comes_to_rest(&sidecar, &format!("seed {seed}")).await;
        for id in told.created.difference(&told.deleting) {
            assert!(rows.contains(&format!("api_key:{id}")), "seed {seed}: {id} is gone (P2)");
        }
    }
}

/// A sidecar whose disk fails once `trigger` exists.
struct Failing {
    world: World,
    sidecar: Sidecar,
    directory: TempDir,
    log: TempDir,
}

impl Failing {
    async fn with(fault: Fault) -> Self {
        let world = World::new().await;
        let (directory, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let shim = Shim::new(directory.path(), fault).triggered_by(log.path().join("trigger"));
        let shim = shim.logging(log.path().join("log"));
        let sidecar = Sidecar::start(world.config(directory.path(), Some(&shim))).await;
        Self { world, sidecar, directory, log }
    }

    /// From here on, once what went before is on the disk.
    async fn strike(&self) {
        self.sidecar.wait_quiescent().await;
        std::fs::write(self.log.path().join("trigger"), "").unwrap();
    }

    /// Nothing that a rule matches is sent any more; the rest goes on; liveness fails.
    async fn assert_refuses(&self, id: &str) {
        let client = self.sidecar.client();
        let sent = || {
            [Route::Create, Route::Delete, Route::DeleteByName].map(|r| self.world.keys.calls(r))
        };
        let (before, asked) = (sent(), self.world.provider.calls(REGISTER).len());
        for call in [create(&client, "x"), delete(&client, id), delete_by_name(&client, "given")] {
            let answer = call.send().await;
            assert_eq!(answer.status, 503, "{}", answer.text());
        }
        assert_eq!(sent(), before, "refused before it is sent");
        assert_eq!(self.world.provider.calls(REGISTER).len(), asked);
        assert_eq!(client.get("/elsewhere").send().await.status, 200);
        let health = self.sidecar.health();
        let live = health.get("/livez").send().await;
        assert_eq!(live.status, 503, "{}", live.text());
    }

    /// It is started again on a disk that works: on what the file system shows, or after a loss of power.
    async fn assert_recovers(mut self, power_fails: Option<u64>) {
        self.sidecar.kill9().await;
        let left = TempDir::new().unwrap();
        let directory = match power_fails {
            None => self.directory.path(),
            Some(seed) => {
                let mut disk = Disk::default();
                disk.replay(&self.log.path().join("log"), |_| {});
                disk.power_fails(&mut Dice::new(seed), left.path());
                left.path()
            }
        };
        let sidecar = Sidecar::start(self.world.config(directory, None)).await;
        let rows = self.world.comes_to_rest(&sidecar, "after the fault").await;
        assert_eq!(sidecar.health().get("/livez").send().await.status, 200);
        let given = rows.iter().filter(|row| {
            let id = row.trim_start_matches("api_key:");
            self.world.keys.row(id).is_some_and(|row| row.name == "given")
        });
        assert_eq!(given.count(), 1, "the acknowledged create stands");
        assert_eq!(create(&sidecar.client(), "new").send().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_p3_after_a_failed_sync_what_a_rule_matches_is_refused_before_it_is_sent_until_a_restart()
 {
    // Of one create, `prepared` fails, or `registered`.
    for (nth, power_fails) in [(1, None), (2, None), (1, Some(1)), (2, Some(2)), (2, Some(3))] {
        let failing = Failing::with(Fault::Sync(nth)).await;
        let client = failing.sidecar.client();
        let given = create(&client, "given").send().await;
        assert_eq!(given.status, 200, "{}", given.text());
        failing.strike().await;
        let answer = create(&client, "struck").send().await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(failing.world.keys.calls(Route::Create), nth, "sent or not");
        failing.assert_refuses(&given.id()).await;
        failing.assert_recovers(power_fails).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_p3_on_a_full_disk_what_a_rule_matches_is_refused_before_it_is_sent_until_a_restart() {
    for power_fails in [None, Some(1)] {
        let failing = Failing::with(Fault::Full(1)).await;
        let client = failing.sidecar.client();
        let given = create(&client, "given").send().await;
        assert_eq!(given.status, 200, "{}", given.text());
        failing.strike().await;
        assert_eq!(create(&client, "struck").send().await.status, 503);
        assert_eq!(failing.world.keys.calls(Route::Create), 1, "the journal could not take it");
        failing.assert_refuses(&given.id()).await;
        failing.assert_recovers(power_fails).await;
    }
}
