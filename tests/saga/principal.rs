//! Who is calling, and what becomes of a create when that can't be told.

use std::time::Duration;

use crate::support::keys::{Fault, Route};
use crate::support::provider::{AUTHN, REGISTER};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p1_while_authn_is_down_or_slow_or_strange_nothing_is_sent() {
    let world = World::new().await;
    world.provider.down();
    world.create("k").send().await.expect_problem(503, "unavailable");
    world.provider.up();
    world.provider.authn().once().delays(Duration::from_secs(3));
    world.create("k").send().await.expect_problem(503, "unavailable");
    for status in [500, 503, 201, 404] {
        world.provider.authn().once().answers(status);
        world.create("k").send().await.expect_problem(503, "unavailable");
    }
    world.provider.authn().once().garbage_body();
    world.create("k").send().await.expect_problem(503, "unavailable");
    world.provider.authn().once().answers_with(200, "[]");
    let answer = world.create("k").send().await.expect_problem(503, "unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(world.keys.calls(Route::Create), 0);
    world.made("k").await;
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_credentials_that_authn_refuses_are_a_401_and_nothing_is_sent() {
    let world = World::new().await;
    let answer = world.create("k").anonymous().json(&serde_json::json!({"name": "k"}));
    let answer = answer.send().await.expect_problem(401, "unauthenticated");
    assert!(answer.header("www-authenticate").is_some());
    for status in [401, 403] {
        world.provider.authn().once().answers(status);
        let call = world.create("k").header("x-user-id", &format!("refused-{status}"));
        call.send().await.expect_problem(401, "unauthenticated");
    }
    assert_eq!(world.keys.calls(Route::Create), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_principal_without_a_creator_passes_unregistered_and_is_counted() {
    let world = World::new().await;
    let guest = r#"{"principal_type": "guest", "user_id": null}"#;
    world.provider.principal("Bearer guest", guest);
    world.create("k").anonymous_with("authorization", "Bearer guest").send().await.expect(200);
    assert_eq!(world.exceptions("no_creator").await, 1);
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(world.asked(REGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_principal_with_a_secret_is_used_and_not_cached() {
    let world = World::new().await;
    let principal = r#"{"user_id": "u-9", "api_key": "s3cret"}"#;
    world.provider.principal("Bearer nine", principal);
    for count in 1..=3 {
        let call = world.create("k").anonymous_with("authorization", "Bearer nine");
        let id = call.send().await.expect(200).id();
        assert_eq!(world.asked(AUTHN), count);
        let owner = world.provider.owner_of(&format!("api_key:{id}")).unwrap();
        assert_eq!(owner, principal, "verbatim, the secret included");
    }
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_principal_without_a_secret_is_asked_for_once() {
    let world = World::new().await;
    world.made("a").await;
    world.made("b").await;
    assert_eq!(world.asked(AUTHN), 1);
}

/// No answer of authn depends on a header that is not in the cache's key.
#[tokio::test(flavor = "multi_thread")]
async fn p1_each_credential_header_makes_another_caller() {
    let world = World::new().await;
    world.made("cached").await;
    let names = [
        "authorization",
        "cookie",
        "x-api-key",
        "x-service-account-id",
        "x-selected-account-id",
        "x-auth-token",
        "x-session-id",
    ];
    for name in names {
        let (credential, user) = (format!("value-of-{name}"), format!("user-of-{name}"));
        let principal = format!(r#"{{"user_id": "{user}"}}"#);
        world.provider.principal(&credential, &principal);
        let call = world.create("k").header(name, &credential);
        let id = call.send().await.expect(200).id();
        let owner = world.provider.owner_of(&format!("api_key:{id}")).unwrap();
        assert!(owner.contains(&user), "{name} was left out: {owner}");
    }
    let id = world.create("k").header("x-user-id", "u-2").send().await.expect(200).id();
    let owner = world.provider.owner_of(&format!("api_key:{id}")).unwrap();
    assert!(owner.contains("u-2"), "x-user-id was left out: {owner}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_agents_own_request_passes_unregistered_and_is_counted() {
    let world = World::new().await;
    let call = world.create("k").anonymous_with("x-agent-identity", "agent-1");
    call.send().await.expect(200);
    assert_eq!(world.exceptions("bypass").await, 1);
    assert_eq!(world.asked(AUTHN), 0);
    assert_eq!(world.asked(REGISTER), 0);
    // An empty value is none to the service, so it is none here.
    let call = world.create("k").anonymous_with("x-agent-identity", "");
    call.send().await.expect_problem(401, "unauthenticated");
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
}

/// A service behind WSGI or CGI may take the second for the first, and the caller for a principal, or for
/// an agent where it is none.
#[tokio::test(flavor = "multi_thread")]
async fn p1_p5_a_lookalike_of_an_agents_header_is_refused_and_counted() {
    let world = World::new().await;
    let agent = || world.create("k").anonymous_with("x-agent-identity", "agent-1");
    agent().and_header("X_Agent_Identity", "").send().await.expect_problem(400, "bad-request");
    agent().and_header("x-agent_api-key", "k").send().await.expect_problem(400, "bad-request");
    let user = world.create("k").and_header("X_Agent_Identity", "agent-1");
    user.send().await.expect_problem(400, "bad-request");
    assert_eq!(world.exceptions("bypass").await, 0);
    let series =
        "authz_sidecar_intercepted_refused_total{rule=\"create-key\",reason=\"principal\"}";
    assert_eq!(world.counted(series).await, 3);
    assert_eq!((world.asked(AUTHN), world.keys.calls(Route::Create)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_credential_that_occurs_twice_is_refused() {
    let world = World::new().await;
    let call = world.create("k").and_header("x-user-id", "u-2");
    call.send().await.expect_problem(400, "bad-request");
    assert_eq!(world.keys.calls(Route::Create), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p5_a_lookalike_of_a_credential_is_refused() {
    let world = World::new().await;
    let call = world.create("k").and_header("X_User_Id", "u-2");
    call.send().await.expect_problem(400, "bad-request");
    assert_eq!((world.asked(AUTHN), world.keys.calls(Route::Create)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_principal_that_the_service_refuses_is_not_believed_any_longer() {
    let world = World::new().await;
    world.made("cached").await;
    for (count, status) in [(1, 401), (2, 403)] {
        world.keys.on(Route::Create, Fault::once().without_effect().status(status));
        assert_eq!(world.asked(AUTHN), count);
        world.create("refused").send().await.expect(status);
        world.made("again").await;
        assert_eq!(world.asked(AUTHN), count + 1, "{status} made it ask again");
    }
}
