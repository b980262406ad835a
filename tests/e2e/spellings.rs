//! P5: the path decided on is the path served, and nothing slips past by its spelling.

use serde_json::json;

use crate::World;
use crate::support::service::Options;

const BODY: &str = r#"{"agent_id":"agent-a1","name":"n"}"#;

fn post(target: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: keys\r\nConnection: close\r\nX-User-Id: alice\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

/// Sends raw bytes through the sidecar; whatever comes of it, both systems agree afterwards.
async fn send(world: &World, raw: &str) -> u16 {
    let answer = String::from_utf8_lossy(&world.sidecar.client().raw(raw).await).into_owned();
    world.service.idle().await;
    let registered = world.provider.registered().len();
    let rows = world.service.ids().await;
    assert_eq!(rows.len(), registered, "P5: {raw}");
    for id in rows {
        world.delete(&format!("/agent_api_keys/{id}")).await;
    }
    world.provider.wait_until(|provider| provider.registered().is_empty()).await;
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn e2e_every_spelling_that_reaches_a_handler_is_intercepted_or_refused() {
    let world = World::start().await;
    let raw = [
        (post("/agent_api_keys"), 200),
        (post("/agent%5Fapi_keys"), 200),
        (post("/%61gent_api_keys"), 200),
        (post("/agent_api_keys?"), 200),
        (post("/agent_api_keys??"), 200),
        (post("http://elsewhere:1/agent_api_keys"), 200),
        (post("ftp://user@elsewhere/agent_api_keys"), 200),
        (post("/agent_api_keys%0A"), 400),
        (post("/agent_api_keys").replace("HTTP/1.1", "HTTP/1.0"), 200),
        (post("/agent_api_keys").replace("HTTP/1.1\r\nHost: keys", "HTTP/1.0"), 200),
    ];
    for (raw, status) in raw {
        assert_eq!(send(&world, &raw).await, status, "{raw}");
    }
    let chunked = post("/agent_api_keys")
        .replace(&format!("Content-Length: {}", BODY.len()), "Transfer-Encoding: chunked")
        .replace(BODY, &format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()));
    assert_eq!(send(&world, &chunked).await, 200);
    let hook = r#"{"agent_name":"a1","source":"slack","name":"h","forward_path":"/f"}"#;
    for target in ["/agent_api_keys/%77ebhook-trigger", "/agent_api_keys%2Fwebhook-trigger"] {
        let raw = post(target)
            .replace(&BODY.len().to_string(), &hook.len().to_string())
            .replace(BODY, hook);
        assert!([200, 400].contains(&send(&world, &raw).await), "{target}");
    }
    let id = world.key("n").await;
    for target in [format!("/agent_api_keys%2F{id}"), "/agent_api_keys/%6eame/x".to_owned()] {
        world.call("DELETE", &target).send().await;
    }
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_no_spelling_that_misses_a_handler_is_registered() {
    let world = World::start().await;
    for target in [
        "//agent_api_keys",
        "/./agent_api_keys",
        "/x/../agent_api_keys",
        "/agent_api_keys;x",
        "/AGENT_API_KEYS",
        "/agent%255Fapi_keys",
        "/agent_api_keys%00",
        "/agent_api_keys%20",
        "/agent_api_keys%0D%0A",
    ] {
        let status = send(&world, &post(target)).await;
        assert!([400, 404].contains(&status), "{target}: {status}");
    }
    for method in ["HEAD", "PUT", "OPTIONS"] {
        let raw = post("/agent_api_keys").replace("POST", method);
        assert_eq!(send(&world, &raw).await, 405, "{method}");
    }
    let overridden = post("/agent_api_keys/x")
        .replace("X-User-Id", "X-HTTP-Method-Override: DELETE\r\nX-User-Id");
    assert_eq!(send(&world, &overridden).await, 405);
}

#[tokio::test]
async fn e2e_a_redirect_names_the_host_that_the_client_used() {
    let world = World::start().await;
    let body = json!({"agent_id": "agent-a1", "name": "n"});
    for target in ["/agent_api_keys/", "/agent_api_keys%2F"] {
        let answer = world.call("POST", target).json(&body).send().await;
        if answer.status == 307 {
            let location = answer.header("location");
            let host = world.sidecar.address();
            assert!(location.starts_with(&format!("http://{host}/")), "{location}");
        } else {
            assert_eq!(answer.status, 400, "{target}");
        }
    }
    world.assert_same_set().await;
}

#[tokio::test]
async fn e2e_what_only_h11_accepts_creates_nothing_unregistered() {
    let world = World::with(Options::default().h11()).await;
    let length = format!("Content-Length: {}", BODY.len());
    let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    for raw in [
        post("%2Fagent_api_keys"),
        post("agent_api_keys"),
        post("/agent_api_keys").replace("\r\n", "\n"),
        post("/agent_api_keys")
            .replace("X-User-Id: alice", "X-Folded: a\r\n b\r\nX-User-Id: alice"),
        post("/agent_api_keys").replace(&length, &format!("{length}\r\n{length}")),
        post("/agent_api_keys")
            .replace(&length, "Content-Length: 3\r\nTransfer-Encoding: chunked")
            .replace(BODY, &chunks),
    ] {
        let status = send(&world, &raw).await;
        assert!([200, 400].contains(&status), "{status}: {raw}");
    }
}

#[tokio::test]
async fn e2e_no_upgrade_hides_a_create() {
    let world = World::start().await;
    let hidden = post("/agent_api_keys");
    for upgrade in ["h2c", "anything", "websocket"] {
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: keys\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
             Content-Length: {}\r\n\r\n",
            hidden.len()
        );
        let client = world.sidecar.client();
        client.raw_pieces(&[head.as_bytes(), hidden.as_bytes()]).await;
    }
    let connect = format!(
        "CONNECT keys:80 HTTP/1.1\r\nHost: keys:80\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    world.sidecar.client().raw(&connect).await;
    world.service.idle().await;
    assert_eq!(world.service.ids().await.len(), 0, "no hidden request was executed");
    assert_eq!(world.provider.all_calls().len(), 0);
}
