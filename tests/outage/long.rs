//! The back end is down for a while, under load: seconds here, minutes by `OUTAGE_SECONDS`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::keys::Route;
use crate::world::World;

/// What one client saw during the outage.
#[derive(Default)]
struct Seen {
    refused: usize,
    undone: usize,
    deleted: usize,
    slowest_refusal: Duration,
}

/// Creates, deletes and reads in turn until `over`.
async fn client(world: Arc<World>, number: usize, over: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Acquire) {
        let began = Instant::now();
        let create = world.create(&format!("k-{number}")).send().await;
        match create.json()["type"].as_str() {
            Some(kind) if kind.ends_with("unavailable") => {
                seen.refused += 1;
                seen.slowest_refusal = seen.slowest_refusal.max(began.elapsed());
            }
            _ => {
                assert_eq!(create.status, 503, "no key without a registration (P1)");
                seen.undone += 1;
            }
        }
        let id = world.given(&format!("d-{number}"));
        world.delete(&id).send().await.expect(200);
        seen.deleted += 1;
        world.get("/elsewhere").send().await.expect(200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p3_a_long_outage_refuses_creates_fast_and_loses_no_delete() {
    let seconds = std::env::var("OUTAGE_SECONDS").map_or(5, |text| text.parse().unwrap());
    let world = Arc::new(
        World::with(|settings| {
            // The default, so that it opens as it does in production.
            settings.breaker = "{}";
            settings.open_operations = 100_000;
        })
        .await,
    );
    world.made("before").await;
    world.provider.down();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|number| tokio::spawn(client(Arc::clone(&world), number, Arc::clone(&over))))
        .collect();
    world.until_circuit("register", 1).await;
    let sent = world.keys.calls(Route::Create);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    over.store(true, Ordering::Release);
    let mut all = Seen::default();
    for client in clients {
        let Seen { refused, undone, deleted, slowest_refusal } = client.await.unwrap();
        all.refused += refused;
        all.undone += undone;
        all.deleted += deleted;
        all.slowest_refusal = all.slowest_refusal.max(slowest_refusal);
    }
    let probed = world.keys.calls(Route::Create) - sent;
    let Seen { refused, undone, deleted, slowest_refusal } = all;
    eprintln!(
        "{seconds} s without a back end: {refused} creates refused unsent, the slowest in \
         {slowest_refusal:?}; {probed} sent as probes; {undone} undone; {deleted} deletes"
    );
    assert_eq!(undone, world.keys.calls(Route::Create) - 1, "what was sent was undone");
    assert!(refused > undone, "{refused} refused, {undone} undone");
    // Far below what a registration may take, on a machine that does other things besides.
    assert!(slowest_refusal < Duration::from_secs(2), "{slowest_refusal:?}");
    // One at a time, at least half of `max_pause` apart, and each may be under way for a while.
    assert!(probed <= 4 + 4 * usize::try_from(seconds).unwrap(), "{probed} probes");
    let began = Instant::now();
    world.provider.up();
    world.quiescent().await;
    eprintln!("all was deregistered and swept {:?} after its return", began.elapsed());
    world.same_set();
    world.made("after").await;
}
