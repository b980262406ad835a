//! What each route answers.

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::service::{Options, Service};

async fn create(service: &Service, body: Value) -> Answer {
    service.client().post("/agent_api_keys").json(&body).send().await
}

fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_create_answers_the_row_and_shows_the_secret_once() {
    let service = Service::with_agent(Options::default()).await;
    let made = create(&service, json!({"agent_id": "agent-a1", "name": "n"})).await;
    assert_eq!(made.status, 200);
    let shown = ["agent_id", "api_key", "api_key_type", "created_at", "id", "name"];
    assert_eq!(members(&made.json()), shown);
    assert_eq!(made.json()["api_key_type"], "external");
    assert_eq!(made.json()["agent_id"], "agent-a1");
    service.idle().await;
    let again = service.client().get(&format!("/agent_api_keys/{}", made.id())).send().await;
    assert_eq!(again.status, 200);
    assert_eq!(members(&again.json()), ["agent_id", "api_key_type", "created_at", "id", "name"]);
    assert_eq!(service.ids().await, [made.id()]);
}

#[tokio::test]
async fn a_create_takes_every_type_and_the_agents_name_and_a_given_secret() {
    let service = Service::with_agent(Options::default()).await;
    for kind in ["external", "internal", "github", "slack"] {
        let body = json!({"agent_name": "a1", "name": "n", "api_key_type": kind, "api_key": "s3"});
        let made = create(&service, body).await;
        assert_eq!((made.status, &made.json()["api_key"]), (200, &json!("s3")), "{kind}");
        assert_eq!(made.json()["agent_id"], "agent-a1");
    }
}

#[tokio::test]
async fn a_wrong_create_is_400_404_409_or_422_and_makes_nothing() {
    let service = Service::with_agent(Options::default()).await;
    service.key("agent-a1", "taken").await;
    let wrong = [
        (json!({"name": "n"}), 400),
        (json!({"agent_id": "agent-a1", "agent_name": "a1", "name": "n"}), 400),
        (json!({"agent_id": "nobody", "name": "n"}), 404),
        (json!({"agent_id": "agent-a1", "name": "taken"}), 409),
        (json!({"agent_id": "agent-a1"}), 422),
        (json!({"agent_id": "agent-a1", "name": "n", "api_key_type": "odd"}), 422),
    ];
    for (body, status) in wrong {
        assert_eq!(create(&service, body.clone()).await.status, status, "{body}");
    }
    assert_eq!(service.ids().await.len(), 1);
}

#[tokio::test]
async fn errors_come_in_two_shapes() {
    let service = Service::with_agent(Options::default()).await;
    let own = create(&service, json!({"agent_id": "nobody", "name": "n"})).await;
    assert_eq!(members(&own.json()), ["code", "data", "message"]);
    let invalid = create(&service, json!({})).await;
    assert_eq!(members(&invalid.json()), ["detail"]);
    let unknown = service.client().get("/nowhere").send().await;
    assert_eq!((unknown.status, members(&unknown.json())), (404, vec!["detail"]));
}

#[tokio::test]
async fn a_500_comes_before_or_after_the_insert() {
    let service = Service::with_agent(Options::default()).await;
    let body = json!({"agent_id": "agent-a1", "name": "n"});
    let route = "POST /agent_api_keys";
    service.fault(route).before(500).times(1).arm().await;
    assert_eq!(create(&service, body.clone()).await.status, 500);
    assert_eq!(service.ids().await.len(), 0);
    service.fault(route).after(500).times(1).arm().await;
    assert_eq!(create(&service, body).await.status, 500);
    assert_eq!(service.ids().await.len(), 1);
    // Without any fault: the name's column is too short.
    let long = create(&service, json!({"agent_id": "agent-a1", "name": "n".repeat(300)})).await;
    assert_eq!(long.status, 500);
    assert_eq!(service.ids().await.len(), 1);
}

#[tokio::test]
async fn a_webhook_create_makes_a_key_and_tells_no_agent_id() {
    let service = Service::with_agent(Options::default()).await;
    let body = json!({
        "agent_name": "a1", "source": "github", "name": "hook", "forward_path": "x/y",
        "base_url": "http://h"
    });
    let made = service.client().post("/agent_api_keys/webhook-trigger").json(&body).send().await;
    assert_eq!(made.status, 200);
    assert_eq!(
        members(&made.json()),
        ["agent_name", "key_id", "name", "secret", "source", "webhook_path", "webhook_url"]
    );
    service.idle().await;
    let rows = service.rows().await;
    assert_eq!((rows.len(), rows[0].id.clone()), (1, made.id()));
    assert_eq!((&*rows[0].agent_id, &*rows[0].api_key_type), ("agent-a1", "github"));
    let agent = service.client().get("/agents/name/a1").send().await;
    assert_eq!(agent.id(), "agent-a1");
}

#[tokio::test]
async fn a_list_is_paged_and_holds_no_secret() {
    let service = Service::with_agent(Options::default()).await;
    let mut ids = Vec::new();
    for number in 0..55 {
        ids.push(service.key("agent-a1", &format!("n{number}")).await);
    }
    let list = |query: &'static str| {
        let call = service.client().get(&format!("/agent_api_keys?{query}"));
        async move { call.send().await }
    };
    let first = list("agent_id=agent-a1").await.json();
    let second = list("agent_name=a1&page_number=2").await.json();
    assert_eq!(first.as_array().unwrap().len(), 50);
    assert_eq!(second.as_array().unwrap().len(), 5);
    let all = list("agent_name=a1&limit=1000").await.json();
    let seen: Vec<_> = all.as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(seen, ids);
    assert_eq!(members(&all[0]), ["agent_id", "api_key_type", "created_at", "id", "name"]);
    assert_eq!(list("agent_name=a1&limit=1001").await.status, 422);
    assert_eq!(list("").await.status, 400);
}

