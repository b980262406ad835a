//! Several real sidecars on one PostgreSQL journal, before one real keys service: what becomes of
//! operations whose owner is killed, or stopped and goes on after it was taken over.

// clippy.toml's exception for tests ends at their helpers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod support;

#[path = "replicas/database.rs"]
mod database;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use support::client::{Answer, Call};
use support::database::Database;
use support::eventually;
use support::provider::{DEREGISTER, Provider};
use support::service::{Options, Service};
use support::sidecar::{Config, Sidecar};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Long enough for a busy machine, where a process may wait for its turn.
const LEASE: Duration = Duration::from_secs(3);

/// Worlds at a time: each is four processes and a database.
static ROOM: Semaphore = Semaphore::const_new(3);

struct World {
    _room: SemaphorePermit<'static>,
    lease: Duration,
    service: Service,
    provider: Provider,
    database: Database,
    replicas: Vec<Sidecar>,
}

impl World {
    async fn new(replicas: usize) -> Self {
        Self::on(Database::new().await, replicas).await
    }

    async fn on(database: Database, replicas: usize) -> Self {
        Self::with_lease(LEASE, database, replicas).await
    }

    async fn with_lease(lease: Duration, database: Database, replicas: usize) -> Self {
        let room = ROOM.acquire().await.unwrap();
        let service = Service::with_agent(Options::default()).await;
        let provider = Provider::start();
        let mut world =
            Self { _room: room, lease, service, provider, database, replicas: Vec::new() };
        for _ in 0..replicas {
            let replica = Sidecar::start(world.config()).await;
            world.replicas.push(replica);
        }
        world
    }

    fn config(&self) -> Config {
        let lease = format!("{}ms", self.lease.as_millis());
        Config::new(&self.service.upstream(), &self.provider.url())
            .set("/journal/url", self.database.url())
            .set("/journal/postgres", json!({"lease": lease, "allow_no_fsync": true}))
            .set("/bounds/call", "2s")
            .set("/bounds/late_effect", "2s")
            .set("/bounds/exchange", "2s")
            .set("/authz/deadline", "20s")
            .set("/authz/agentex/timeout", "20s")
            .set("/limits/response_timeout", "60s")
    }

    fn create(&self, replica: usize, name: &str) -> Call {
        let body = json!({"agent_id": "agent-a1", "name": name});
        self.request(replica, "POST", "/agent_api_keys").json(&body)
    }

    fn delete(&self, replica: usize, id: &str) -> Call {
        self.request(replica, "DELETE", &format!("/agent_api_keys/{id}"))
    }

    fn request(&self, replica: usize, method: &str, target: &str) -> Call {
        self.replicas[replica].client().request(method, target).header("x-user-id", "alice")
    }

    async fn made(&self, replica: usize, name: &str) -> String {
        let answer = self.create(replica, name).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.id()
    }

    /// Waits until the operation that is under way is at `phase`, whoever owns it.
    async fn phase(&self, replica: usize, phase: &str) {
        self.replicas[replica].wait_operation(phase, |operation| operation["phase"] == phase).await;
    }

    /// Waits until nothing is left to do, and compares rows and relationships.
    async fn comes_to(&self, replica: usize, ids: &[String]) {
        self.replicas[replica].wait_quiescent().await;
        let evidence = "SELECT count(*) FROM evidence";
        let client = self.database.meddle().await;
        eventually("evidence is settled", || async {
            let row = client.query_one(evidence, &[]).await.unwrap();
            (row.get::<_, i64>(0) == 0).then_some(())
        })
        .await;
        // What a woken replica hands in may be on its way.
        let rows: BTreeSet<String> = ids.iter().cloned().collect();
        let edges: BTreeSet<String> = rows.iter().map(|id| format!("api_key:{id}")).collect();
        eventually(&format!("rows and relationships {rows:?}"), || async {
            let made: BTreeSet<String> = self.service.ids().await.into_iter().collect();
            (made == rows && self.provider.registered() == edges).then_some(())
        })
        .await;
        self.replicas[replica].wait_quiescent().await;
        assert_eq!(self.provider.registered(), edges, "also at the end");
    }

    /// Waits until a request has reached the service, whose handler may not have run yet.
    async fn arrived(&self, method: &str, target: &str) {
        eventually("the request", || async {
            let seen = self.service.requests().await;
            let arrived = seen.iter().any(|seen| seen.method == method && seen.path == target);
            arrived.then_some(())
        })
        .await;
    }

    /// Waits until that many rows are there.
    async fn rows(&self, count: usize) {
        let wanted = async || (self.service.ids().await.len() == count).then_some(());
        eventually(&format!("{count} rows"), wanted).await;
    }

