//! The journal takes no more: what needs it is refused before it is sent.

use crate::support::keys::Route;
use crate::support::provider::REGISTER;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p1_while_the_journal_is_full_nothing_is_sent_and_the_rest_goes_on() {
    let world = World::with(|settings| settings.journal = "1KiB").await;
    let id = world.given("k");
    let answer = world.create("k").send().await.expect_problem(503, "unavailable");
    assert!(answer.text("detail").contains("journal.max_bytes"), "it names the mend");
    assert!(answer.header("retry-after").is_some());
    world.delete(&id).send().await.expect_problem(503, "unavailable");
    world.delete_by_name("k").send().await.expect_problem(503, "unavailable");
    assert_eq!(world.keys.calls(Route::Create), 0);
    assert_eq!(world.keys.calls(Route::Delete), 0);
    assert_eq!(world.keys.calls(Route::DeleteByName), 0);
    assert_eq!(world.asked(REGISTER), 0);
    world.get("/elsewhere").send().await.expect(200);
    world.delete("unknown").send().await.expect(200);
    let series = "authz_sidecar_intercepted_refused_total{rule=\"create-key\",reason=\"journal\"}";
    assert_eq!(world.counted(series).await, 1);
}