#[tokio::test]
async fn a_key_is_found_by_id_and_by_name_or_404() {
    let service = Service::with_agent(Options::default()).await;
    let id = service.key("agent-a1", "n").await;
    let get = |target: String| {
        let call = service.client().get(&target);
        async move { call.send().await }
    };
    assert_eq!(get(format!("/agent_api_keys/{id}")).await.id(), id);
    assert_eq!(get("/agent_api_keys/nothing".into()).await.status, 404);
    assert_eq!(get("/agent_api_keys/name/n?agent_name=a1".into()).await.id(), id);
    let other = "/agent_api_keys/name/n?agent_name=a1&api_key_type=slack".to_owned();
    assert_eq!(get(other).await.status, 404);
}

#[tokio::test]
async fn a_delete_by_id_is_200_also_for_an_id_that_does_not_exist() {
    let service = Service::with_agent(Options::default()).await;
    let id = service.key("agent-a1", "n").await;
    for id in [&*id, &*id, "never"] {
        let gone = service.client().delete(&format!("/agent_api_keys/{id}")).send().await;
        assert_eq!(gone.status, 200);
        assert_eq!(gone.json(), format!("Agent API key with ID {id} deleted"));
        service.idle().await;
        assert_eq!(service.ids().await.len(), 0);
    }
}

#[tokio::test]
async fn a_delete_by_name_tells_no_id_and_is_404_for_nothing() {
    let service = Service::with_agent(Options::default()).await;
    service.key("agent-a1", "n").await;
    let delete = || service.client().delete("/agent_api_keys/name/n?agent_id=agent-a1").send();
    let gone = delete().await;
    assert_eq!((gone.status, gone.json()), (200, json!("Agent api_key 'n' deleted")));
    service.idle().await;
    assert_eq!(service.ids().await.len(), 0);
    assert_eq!(delete().await.status, 404);
}

#[tokio::test]
async fn agents_are_listed_and_found() {
    let service = Service::with_agent(Options::default()).await;
    service.agent("a2").await;
    let page = service.client().get("/agents?limit=1&page_number=2").send().await;
    assert_eq!(page.json()[0]["id"], "agent-a2");
    assert_eq!(service.client().get("/agents/agent-a1").send().await.id(), "agent-a1");
    assert_eq!(service.client().get("/agents/name/a2").send().await.id(), "agent-a2");
    assert_eq!(service.client().get("/agents/name/a3").send().await.status, 404);
}

#[tokio::test]
async fn registering_an_agent_also_makes_an_internal_key_that_the_answer_does_not_tell() {
    let service = Service::start(Options::default()).await;
    let body = json!({"name": "new", "acp_url": "http://acp"});
    let made = service.client().post("/agents/register").json(&body).send().await;
    assert_eq!(made.status, 200);
    service.idle().await;
    let rows = service.rows().await;
    assert_eq!((rows.len(), &*rows[0].api_key_type), (1, "internal"));
    assert_eq!(rows[0].agent_id, made.id());
    assert!(!made.text().contains(&rows[0].id), "{}", made.text());
}

#[tokio::test]
async fn a_task_is_made_also_where_the_result_is_null() {
    let service = Service::with_agent(Options::default()).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {"name": "t"}});
    let rpc = || service.client().post("/agents/agent-a1/rpc").json(&body).send();
    let made = rpc().await;
    service.idle().await;
    let task = made.json()["result"]["id"].as_str().unwrap().to_owned();
    assert_eq!(service.tasks().await, std::slice::from_ref(&task));
    assert!(!made.text().contains("agent-a1"), "the parent is in the path alone");
    service.set("null_result", true).await;
    assert_eq!(rpc().await.json()["result"], Value::Null);
    service.idle().await;
    assert_eq!(service.tasks().await.len(), 2);
}

#[tokio::test]
async fn an_agents_own_headers_are_verified_by_the_service() {
    let service = Service::with_agent(Options::default()).await;
    service.set("require", json!(["authorization"])).await;
    let (id, secret) = service.key_of("agent-a1", "n", "internal", 0.0).await;
    let with = |name: &'static str, value: String| {
        let call = service.client().get(&format!("/agent_api_keys/{id}")).header(name, &value);
        async move { call.send().await.status }
    };
    assert_eq!(with("x-agent-api-key", secret).await, 200);
    assert_eq!(with("x-agent-api-key", "wrong".into()).await, 401);
    assert_eq!(with("x-agent-identity", "agent-a1".into()).await, 200);
    assert_eq!(with("x-agent-identity", "nobody".into()).await, 401);
    assert_eq!(with("authorization", "Bearer any".into()).await, 200);
    assert_eq!(with("x-other", "any".into()).await, 401);
}

#[tokio::test]
async fn created_at_comes_in_three_forms() {
    let service = Service::with_agent(Options::default()).await;
    let id = service.key("agent-a1", "n").await;
    for (form, end) in [("offset", "+00:00"), ("zulu", "Z"), ("naive", "")] {
        service.set("created_at", form).await;
        let row = service.client().get(&format!("/agent_api_keys/{id}")).send().await.json();
        let text = row["created_at"].as_str().unwrap().to_owned();
        assert!(text.ends_with(end) && (form != "naive" || !text.contains(['+', 'Z'])), "{text}");
    }
}