    /// Waits until the replica, whose epoch is one more than its place, renews its lease: the
    /// instant from which others have to wait for longest.
    async fn renewed(&self, replica: usize) {
        let client = self.database.meddle().await;
        let epoch = i64::try_from(replica).unwrap() + 1;
        let ask = "SELECT extract(epoch FROM lease_until)::float8 FROM replicas WHERE epoch = $1";
        let until = async || client.query_one(ask, &[&epoch]).await.unwrap().get::<_, f64>(0);
        let before = until().await;
        eventually("a renewal", async || (until().await > before).then_some(())).await;
    }

    /// How many of the others were taken over, by the journal's own account.
    async fn dead(&self) -> i64 {
        let client = self.database.meddle().await;
        let row = client.query_one("SELECT count(*) FROM replicas WHERE dead", &[]).await;
        row.unwrap().get(0)
    }
}

async fn livez(replica: &Sidecar) -> u16 {
    replica.health().get("/livez").send().await.status
}

/// From the kill to the end of the undo, at whatever instant of its lease the owner died.
#[tokio::test(flavor = "multi_thread")]
async fn p2_p3_what_a_killed_replica_left_another_finishes_within_a_lease() {
    let mut world = World::with_lease(LEASE * 2, Database::new().await, 3).await;
    let kept = world.made(0, "kept").await;
    for victim in [1, 2] {
        world.service.fault("POST /agent_api_keys").hang_after().times(1).arm().await;
        let client = tokio::spawn(world.create(victim, "k").try_send());
        world.rows(2).await;
        world.renewed(victim).await;
        world.replicas[victim].kill9().await;
        let killed = Instant::now();
        assert!(client.await.unwrap().is_err(), "nobody answered");
        world.rows(1).await;
        let took = killed.elapsed();
        println!("undone {took:?} after the kill, with a lease of {:?}", world.lease);
        assert!(took < world.lease, "{took:?}");
        world.service.release().await;
    }
    world.comes_to(0, &[kept]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_registration_of_a_killed_replica_that_lands_late_is_removed() {
    let mut world = World::new(2).await;
    let gate = world.provider.register().once().lands_after();
    let client = tokio::spawn(world.create(0, "k").try_send());
    gate.arrived(1).await;
    world.replicas[0].kill9().await;
    assert!(client.await.unwrap().is_err());
    world.phase(1, "undoing").await;
    world.rows(0).await;
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.comes_to(1, &[]).await;
}

/// The registration lands after everything was undone and swept: only evidence can tell.
#[tokio::test(flavor = "multi_thread")]
async fn p1_p3_a_stopped_replica_that_wakes_after_l_decides_nothing_and_its_registration_is_undone()
{
    let world = World::new(2).await;
    let gate = world.provider.register().once().holds();
    let client = tokio::spawn(world.create(0, "k").try_send());
    gate.arrived(1).await;
    world.replicas[0].signal("STOP").await;
    world.replicas[1].wait_operation("adopted", |one| one["phase"] == "undoing").await;
    world.replicas[1].wait_quiescent().await;
    assert!(world.service.ids().await.is_empty());
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.replicas[0].signal("CONT").await;
    let answer: Answer = client.await.unwrap().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    world.comes_to(1, &[]).await;
    assert_eq!(livez(&world.replicas[0]).await, 503, "a restart gives it a new lease");
    assert_eq!(world.create(0, "n").send().await.status, 503, "nothing new is taken");
    let passed = world.replicas[0].client().get("/agents").send().await;
    assert_eq!(passed.status, 200, "what passes through goes on");
    assert_eq!(world.dead().await, 1);
}

/// The row appears after whoever took over has stopped looking for it.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_stopped_replica_that_wakes_after_l_with_an_id_hands_it_in_and_the_row_is_undone() {
    let world = World::new(2).await;
    world.service.fault("POST /agent_api_keys").hang_before().times(1).arm().await;
    let client = tokio::spawn(world.create(0, "k").try_send());
    world.arrived("POST", "/agent_api_keys").await;
    world.replicas[0].signal("STOP").await;
    world.replicas[1].wait_operation("adopted", |one| one["phase"] == "unknown").await;
    world.replicas[1].wait_quiescent().await;
    world.service.release().await;
    eventually("the row", || async { (world.service.ids().await.len() == 1).then_some(()) }).await;
    world.replicas[0].signal("CONT").await;
    let answer = client.await.unwrap().unwrap();
    assert!(answer.status >= 500, "{}", answer.text());
    world.comes_to(1, &[]).await;
}

/// Its client has its answer by then, so that the operation's driver rests and reads what comes: too late to record
/// it. No list shows the row, since the rule has no probe.
#[tokio::test(flavor = "multi_thread")]
async fn p2_an_answer_that_a_replica_reads_after_it_was_taken_over_is_handed_in() {
    let mut world = World::new(0).await;
    for _ in 0..2 {
        let config = world.config().set("/bounds/late_effect", "12s");
        let config = config.rule("create-key", "/probe", json!(null));
        world.replicas.push(Sidecar::start(config).await);
    }
    world.service.fault("POST /agent_api_keys").hang_before().times(1).arm().await;
    let answer = world.create(0, "k").send().await;
    assert!(answer.status >= 500, "{}", answer.text());
    world.replicas[0].signal("STOP").await;
    world.replicas[1].wait_operation("adopted", |one| one["carried_on"] == true).await;
    world.service.release().await;
    eventually("the row", || async { (world.service.ids().await.len() == 1).then_some(()) }).await;
    world.replicas[0].signal("CONT").await;
    world.comes_to(1, &[]).await;
}

/// As above, and before L has passed: then the row is found or told, whichever comes first.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_stopped_replica_that_wakes_at_once_after_the_take_over_leaves_nothing() {
    let world = World::new(2).await;
    let gate = world.provider.register().once().holds();
    let client = tokio::spawn(world.create(0, "k").try_send());
    gate.arrived(1).await;
    world.replicas[0].signal("STOP").await;
    world.replicas[1].wait_operation("adopted", |one| one["phase"] == "undoing").await;
    gate.release();
    world.replicas[0].signal("CONT").await;
    assert_eq!(client.await.unwrap().unwrap().status, 503);
    world.comes_to(1, &[]).await;
}

