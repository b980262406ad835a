//! Creates.

use std::io::Read;

use serde_json::json;

use crate::support::provider::REGISTER;
use crate::support::service::Options;
use crate::{World, resource};

#[tokio::test]
async fn e2e_a_create_is_registered_with_its_parent() {
    let world = World::start().await;
    for by in ["agent_id", "agent_name"] {
        let value = if by == "agent_id" { "agent-a1" } else { "a1" };
        let answer = world.create(&json!({by: value, "name": by})).await;
        assert_eq!(answer.status, 200);
        assert!(answer.json()["api_key"].is_string(), "the secret reaches the client");
        let key = resource(&answer.id());
        assert!(world.provider.registered().contains(&key), "P1: before the answer");
        assert_eq!(world.provider.parent_of(&key), Some("agent:agent-a1".into()));
        assert!(world.provider.owner_of(&key).unwrap().contains("alice"));
    }
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_a_rejected_create_is_passed_on_and_not_registered() {
    let world = World::start().await;
    world.key("taken").await;
    for (body, status) in [
        (json!({"agent_id": "agent-a1", "agent_name": "a1", "name": "n"}), 400),
        (json!({"name": "n"}), 400),
        (json!({"agent_name": "nobody", "name": "n"}), 404),
        (json!({"agent_id": "agent-a1", "name": "taken"}), 409),
        (json!({"agent_id": "agent-a1"}), 422),
    ] {
        let through = world.create(&body).await;
        let straight = world.service.client().post("/agent_api_keys").json(&body).send().await;
        assert_eq!(through.status, status, "{body}");
        assert_eq!(through.body, straight.body, "in the service's own words");
    }
    assert_eq!(world.provider.calls(REGISTER).len(), 1);
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_a_webhook_create_is_registered_under_the_looked_up_agent() {
    let world = World::start().await;
    let body = json!({
        "agent_name": "a1", "source": "github", "name": "hook", "forward_path": "/in",
    });
    let target = "/agent_api_keys/webhook-trigger";
    let answer = world.call("POST", target).json(&body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json().get("agent_id").is_none());
    let key = resource(answer.json()["key_id"].as_str().unwrap());
    assert_eq!(world.provider.parent_of(&key), Some("agent:agent-a1".into()));
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_creates_without_a_rule_pass_through() {
    let world = World::start().await;
    let agent = world.call("POST", "/agents/register").json(&json!({"name": "a2"})).send().await;
    assert_eq!(agent.status, 200, "{}", agent.text());
    let id = agent.id();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {}});
    let task = world.call("POST", &format!("/agents/{id}/rpc")).json(&call).send().await;
    assert_eq!(task.status, 200);
    assert_eq!(world.provider.all_calls().len(), 0, "P6: nobody was asked");
    assert_eq!(world.sidecar.operations().await.len(), 0);
}

#[tokio::test]
async fn e2e_a_client_that_hangs_up_changes_nothing() {
    let world = World::start().await;
    let body = json!({"agent_id": "agent-a1", "name": "gone"});
    world.call("POST", "/agent_api_keys").json(&body).hang_up().await;
    world.provider.wait_until(|provider| provider.registered().len() == 1).await;
    world.assert_same_set().await;
    let id = world.service.ids().await.remove(0);
    world.call("DELETE", &format!("/agent_api_keys/{id}")).hang_up().await;
    world.provider.wait_until(|provider| provider.registered().is_empty()).await;
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_an_agents_own_create_passes_unregistered() {
    let world = World::start().await;
    let body = json!({"agent_id": "agent-a1", "name": "own"});
    let call =
        world.sidecar.client().post("/agent_api_keys").header("x-agent-identity", "agent-a1");
    let answer = call.json(&body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.provider.all_calls().len(), 0, "no principal, no registration");
    let metrics = world.sidecar.metrics().await;
    assert!(metrics.contains("exception=\"bypass\""), "P9: the exception is counted");
    assert_eq!(world.service.ids().await, [answer.id()]);
}

#[tokio::test]
async fn e2e_a_500_after_the_insert_is_undone() {
    let world = World::start().await;
    for (moment, inserts) in [("after", 1), ("before", 0)] {
        let fault = world.service.fault("POST /agent_api_keys");
        let fault = if inserts == 1 { fault.after(500) } else { fault.before(500) };
        let armed = fault.times(1).arm().await;
        let answer = world.create(&json!({"agent_id": "agent-a1", "name": moment})).await;
        assert_eq!(answer.status, 500, "in the service's own words");
        armed.struck(1).await;
    }
    world.assert_same_set().await;
    assert_eq!(world.service.ids().await.len(), 0, "P2: the row that nobody was given is gone");
}

#[tokio::test]
async fn p4_without_exclusivity_a_row_of_unknown_origin_is_reported_and_stays() {
    let mut world = World::start().await;
    let config = world.sidecar.config().set("/journal/exclusive_writer", false);
    world.sidecar.restart_as(config).await;
    let fault = world.service.fault("POST /agent_api_keys").after(500).times(1).arm().await;
    world.create(&json!({"agent_id": "agent-a1", "name": "n"})).await;
    fault.struck(1).await;
    let reported = world.sidecar.wait_operation("reported", |it| it["phase"] == "reported").await;
    let rows = world.service.ids().await;
    assert_eq!(reported["resource_ids"], json!(rows));
    // A person removes it; the operation ends by itself.
    world.service.remove(&rows[0]).await;
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_a_compressed_create_is_registered() {
    let world = World::with(Options::default().gzip()).await;
    let name = "n".repeat(200);
    let call = world.call("POST", "/agent_api_keys").header("accept-encoding", "gzip");
    let answer = call.json(&json!({"agent_id": "agent-a1", "name": name})).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-encoding"), "gzip", "the service's own encoding");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(world.provider.registered().contains(&resource(body["id"].as_str().unwrap())));
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_ids_come_from_the_answer() {
    let world = World::start().await;
    // Last duplicates win in the service: the sidecar refuses what can be read in two ways.
    let twice = r#"{"agent_id":"other","agent_id":"agent-a1","name":"n"}"#;
    let call = world.call("POST", "/agent_api_keys").header("content-type", "application/json");
    assert_eq!(call.body(twice).send().await.status, 400);
    let escaped = r#"{"agent_id":"agent-a1","name":"n","\u006eame":"m"}"#;
    let call = world.call("POST", "/agent_api_keys").header("content-type", "application/json");
    assert_eq!(call.body(escaped).send().await.status, 400);
    // A media type of JSON's family is JSON to the service, and to the sidecar.
    let call = world.call("POST", "/agent_api_keys").header("content-type", "application/x+json");
    let answer = call.body(r#"{"agent_id":"agent-a1","name":"n"}"#).send().await;
    assert_eq!(answer.status, 200);
    // The last of several parameters wins.
    let target = "/agent_api_keys/name/n?agent_id=other&agent_id=agent-a1";
    assert_eq!(world.delete(target).await.status, 200);
    world.assert_same_set().await;
    assert_eq!(world.service.ids().await.len(), 0);
}

#[tokio::test]
async fn p1_p3_a_killed_sidecar_leaves_no_orphan_and_a_dead_provider_no_key() {
    let mut world = World::start().await;
    let held = world.service.fault("POST /agent_api_keys").commit_first().hang_after().arm().await;
    let body = json!({"agent_id": "agent-a1", "name": "killed"});
    world.call("POST", "/agent_api_keys").json(&body).hang_up().await;
    held.struck(1).await;
    world.sidecar.kill9().await;
    held.disarm().await;
    world.service.release().await;
    assert_eq!(world.service.ids().await.len(), 1, "the row that nobody was given");
    world.sidecar.restart().await;
    world.assert_same_set().await;
    assert_eq!(world.service.ids().await.len(), 0, "P2");

    world.provider.down();
    let answer = world.create(&json!({"agent_id": "agent-a1", "name": "n"})).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    // authn is down with the rest of the provider: nothing was sent at all.
    assert_eq!(world.service.ids().await.len(), 0, "P1: no registration, no key");
    world.provider.up();
    world.assert_same_set().await;
}

#[tokio::test]
async fn the_service_may_listen_on_a_unix_socket_only() {
    let world = World::with(Options::default().unix()).await;
    let id = world.key("n").await;
    assert_eq!(world.delete(&format!("/agent_api_keys/{id}")).await.status, 200);
    world.assert_same_set().await;
}

#[tokio::test]
async fn p2_an_undo_that_the_caller_may_not_do_is_done_with_the_services_credentials() {
    let mut world = World::start().await;
    let file = world.sidecar.directory().join("service-headers");
    std::fs::write(&file, "x-service: sidecar\n").unwrap();
    let file = file.display().to_string();
    let config = world.sidecar.config().set("/credentials/service/headers_file", file);
    world.sidecar.restart_as(config).await;
    world.provider.register().answers(403);
    let route = "DELETE /agent_api_keys/{id}";
    let refused = world.service.fault(route).before(403).times(1).arm().await;
    let answer = world.create(&json!({"agent_id": "agent-a1", "name": "n"})).await;
    refused.struck(1).await;
    assert_eq!((answer.status, &answer.json()["undo"]), (503, &json!("done")));
    world.assert_same_set().await;
    assert_eq!(world.service.ids().await.len(), 0);
    let mut deletes = world.service.requests().await;
    deletes.retain(|seen| seen.method == "DELETE");
    let who =
        |index: usize| (deletes[index].header("x-user-id"), deletes[index].header("x-service"));
    assert_eq!(who(0), (Some("alice"), None), "the caller's own, first");
    assert_eq!(who(1), (None, Some("sidecar")), "the service's, once those are refused");
}
