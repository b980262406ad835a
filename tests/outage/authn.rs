//! authn is down, silent or trickles: who is known goes on, and deletes need nobody's principal.

use std::time::Duration;

use crate::support::keys::Route;
use crate::world::World;

/// Asks as a caller whom nobody asked authn about yet.
const UNKNOWN: (&str, &str) = ("x-user-id", "u-unknown");

async fn deletes_and_creates(world: &World) {
    let (by_id, by_name) = (world.given("d-1"), world.given("d-2"));
    world.made("known").await;
    let sent = world.keys.calls(Route::Create);
    let create = world.create("k").anonymous_with(UNKNOWN.0, UNKNOWN.1).send().await;
    create.expect_problem(503, "unavailable");
    assert_eq!(world.keys.calls(Route::Create), sent, "nothing was sent");
    world.delete(&by_id).anonymous_with(UNKNOWN.0, UNKNOWN.1).send().await.expect(200);
    let delete = world.delete_by_name("d-2").anonymous_with(UNKNOWN.0, UNKNOWN.1).send();
    delete.await.expect(200);
    world.get("/elsewhere").send().await.expect(200);
    world.quiescent().await;
    assert!(!world.is_registered(&by_id) && !world.is_registered(&by_name));
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p3_while_authn_is_down_known_callers_create_and_everybody_deletes() {
    let world = World::new().await;
    world.made("before").await;
    world.provider.authn().closes_before();
    deletes_and_creates(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p3_while_authn_is_silent_known_callers_create_and_everybody_deletes() {
    let world = World::new().await;
    world.made("before").await;
    let silent = world.provider.authn().holds();
    deletes_and_creates(&world).await;
    silent.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p3_while_authn_trickles_known_callers_create_and_everybody_deletes_in_time() {
    // Of the answer some seventy bytes each are head and body.
    const PAUSE: Duration = Duration::from_millis(250);
    let world = World::new().await;
    world.made("before").await;
    for body_alone in [false, true] {
        let authn = world.provider.authn();
        if body_alone {
            authn.trickles_body(PAUSE);
        } else {
            authn.trickles(PAUSE);
        }
        // Three of the requests wait for authn, each for its time-out of 0.7 s; none for the answer.
        let all = tokio::time::timeout(Duration::from_secs(12), deletes_and_creates(&world));
        all.await.expect("no request waits for the last byte");
        world.provider.authn().reset();
    }
    let create = world.create("k").anonymous_with(UNKNOWN.0, UNKNOWN.1).send();
    create.await.expect(200);
    world.quiescent().await;
    world.same_set();
}