/// The DELETE takes effect after whoever took over has stopped looking.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_stopped_replica_whose_delete_takes_effect_after_l_has_it_deregistered() {
    let world = World::new(2).await;
    let id = world.made(0, "k").await;
    world.service.fault("DELETE /agent_api_keys/{id}").hang_before().times(1).arm().await;
    let client = tokio::spawn(world.delete(0, &id).try_send());
    world.arrived("DELETE", &format!("/agent_api_keys/{id}")).await;
    world.replicas[0].signal("STOP").await;
    world.replicas[1].wait_operation("adopted", |one| one["phase"] == "looking").await;
    world.replicas[1].wait_quiescent().await;
    assert_eq!(world.provider.calls(DEREGISTER).len(), 0, "nothing was deleted so far");
    world.service.release().await;
    eventually("the row goes", || async { world.service.ids().await.is_empty().then_some(()) })
        .await;
    world.replicas[0].signal("CONT").await;
    drop(client.await.unwrap());
    world.comes_to(1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p3_of_three_replicas_under_load_one_is_killed_and_nothing_is_lost() {
    let mut world = World::new(3).await;
    let creates: Vec<_> =
        (0..60).map(|n| tokio::spawn(world.create(n % 3, &format!("k-{n}")).try_send())).collect();
    world.provider.wait_until(|provider| provider.registered().len() >= 10).await;
    world.replicas[1].kill9().await;
    let mut told = Vec::new();
    for create in creates {
        if let Ok(answer) = create.await.unwrap()
            && answer.status == 200
        {
            told.push(answer.id());
        }
    }
    println!("{} of 60 creates were acknowledged", told.len());
    world.replicas[0].wait_quiescent().await;
    let rows: BTreeSet<String> = world.service.ids().await.into_iter().collect();
    assert!(told.iter().all(|id| rows.contains(id)), "an acknowledged create is gone");
    let rows: Vec<String> = rows.into_iter().collect();
    world.comes_to(0, &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_in_order_is_not_waited_for() {
    let mut world = World::new(2).await;
    world.provider.deregister().answers(503);
    let id = world.made(0, "k").await;
    let gone = world.delete(0, &id).send().await;
    assert_eq!(gone.status, 200);
    let began = Instant::now();
    assert!(world.replicas[0].stop().await.success());
    world.provider.deregister().reset();
    world.comes_to(1, &[]).await;
    println!("finished {:?} after SIGTERM", began.elapsed());
    assert_eq!(world.dead().await, 1);
}

/// An observed create passes even if it can't be recorded, as long as others can be told that it may.
#[tokio::test(flavor = "multi_thread")]
async fn s3_p4_a_replica_that_was_taken_over_lets_no_observed_create_pass() {
    let mut world = World::new(1).await;
    let observes = world.config().rule("create-key", "/mode", "observe");
    world.replicas.push(Sidecar::start(observes).await);
    world.made(1, "before").await;
    world.replicas[1].signal("STOP").await;
    eventually("a take-over", || async { (world.dead().await == 1).then_some(()) }).await;
    world.replicas[1].signal("CONT").await;
    eventually("it knows", || async { (livez(&world.replicas[1]).await == 503).then_some(()) })
        .await;
    let answer = world.create(1, "after").send().await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    world.rows(1).await;
}
