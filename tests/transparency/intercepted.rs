//! What rules match: clients of every age, answers in every framing and coding, redirects, and what a
//! browser lets a page read.

use std::collections::BTreeSet;
use std::time::Duration;

use flate2::read::{GzDecoder, ZlibDecoder};
use serde_json::{Value, json};

use crate::support::client::{Answer, Call};
use crate::support::provider::Provider;
use crate::support::service::{Options, Service};
use crate::support::sidecar::{Config, Sidecar};
use crate::wire::Wire;

const CREATE: &str = "POST /agent_api_keys";

/// The keys service with its agent `a1`, a provider, and a sidecar between them.
struct World {
    service: Service,
    provider: Provider,
    sidecar: Sidecar,
}

impl World {
    async fn start() -> Self {
        Self::with(|config| config).await
    }

    async fn with(configure: impl Fn(Config) -> Config) -> Self {
        let provider = Provider::start();
        let service = Service::with_agent(Options::default()).await;
        let config = Config::new(&service.upstream(), &provider.url());
        let sidecar = Sidecar::start(configure(config.late_effect(Duration::from_secs(2)))).await;
        Self { service, provider, sidecar }
    }

    fn call(&self, method: &str, target: &str) -> Call {
        self.sidecar.client().request(method, target).header("x-user-id", "alice")
    }

    fn create(&self, name: &str) -> Call {
        self.call("POST", "/agent_api_keys").json(&json!({"agent_id": "agent-a1", "name": name}))
    }

    /// Waits until nothing is left to do, and compares both systems.
    async fn assert_same_set(&self, rows: usize) {
        self.service.idle().await;
        self.sidecar.wait_quiescent().await;
        let ids = self.service.ids().await;
        let made: BTreeSet<String> = ids.iter().map(|id| format!("api_key:{id}")).collect();
        assert_eq!(made, self.provider.registered());
        assert_eq!(made.len(), rows);
    }
}

#[tokio::test]
async fn p1_p3_a_client_of_http_1_0_creates_and_deletes() {
    let world = World::start().await;
    let body = json!({"agent_id": "agent-a1", "name": "old"}).to_string();
    let head = "x-user-id: alice\r\ncontent-type: application/json";
    let head = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut wire = Wire::connect(world.sidecar.address()).await;
    wire.send(format!("POST /agent_api_keys HTTP/1.0\r\n{head}")).await;
    let made = wire.answer().await.unwrap();
    assert_eq!(made.status, "200 OK");
    assert_eq!(wire.rest().await, "", "the connection ends with the answer");
    let id = serde_json::from_str::<Value>(&made.text()).unwrap()["id"].clone();
    world.assert_same_set(1).await;
    let mut wire = Wire::connect(world.sidecar.address()).await;
    let delete = format!("DELETE /agent_api_keys/{} HTTP/1.0", id.as_str().unwrap());
    wire.send(format!("{delete}\r\nconnection: keep-alive\r\nx-user-id: alice\r\n\r\n")).await;
    assert_eq!(wire.answer().await.unwrap().status, "200 OK");
    world.assert_same_set(0).await;
}

/// The row as the client reads it: decoded as the answer says.
fn row(answer: &Answer) -> Value {
    let body = &answer.body[..];
    match answer.header("content-encoding") {
        "gzip" => serde_json::from_reader(GzDecoder::new(body)).unwrap(),
        "deflate" => serde_json::from_reader(ZlibDecoder::new(body)).unwrap(),
        _ => answer.json(),
    }
}

#[tokio::test]
async fn p1_p2_an_answer_is_understood_in_its_framing_and_coding_and_passed_on_in_them() {
    let world = World::start().await;
    let mut made = 0;
    for chunked in [false, true] {
        for coding in ["identity", "gzip", "deflate"] {
            let encoded = world.service.fault(CREATE).answer_encoded(coding).times(1).arm().await;
            if chunked {
                world.service.fault(CREATE).chunked().times(1).arm().await;
            }
            let answer = world.create(&format!("{coding}-{chunked}")).send().await;
            encoded.struck(1).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("content-encoding"), coding, "as the service sent it");
            let id = row(&answer)["id"].as_str().unwrap().to_owned();
            assert!(world.provider.registered().contains(&format!("api_key:{id}")));
            made += 1;
        }
    }
    // What nobody here can read names no row: it is not passed on as a success, and the row goes.
    let fault = world.service.fault(CREATE).answer_header("content-encoding", "lz4");
    let fault = fault.times(1).arm().await;
    let answer = world.create("unread").send().await;
    fault.struck(1).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    world.assert_same_set(made).await;
}

