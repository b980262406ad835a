//! Which spellings of a request reach a handler.

use serde_json::{Value, json};

use crate::support::service::{Options, Service};

const BODY: &str = r#"{"agent_id":"agent-a1","name":"n"}"#;

/// The handler that a request line reaches, and the status; the name of the key is free again
/// afterwards.
async fn reached(service: &Service, method: &str, target: &str) -> (Option<String>, u16) {
    let raw = format!(
        "{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    reached_raw(service, &raw).await
}

async fn reached_raw(service: &Service, raw: &str) -> (Option<String>, u16) {
    service.forget().await;
    let answer = String::from_utf8_lossy(&service.client().raw(raw).await).into_owned();
    service.idle().await;
    for id in service.ids().await {
        service.remove(&id).await;
    }
    let status = answer.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
    (service.requests().await.first().and_then(|seen| seen.handler.clone()), status)
}

fn handler(name: &str, status: u16) -> (Option<String>, u16) {
    (Some(name.to_owned()), status)
}

#[tokio::test]
async fn a_path_is_decoded_once_and_a_newline_at_its_end_is_nothing() {
    for options in [Options::default(), Options::default().h11()] {
        let service = Service::with_agent(options).await;
        for target in [
            "/agent_api_keys",
            "/agent%5Fapi_keys",
            "/%61gent_api_keys",
            "/agent_api_keys%0A",
            "/agent_api_keys?",
            "/agent_api_keys??",
        ] {
            let got = reached(&service, "POST", target).await;
            assert_eq!(got, handler("create_key", 200), "{target}");
        }
        for target in ["/agent_api_keys%2Fx", "/agent_api_keys/x", "/agent_api_keys/x%0A"] {
            let got = reached(&service, "DELETE", target).await;
            assert_eq!(got, handler("delete_key", 200), "{target}");
        }
        let hook = reached(&service, "POST", "/agent_api_keys%2Fwebhook-trigger").await;
        assert_eq!(hook.1, 422, "the body lacks what a webhook needs, so it was reached: {hook:?}");
        let name = "/agent_api_keys/%6eame/x?agent_name=a1";
        let got = reached(&service, "DELETE", name).await;
        assert_eq!(got, handler("delete_key_by_name", 404));
    }
}

#[tokio::test]
async fn a_fragment_or_an_absolute_form_does_not_keep_a_request_from_its_handler() {
    let absolute = ["http://other/agent_api_keys", "ftp://user@other:1/agent_api_keys"];
    let service = Service::with_agent(Options::default()).await;
    for target in absolute.into_iter().chain(["/agent_api_keys#frag"]) {
        let got = reached(&service, "POST", target).await;
        assert_eq!(got, handler("create_key", 200), "{target}");
    }
    // Behind h11, uvicorn takes an absolute form for a path.
    let service = Service::with_agent(Options::default().h11()).await;
    for target in absolute {
        assert_eq!(reached(&service, "POST", target).await, (None, 404), "{target}");
    }
}

#[tokio::test]
async fn other_spellings_do_not_reach_a_handler() {
    let service = Service::with_agent(Options::default()).await;
    for target in [
        "//agent_api_keys",
        "/./agent_api_keys",
        "/x/../agent_api_keys",
        "/agent_api_keys;x",
        "/Agent_api_keys",
        "/agent%255Fapi_keys",
        "/agent_api_keys%00",
        "/agent_api_keys%20",
        "/agent_api_keys%0D%0A",
    ] {
        assert_eq!(reached(&service, "POST", target).await, (None, 404), "{target}");
    }
    for method in ["PUT", "OPTIONS"] {
        assert_eq!(reached(&service, method, "/agent_api_keys").await, (None, 405), "{method}");
    }
    let head = service.client().request("HEAD", "/agent_api_keys").send().await;
    assert_eq!(head.status, 405);
}

#[tokio::test]
async fn a_preflight_is_answered_and_a_method_override_ignored() {
    let service = Service::with_agent(Options::default()).await;
    let preflight = service
        .client()
        .request("OPTIONS", "/agent_api_keys")
        .header("origin", "http://o")
        .header("access-control-request-method", "POST");
    assert_eq!(preflight.send().await.status, 200);
    let id = service.key("agent-a1", "n").await;
    let call = service.client().get(&format!("/agent_api_keys/{id}"));
    let answer = call.header("x-http-method-override", "DELETE").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(service.ids().await, [id]);
}

#[tokio::test]
async fn a_trailing_slash_is_a_307_built_from_host_and_forwarded_proto() {
    let service = Service::with_agent(Options::default()).await;
    for target in ["/agent_api_keys/", "/agent_api_keys%2F"] {
        let call = service.client().post(target).header("host", "public.example");
        let answer = call.header("x-forwarded-proto", "https").body(BODY).send().await;
        assert_eq!(answer.status, 307, "{target}");
        assert_eq!(answer.header("location"), "https://public.example/agent_api_keys");
    }
    assert_eq!(service.ids().await.len(), 0);
}

#[tokio::test]
async fn a_near_miss_of_an_id_answers_deleted_and_deletes_nothing() {
    let service = Service::with_agent(Options::default()).await;
    let id = service.key("agent-a1", "n").await;
    let near = [id.to_uppercase(), format!("{id};x"), format!("{id}%20"), format!("{id}%0A")];
    for near in near {
        let gone = service.client().delete(&format!("/agent_api_keys/{near}")).send().await;
        assert_eq!(gone.status, 200, "{near}");
        assert!(gone.text().contains("deleted"));
        service.idle().await;
        assert_eq!(service.ids().await, [id.as_str()], "{near}");
    }
}

#[tokio::test]
async fn http_1_0_no_host_and_chunked_bodies_reach_a_handler() {
    for options in [Options::default(), Options::default().h11()] {
        let service = Service::with_agent(options).await;
        let length = BODY.len();
        let kind = "Content-Type: application/json";
        let line = "POST /agent_api_keys HTTP";
        for raw in [
            format!("{line}/1.0\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{BODY}"),
            format!(
                "{line}/1.1\r\nHost: h\r\nConnection: close\r\n{kind}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{BODY}\r\n0\r\n\r\n"
            ),
        ] {
            assert_eq!(reached_raw(&service, &raw).await, handler("create_key", 200), "{raw}");
        }
    }
    // h11 wants a Host in HTTP/1.1.
    let service = Service::with_agent(Options::default()).await;
    let raw = format!(
        "POST /agent_api_keys HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    assert_eq!(reached_raw(&service, &raw).await, handler("create_key", 200));
}

#[tokio::test]
async fn json_takes_the_last_duplicate_also_in_escapes_and_odd_encodings() {
    let service = Service::with_agent(Options::default()).await;
    let utf16 = |text: &str| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    let bodies: [(Vec<u8>, &str, &str); 5] = [
        (br#"{"agent_id":"agent-a1","name":"x","name":"dup"}"#.to_vec(), "application/json", "dup"),
        (
            br#"{"agent_id":"agent-a1","name":"x","n\u0061me":"escaped"}"#.to_vec(),
            "application/json",
            "escaped",
        ),
        (utf16(r#"{"agent_id":"agent-a1","name":"utf16"}"#), "application/json", "utf16"),
        (
            [b"\xef\xbb\xbf".as_slice(), br#"{"agent_id":"agent-a1","name":"bom"}"#].concat(),
            "application/json",
            "bom",
        ),
        (
            br#"{"agent_id":"agent-a1","name":"plus","x":NaN}"#.to_vec(),
            "application/vnd.x+json",
            "plus",
        ),
    ];
    for (body, kind, name) in bodies {
        let call = service.client().post("/agent_api_keys").header("content-type", kind);
        let answer = call.body(body).send().await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(answer.json()["name"], name);
    }
}

#[tokio::test]
async fn the_last_duplicate_of_a_query_parameter_wins_and_a_plus_in_a_path_is_a_plus() {
    let service = Service::with_agent(Options::default()).await;
    let two = service.agent("a2").await;
    let id = service.key(&two, "a+b").await;
    let target = "/agent_api_keys?agent_name=a1&agent_name=a2";
    let list: Value = service.client().get(target).send().await.json();
    assert_eq!(list[0]["id"], json!(id));
    let target = "/agent_api_keys/name/a+b?agent_name=a2";
    assert_eq!(service.client().get(target).send().await.id(), id);
}
