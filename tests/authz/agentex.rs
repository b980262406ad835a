//! `agentex` against the wire contract auth-provider.md and what goes wrong on the wire.

use std::time::Duration;

use authz_sidecar::authz::{
    Agentex, AgentexConfig, Authorizer, Error, ErrorKind, Metered, Metrics,
};
use authz_sidecar::http::TraceContext;
use prometheus_client::registry::Registry;

use crate::conformance::{principal, resource};
use crate::support::provider::{DEREGISTER, Provider, REGISTER};

const SECRET: &str = r#"{"user_id":"u","api_key":"s3cret-value"}"#;

fn agentex(provider: &Provider, more: &str) -> Agentex {
    let yaml = format!("{{ url: '{}/', {more} }}", provider.url());
    Agentex::new(&serde_saphyr::from_str::<AgentexConfig>(&yaml).unwrap()).unwrap()
}

async fn register(agentex: &Agentex) -> Result<(), Error> {
    let (key, agent) = (resource("api_key", "k1"), resource("agent", "a1"));
    agentex.register(&principal(SECRET), &key, Some(&agent)).await
}

async fn failing(agentex: &Agentex) -> Error {
    let error = register(agentex).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "p7: {error:?}");
    assert!(error.detail.contains("/v1/authz/register"), "no place: {error}");
    error
}