/// What a request says about caches and parts goes to the service, and not to the sidecar's own calls.
#[tokio::test]
async fn p6_conditions_and_ranges_are_between_client_and_service() {
    let world = World::start().await;
    let conditions = [
        ("if-none-match", "*"),
        ("if-match", "\"x\""),
        ("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("if-unmodified-since", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("range", "bytes=0-1"),
        ("if-range", "\"x\""),
    ];
    let conditional =
        |call: Call| conditions.iter().fold(call, |call, (name, value)| call.header(name, value));
    let made = conditional(world.create("conditional")).send().await;
    assert_eq!(made.status, 200, "{}", made.text());
    let target = format!("/agent_api_keys/{}", made.id());
    let gone = conditional(world.call("DELETE", &target)).send().await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    world.assert_same_set(0).await;
    for seen in world.service.requests().await {
        let passed_on =
            ["create_key", "delete_key"].contains(&seen.handler.as_deref().unwrap_or(""));
        for (name, value) in conditions {
            let expected = passed_on.then_some(value);
            assert_eq!(seen.header(name), expected, "{name} of {} {}", seen.method, seen.path);
        }
    }
    // A service that heeds them says that nothing was done.
    for status in [304, 412, 416] {
        let fault = world.service.fault(CREATE).before(status).times(1).arm().await;
        let answer = conditional(world.create("conditional")).send().await;
        fault.struck(1).await;
        assert_eq!(answer.status, status);
    }
    world.assert_same_set(0).await;
}

#[tokio::test]
async fn p6_a_redirect_leads_where_it_would_without_the_sidecar() {
    let world = World::start().await;
    let body = json!({"agent_id": "agent-a1", "name": "moved"});
    let ask = |call: Call| call.header("host", "keys.example:8080").json(&body).send();
    let through = ask(world.call("POST", "/agent_api_keys/")).await;
    let straight = ask(world.service.client().post("/agent_api_keys/")).await;
    assert_eq!((through.status, straight.status), (307, 307));
    assert_eq!(through.header("location"), straight.header("location"));
    assert_eq!(through.header("location"), "http://keys.example:8080/agent_api_keys");
    // Of a rule's own route: "send this again elsewhere" passes, and nothing was made here.
    let fault = world.service.fault(CREATE).before(307).times(1).arm().await;
    assert_eq!(world.create("moved").send().await.status, 307);
    fault.struck(1).await;
    // "Look elsewhere for what came of it" may come after the work, so it is no answer to trust.
    let fault = world.service.fault(CREATE).after(303).times(1).arm().await;
    assert_eq!(world.create("moved").send().await.status, 502);
    fault.struck(1).await;
    world.assert_same_set(0).await;
}

const APP: &str = "https://app.example";

/// The CORS check of browsers (Fetch §4.10) for a page of [`APP`].
fn readable(answer: &Answer) -> bool {
    ["*", APP].contains(&answer.header("access-control-allow-origin"))
        && answer.headers.get_all("access-control-allow-origin").iter().count() == 1
}

/// A preflight is the service's own answer, as it would be without the sidecar.
async fn assert_preflights_pass(world: &World) {
    let preflight = |call: Call| {
        let call = call.header("origin", APP).header("access-control-request-method", "POST");
        call.header("access-control-request-headers", "x-user-id, content-type").send()
    };
    let targets = ["/agent_api_keys", "/agent_api_keys/webhook-trigger", "/agents"];
    for target in targets {
        let through = preflight(world.sidecar.client().request("OPTIONS", target)).await;
        let straight = preflight(world.service.client().request("OPTIONS", target)).await;
        assert_eq!((through.status, &through.body), (straight.status, &straight.body));
        for name in ["allow-origin", "allow-methods", "allow-headers", "max-age"] {
            let name = format!("access-control-{name}");
            assert_eq!(through.header(&name), straight.header(&name), "{name} of {target}");
        }
        assert!(through.status == 200 && readable(&through));
    }
    assert_eq!(world.provider.all_calls().len(), 0);
}

#[tokio::test]
async fn p6_a_page_may_ask_and_read_success_and_every_refusal() {
    let world = World::with(|config| config.set("/cors/origins", json!([APP]))).await;
    assert_preflights_pass(&world).await;
    let from_page = |call: Call| call.header("origin", APP).send();
    let made = from_page(world.create("page")).await;
    assert!(made.status == 200 && readable(&made), "{:?}", made.headers);
    let nobody = world.sidecar.client().post("/agent_api_keys").json(&json!({}));
    let json = |text: &str| {
        let call = world.call("POST", "/agent_api_keys").header("content-type", "application/json");
        call.body(text.to_owned())
    };
    world.provider.register().times(1).answers(403);
    for (status, kind, call) in [
        (503, "not-registered", world.create("refused")),
        (401, "", nobody),
        (400, "", json(r#"{"name":"a","name":"b"}"#)),
        (413, "body-too-large", json(&" ".repeat((1 << 20) + 1))),
        (400, "ambiguous-path", world.call("POST", "//agent_api_keys")),
    ] {
        let answer = from_page(call).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.text().contains(kind), "{}", answer.text());
        assert!(readable(&answer), "{status}: {:?}", answer.headers);
    }
    let other = world.create("evil").header("origin", "https://evil.example").send().await;
    assert_eq!(other.status, 200);
    let nobody =
        world.sidecar.client().post("/agent_api_keys").header("origin", "https://evil.example");
    assert!(!readable(&nobody.json(&json!({})).send().await));
    world.assert_same_set(2).await;
}
