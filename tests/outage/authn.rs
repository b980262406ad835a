//! authn is down or silent: who is known goes on, and deletes need nobody's principal.

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
