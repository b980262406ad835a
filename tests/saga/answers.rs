//! What the client reads: the service's own words, or a problem that says what to do.

use serde_json::json;

use crate::support::keys::{AGENT, Fault, Route};
use crate::support::provider::REGISTER;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_that_does_not_stand_is_a_problem_that_says_what_became_of_it() {
    let world = World::new().await;
    world.provider.register().answers(403);
    world.provider.deregister().answers(503);
    let answer = world.create("k").send().await.expect_undone("done");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
    let body = answer.json();
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    let operation = world.operation_in("undoing").await;
    assert_eq!(body["operation"], operation["id"], "operators find it by what the client was told");
    let id = world.keys.requests(Route::Get).pop().unwrap().path;
    let id = id.rsplit('/').next().unwrap().to_owned();
    assert_eq!(operation["resource_ids"], json!([id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_services_own_refusals_are_passed_on_untouched() {
    let world = World::new().await;
    for status in [400, 404, 409, 422, 429, 307] {
        let says = Fault::once().without_effect().changed(move |answer| {
            answer.status = status;
            answer.body = b"{ \"detail\" : \"so\" }\n".to_vec();
            answer.headers.push(("x-from".into(), "the service".into()));
            answer.headers.push(("location".into(), "http://keys.test/".into()));
        });
        world.keys.on(Route::Create, says);
        let answer = world.create("k").send().await.expect(status);
        assert_eq!(answer.body, b"{ \"detail\" : \"so\" }\n");
        assert_eq!(answer.header("x-from"), Some("the service"));
        assert_eq!(answer.header("location"), Some("http://keys.test/"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(world.asked(REGISTER), 0);
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_services_success_is_passed_on_untouched() {
    let world = World::new().await;
    let says = Fault::once().changed(|answer| {
        answer.body.extend(b" \n");
        answer.headers.push(("set-cookie".into(), "a=1".into()));
    });
    world.keys.on(Route::Create, says);
    let answer = world.create("k").send().await.expect(200);
    assert!(answer.body.ends_with(b"} \n"));
    assert_eq!(answer.header("set-cookie"), Some("a=1"));
    assert_eq!(answer.json()["agent_id"], AGENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_no_rule_matches_reaches_neither_journal_nor_provider() {
    let world = World::new().await;
    world.provider.down();
    let answer = world.get("/elsewhere").anonymous().send().await.expect(200);
    assert_eq!(answer.text("path"), "/elsewhere");
    world.get("/agent_api_keys/unknown").send().await.expect(404);
    world.call("POST", "/agents/register").json(&json!({"name": "a"})).send().await.expect(200);
    assert!(world.provider.all_calls().is_empty());
    assert!(world.operations().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_body_that_can_be_read_two_ways_is_refused_and_not_sent() {
    let world = World::new().await;
    let twice = format!(r#"{{"agent_id": "{AGENT}", "name": "a", "name": "b"}}"#);
    let call = world.create("k").raw_body(twice.into_bytes());
    call.send().await.expect_problem(400, "bad-request");
    assert_eq!(world.keys.calls(Route::Create), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_beyond_the_bound_of_unfinished_operations_nothing_is_sent() {
    let world = World::with(|settings| settings.open_operations = 1).await;
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("unfinished").send().await.expect(500);
    let answer = world.create("k").send().await.expect_problem(503, "overloaded");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(world.keys.calls(Route::Create), 1);
    world.get("/elsewhere").send().await.expect(200);
    world.comes_to_nothing().await;
    world.made("k").await;
}