#[tokio::test]
async fn the_bodies_are_those_of_the_contract() {
    let provider = Provider::start();
    let agentex = agentex(&provider, "");
    register(&agentex).await.unwrap();
    agentex.register(&principal("{ }"), &resource("agent", "a"), None).await.unwrap();
    agentex.deregister(&principal("{ }"), &resource("agent", "a")).await.unwrap();
    let bodies: Vec<_> = provider.all_calls().into_iter().map(|call| call.body).collect();
    let first = format!(
        r#"{{"principal":{SECRET},"resource":{{"type":"api_key","selector":"k1"}},"parent":{{"type":"agent","selector":"a1"}}}}"#
    );
    assert_eq!(bodies[0], first);
    assert_eq!(
        bodies[1],
        r#"{"principal":{ },"resource":{"type":"agent","selector":"a"},"parent":null}"#
    );
    assert_eq!(bodies[2], r#"{"principal":{ },"resource":{"type":"agent","selector":"a"}}"#);
    let call = &provider.calls(DEREGISTER)[0];
    assert_eq!(call.header("content-type"), Some("application/json"));
    assert!(call.header("user-agent").unwrap().starts_with("authz-sidecar/"));
}

#[tokio::test]
async fn p1_only_200_is_an_acknowledgement() {
    let provider = Provider::start();
    let agentex = agentex(&provider, "");
    let table = [
        (201, ErrorKind::Unexpected, true),
        (202, ErrorKind::Unexpected, true),
        (204, ErrorKind::Unexpected, true),
        (307, ErrorKind::Unexpected, true),
        (400, ErrorKind::Unexpected, true),
        (401, ErrorKind::Unauthenticated, false),
        (403, ErrorKind::Refused, false),
        (404, ErrorKind::Unexpected, true),
        (409, ErrorKind::Unexpected, true),
        (422, ErrorKind::Unexpected, true),
        (429, ErrorKind::Unexpected, true),
        (500, ErrorKind::Unavailable, true),
        (502, ErrorKind::Unavailable, true),
        (503, ErrorKind::Unavailable, true),
        (599, ErrorKind::Unavailable, true),
    ];
    for (status, kind, ambiguous) in table {
        provider.register().once().answers(status);
        let error = failing(&agentex).await;
        assert_eq!((error.kind, error.ambiguous), (kind, ambiguous), "{status}");
        assert_eq!(kind.retry(), kind == ErrorKind::Unavailable);
        assert!(error.detail.contains(&status.to_string()));
    }
    assert_eq!(provider.calls(REGISTER).len(), table.len(), "one attempt each");
}

#[tokio::test]
async fn the_body_of_a_success_is_not_read() {
    let provider = Provider::start();
    let agentex = agentex(&provider, "");
    provider.register().once().garbage_body();
    register(&agentex).await.unwrap();
    provider.register().once().answers_with(200, "");
    register(&agentex).await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let provider = Provider::start();
    let location = format!(
        "HTTP/1.1 307 T\r\nlocation: {}/elsewhere\r\ncontent-length: 0\r\n\r\n",
        provider.url()
    );
    provider.register().once().raw(location.as_bytes(), false);
    assert_eq!(failing(&agentex(&provider, "")).await.kind, ErrorKind::Unexpected);
    assert_eq!(provider.all_calls().len(), 1);
}

#[tokio::test]
async fn a_broken_exchange_is_unavailable_ambiguous_and_never_repeated_by_the_pool() {
    let provider = Provider::start();
    let agentex = agentex(&provider, "");
    // Warm the pool: a reused connection is where a careless client sends a POST twice.
    register(&agentex).await.unwrap();
    provider.clear_calls();
    provider.register().once().closes_before();
    provider.register().once().closes_after();
    provider.register().once().garbage_http();
    provider.register().once().cuts_body();
    for _ in 0..4 {
        let error = failing(&agentex).await;
        assert_eq!((error.kind, error.ambiguous), (ErrorKind::Unavailable, true), "{error}");
    }
    assert_eq!(provider.calls(REGISTER).len(), 4);
    register(&agentex).await.unwrap();
}

#[tokio::test]
async fn p8_an_endless_answer_is_cut_off() {
    let provider = Provider::start();
    let body = format!("\"{}\"", "x".repeat(2 << 20));
    provider.register().once().answers_with(200, &body);
    let error = failing(&agentex(&provider, "")).await;
    assert_eq!((error.kind, error.ambiguous), (ErrorKind::Unavailable, true));
    assert!(error.detail.contains("too large"), "{error}");
}

#[tokio::test]
async fn p3_a_register_that_timed_out_may_land_late_and_says_so() {
    let provider = Provider::start();
    let gate = provider.register().once().lands_after();
    let error = failing(&agentex(&provider, "timeout: 1s")).await;
    assert_eq!((error.kind, error.ambiguous), (ErrorKind::Unavailable, true));
    assert_eq!(gate.arrivals(), 1);
    assert!(provider.registered().is_empty());
    gate.release();
    provider.wait_until(|p| p.registered().contains("api_key:k1")).await;
    assert_eq!(provider.parent_of("api_key:k1").as_deref(), Some("agent:a1"));
}

#[tokio::test]
async fn what_was_never_sent_is_not_ambiguous() {
    let provider = Provider::start();
    provider.down();
    let error = failing(&agentex(&provider, "")).await;
    assert_eq!((error.kind, error.ambiguous), (ErrorKind::Unavailable, false), "{error}");
}

#[tokio::test]
async fn trace_context_is_passed_on() {
    let provider = Provider::start();
    let agentex = agentex(&provider, "");
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", "00-1-2-01".parse().unwrap());
    headers.insert("x-user-id", "u".parse().unwrap());
    TraceContext::of(&headers).scope(register(&agentex)).await.unwrap();
    register(&agentex).await.unwrap();
    let calls = provider.calls(REGISTER);
    assert_eq!(calls[0].header("traceparent"), Some("00-1-2-01"));
    assert_eq!(calls[0].header("x-user-id"), None);
    assert_eq!(calls[1].header("traceparent"), None);
}

#[tokio::test]
async fn p9_calls_are_counted_by_how_they_end() {
    let provider = Provider::start();
    let mut registry = Registry::default();
    let metered = Metered::new(agentex(&provider, ""), Metrics::new(&mut registry));
    provider.register().once().answers(403);
    let key = resource("api_key", "k1");
    assert!(metered.register(&principal(SECRET), &key, None).await.is_err());
    metered.register(&principal(SECRET), &key, None).await.unwrap();
    metered.deregister(&principal(SECRET), &key).await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"authz_calls_total{operation="register",result="refused"} 1"#,
        r#"authz_calls_total{operation="register",result="ok"} 1"#,
        r#"authz_calls_total{operation="deregister",result="ok"} 1"#,
        r#"authz_call_seconds_count{operation="register"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("k1"));
}

#[tokio::test]
async fn the_double_is_down_and_up_on_one_port() {
    let provider = Provider::start();
    let agentex = agentex(&provider, "");
    for _ in 0..5 {
        register(&agentex).await.unwrap();
        provider.down();
        // The first call may still go into a connection whose end the pool has not seen yet.
        failing(&agentex).await;
        assert!(!failing(&agentex).await.ambiguous);
        provider.up();
    }
    provider.register().delays(Duration::from_millis(1));
    register(&agentex).await.unwrap();
}
