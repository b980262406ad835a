//! What becomes of the database under sidecars: it crashes, restarts, or has no connections left.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{LEASE, World, livez};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::postgres::Postgres;

impl World {
    /// How many creates and deletes have reached the service.
    async fn effects(&self) -> usize {
        let seen = self.service.requests().await;
        seen.iter().filter(|seen| seen.method == "POST" || seen.method == "DELETE").count()
    }

    /// Without the database: what is intercepted is refused unsent, and the rest goes on.
    async fn refuses(&self, replica: usize, id: &str) {
        let before = self.effects().await;
        let (create, delete) = (self.create(replica, "refused"), self.delete(replica, id));
        for answer in <[_; 2]>::from(tokio::join!(create.send(), delete.send())) {
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.text().contains("nothing was sent"), "{}", answer.text());
        }
        assert_eq!(self.effects().await, before, "a refused request was sent");
        let passed = self.replicas[replica].client().get("/agents").send().await;
        assert_eq!(passed.status, 200, "what passes through goes on");
        assert_eq!(livez(&self.replicas[replica]).await, 200, "a restart would not help");
    }

    /// Waits until creates go through again. Gives the row.
    async fn serves(&self, replica: usize) -> String {
        eventually("creates go through again", || async {
            let answer = self.create(replica, &format!("again-{replica}")).send().await;
            (answer.status == 200).then(|| answer.id())
        })
        .await
    }
}

/// A PostgreSQL of its own, so that the keys service's is not touched.
fn own_postgres() -> (TempDir, Postgres, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), all).unwrap();
    let postgres = Postgres::start(directory.path().to_owned());
    let host = postgres.host();
    (directory, postgres, host)
}

/// A backend that is killed makes the server drop all connections and recover from its log.
#[tokio::test(flavor = "multi_thread")]
async fn p2_p3_a_postgresql_that_crashes_and_recovers_under_load_costs_nothing() {
    let (_directory, _postgres, host) = own_postgres();
    let world = World::on(Database::of(host).await, 2).await;
    let mut told = Vec::new();
    for round in 0..3 {
        let creates: Vec<_> = (0..20)
            .map(|n| tokio::spawn(world.create(n % 2, &format!("k-{round}-{n}")).try_send()))
            .collect();
        let wanted = 5 + told.len();
        world.provider.wait_until(|provider| provider.registered().len() >= wanted).await;
        let victim = world.database.meddle().await;
        let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let kill = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        assert!(kill.unwrap().success());
        for create in creates {
            if let Ok(answer) = create.await.unwrap()
                && answer.status == 200
            {
                told.push(answer.id());
            }
        }
    }
    println!("{} of 60 creates were acknowledged", told.len());
    for replica in &world.replicas {
        assert_eq!(livez(replica).await, 200, "nobody needs a restart");
    }
    told.push(world.serves(0).await);
    world.replicas[1].wait_quiescent().await;
    let rows = world.service.ids().await;
    assert!(told.iter().all(|id| rows.contains(id)), "an acknowledged create is gone");
    world.comes_to(1, &rows).await;
    assert_eq!(world.dead().await, 0, "nobody was taken over");
}

/// Each replica had its connections, and loses them with the right to new ones.
#[tokio::test(flavor = "multi_thread")]
async fn p6_without_connections_intercepted_requests_are_refused_unsent_and_the_rest_goes_on() {
    let world = World::on(Database::as_role("limited").await, 2).await;
    let (kept, gone) = (world.made(0, "kept").await, world.made(1, "gone").await);
    let client = world.database.meddle().await;
    client.batch_execute("ALTER ROLE limited CONNECTION LIMIT 0").await.unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE usename = 'limited' AND datname = current_database()";
    let cut: i64 = client.query_one(cut, &[]).await.unwrap().get(0);
    assert!(cut >= 4, "of {cut} connections, each replica has two for itself alone");
    tokio::join!(world.refuses(0, &kept), world.refuses(1, &gone));
    client.batch_execute("ALTER ROLE limited CONNECTION LIMIT -1").await.unwrap();
    let ids = [kept, world.serves(0).await, world.serves(1).await];
    assert_eq!(world.delete(1, &gone).send().await.status, 200);
    world.comes_to(0, &ids).await;
}

