//! P7 and P9: who may order, and that the token shows nowhere.

use serde_json::json;

use crate::support::client::Answer;
use crate::world::{TOKEN, World, id, run};

async fn order(world: &World, operation: &str, bearer: Option<&str>, body: &str) -> Answer {
    let call = world.sidecar.admin().post(&format!("/operations/{operation}/discard"));
    let call = match bearer {
        Some(token) => call.header("authorization", &format!("Bearer {token}")),
        None => call,
    };
    call.body(body.to_owned()).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_order_needs_the_token_a_name_and_a_reason() {
    let world = World::start().await;
    let operation = id(&world.stuck_undo().await);
    let good = json!({"by": "alice", "reason": "it stays"}).to_string();
    for wrong in [None, Some("wrong"), Some(&TOKEN[1..])] {
        let answer = order(&world, &operation, wrong, &good).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let long = "x".repeat(400);
    for bad in [
        "",
        "{}",
        r#"{"by": "a"}"#,
        r#"{"by": "", "reason": "r"}"#,
        &format!(r#"{{"by": "a", "reason": "{long}"}}"#),
    ] {
        assert_eq!(order(&world, &operation, Some(TOKEN), bad).await.status, 400, "{bad}");
    }
    let unknown = "01936b2e-0000-7000-8000-000000000001";
    assert_eq!(order(&world, unknown, Some(TOKEN), &good).await.status, 404);
    assert!(world.operator(&["show", unknown]).await.failed(3).contains("no such operation"));
    let port = format!("http://{}", world.sidecar.admin_address());
    let denied = run(&["discard", &operation, "--reason", "r", "--admin", &port]).await.failed(4);
    assert!(denied.contains("credentials.admin.token_file"), "{denied}");
    assert_eq!(world.sidecar.operations().await.len(), 1, "nothing was ordered so far");
    assert_eq!(order(&world, &operation, Some(TOKEN), &good).await.status, 200);
    let orders = world.sidecar.metric("authz_sidecar_operator_orders_total", "discard").await;
    assert!((orders - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_without_a_token_the_port_takes_no_orders_and_says_how_to_change_that() {
    let world = World::with(|config| config.remove("/credentials/admin")).await;
    let operation = id(&world.stuck_undo().await);
    let answer = order(&world, &operation, Some(TOKEN), "{}").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("credentials.admin.token_file"), "{}", answer.text());
    assert_eq!(world.operator(&["list", "--json"]).await.json()["operations"][0]["id"], *operation);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_the_token_is_in_no_journal_log_metric_or_answer() {
    let world = World::with(|config| config.log("trace")).await;
    let operation = id(&world.stuck_undo().await);
    let mut seen = Vec::new();
    for wrong in [Some("planted-token-but-wrong"), Some(TOKEN)] {
        let answer = order(&world, &operation, wrong, "{}").await;
        seen.extend(answer.text().into_bytes());
    }
    let retried = world.operator(&["retry", &operation]).await;
    seen.extend([retried.out, retried.err].concat().into_bytes());
    let shown = world.operator(&["show", &operation, "--json"]).await;
    seen.extend([shown.out, shown.err].concat().into_bytes());
    seen.extend(world.sidecar.metrics().await.into_bytes());
    seen.extend(world.sidecar.log().concat().into_bytes());
    seen.extend(world.sidecar.journal_bytes());
    let planted = b"planted-token";
    let leaked = seen.windows(planted.len()).position(|window| window == planted);
    let around = leaked.map(|at| &seen[at.saturating_sub(200)..(at + 60).min(seen.len())]);
    assert_eq!(around.map(String::from_utf8_lossy), None);
}
