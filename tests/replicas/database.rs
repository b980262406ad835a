//! The database away for a while, under sidecars with operations in the middle.

use std::time::{Duration, Instant};

use super::{LEASE, World, livez, own_postgres};
use crate::support::database::Database;
use crate::support::eventually;

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
    assert!(up >= LEASE, "taken over {up:?} after the start, lease {LEASE:?}");
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