/// Another's operation is handed over once: it is kept until it can be read.
#[tokio::test(flavor = "multi_thread")]
async fn p2_an_operation_is_adopted_also_where_no_connection_is_left_to_read_it() {
    let mut world = World::on(Database::as_role("adopting").await, 2).await;
    let hang = world.service.fault("POST /agent_api_keys").hang_after().times(1).arm().await;
    let create = tokio::spawn(world.create(0, "k").try_send());
    hang.struck(1).await;
    let client = world.database.meddle().await;
    client.batch_execute("ALTER ROLE adopting CONNECTION LIMIT 0").await.unwrap();
    world.replicas[0].kill9().await;
    assert!(create.await.unwrap().is_err(), "nobody answered");
    // What renews the lease, and takes over, has a connection of its own: it alone is left.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE usename = 'adopting' AND datname = current_database() \
               AND query NOT LIKE '%lease_until%'";
    client.query_one(cut, &[]).await.unwrap();
    let adopted = || async {
        let log = world.replicas[1].log();
        log.iter().any(|line| line.contains("operations were adopted")).then_some(())
    };
    eventually("it is handed over, and can't be read", adopted).await;
    client.batch_execute("ALTER ROLE adopting CONNECTION LIMIT -1").await.unwrap();
    world.service.release().await;
    world.comes_to(1, &[]).await;
    assert_eq!(world.dead().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p3_p6_a_postgresql_that_is_restarted_costs_nothing_but_its_time() {
    restarted("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p3_p6_a_postgresql_that_is_restarted_without_a_checkpoint_costs_no_more() {
    restarted("QUIT").await;
}

/// Two live on, one with a create and one with a delete in the middle. The third was killed
/// before, and its lease ends while the server is down, as theirs do.
async fn restarted(signal: &str) {
    let (_directory, postgres, host) = own_postgres();
    let mut world = World::on(Database::of(host).await, 3).await;
    let (kept, gone) = (world.made(0, "kept").await, world.made(1, "gone").await);
    let hang = world.service.fault("POST /agent_api_keys").hang_after().times(1).arm().await;
    let orphan = tokio::spawn(world.create(2, "orphan").try_send());
    hang.struck(1).await;
    let gate = world.provider.register().once().holds();
    let create = tokio::spawn(world.create(0, "k").try_send());
    gate.arrived(1).await;
    let route = "DELETE /agent_api_keys/{id}";
    let hang = world.service.fault(route).hang_after().times(1).arm().await;
    let delete = tokio::spawn(world.delete(1, &gone).try_send());
    hang.struck(1).await;
    world.replicas[2].kill9().await;
    assert!(orphan.await.unwrap().is_err(), "nobody answered");
    postgres.end(signal).await;
    let lapse = Instant::now() + LEASE;
    world.service.release().await;
    gate.release();
    tokio::join!(world.refuses(0, &kept), world.refuses(1, &kept));
    // The server's start alone is to keep the others from being taken over.
    tokio::time::sleep_until(lapse.into()).await;
    assert!(!create.is_finished(), "acknowledged without the journal");
    postgres.start_again().await;
    let up = taken_over(&world).await;
    let granted = LEASE * 4 / 5;
    assert!(up >= granted, "taken over {up:?} after the start, a lease is {granted:?}");
    let made = create.await.unwrap().unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    let deleted = delete.await.unwrap().unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    let ids = [kept, made.id(), world.serves(0).await, world.serves(1).await];
    world.comes_to(0, &ids).await;
    assert_eq!(world.dead().await, 1, "only the killed one was taken over");
}

/// Waits until one was taken over. Gives how long the server was up then.
async fn taken_over(world: &World) -> Duration {
    let client = eventually("a connection", || world.database.try_connect()).await;
    let ask = "SELECT (SELECT count(*) FROM authz_sidecar.replicas WHERE dead), \
               extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8";
    let up = eventually("a take-over", || async {
        let row = client.query_one(ask, &[]).await.unwrap();
        (row.get::<_, i64>(0) > 0).then(|| row.get::<_, f64>(1))
    })
    .await;
    Duration::from_secs_f64(up)
}
