//! What is kept, for how long, and what never is.

use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::principal::{Error, Metrics, Resolver};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use crate::support::provider::{AUTHN, PATIENCE, Provider};
use crate::{TestClock, World, config, headers};

const U: &[(&str, &str)] = &[("x-user-id", "u")];

#[tokio::test]
async fn concurrent_misses_are_one_call() {
    let world = World::new();
    let gate = world.provider.authn().once().holds();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let resolver = world.resolver.clone();
        callers.spawn(async move { resolver.resolve(&headers(U)).await.is_ok() });
    }
    gate.arrived(1).await;
    gate.release();
    assert!(callers.join_all().await.into_iter().all(|ok| ok));
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_wait_and_by_no_one_after() {
    let world = World::new();
    world.provider.authn().once().answers(503);
    let (first, second) = (headers(U), headers(U));
    let both = tokio::join!(world.resolver.resolve(&first), world.resolver.resolve(&second));
    assert!(both.0.is_err() && both.1.is_err());
    assert_eq!(world.calls(), 1);
    world.who(U).await;
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_the_call_for_no_one() {
    let world = World::new();
    let gate = world.provider.authn().once().holds();
    let resolver = world.resolver.clone();
    let first = tokio::spawn(async move { resolver.resolve(&headers(U)).await });
    gate.arrived(1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.release();
    world.who(U).await;
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_success_is_kept_for_its_time_to_live_and_no_longer() {
    let world = World::with("", "cache: { ttl: 700ms }");
    world.who(U).await;
    world.who(U).await;
    assert!(world.calls() <= 1, "not kept at all");
    asked_again(&world, U).await;
}

#[tokio::test]
async fn a_401_and_a_403_are_kept_briefly() {
    for status in [401, 403] {
        let world = World::with("", "cache: { rejected_ttl: 700ms }");
        world.provider.authn().answers(status);
        let ask = || async { world.resolver.resolve(&headers(U)).await.unwrap_err() };
        assert_eq!(ask().await, Error::Unauthenticated);
        assert_eq!(ask().await, Error::Unauthenticated);
        assert_eq!(world.calls(), 1);
        world.provider.authn().reset();
        asked_again(&world, U).await;
        world.who(U).await;
    }
}

/// Polls until authn is asked for the second time.
async fn asked_again(world: &World, pairs: &[(&str, &str)]) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while world.calls() < 2 {
        assert!(std::time::Instant::now() < deadline, "kept for ever");
        let _ = world.resolver.resolve(&headers(pairs)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn p8_refused_credentials_push_out_no_principal() {
    let world = World::with("", "cache: { capacity: 10, rejected_capacity: 10 }");
    world.who(U).await;
    for n in 0..200 {
        let stranger = headers(&[("authorization", &format!("Bearer {n}"))]);
        world.resolver.resolve(&stranger).await.unwrap_err();
    }
    assert_eq!(world.calls(), 201);
    world.who(U).await;
    assert_eq!(world.calls(), 201);
}

#[tokio::test]
async fn errors_and_time_outs_are_never_kept_and_name_url_and_status_but_no_body() {
    let world = World::with("timeout: 1s", "");
    let authn = || world.provider.authn().once();
    authn().answers_with(500, "s3cret");
    authn().answers_with(201, r#"{"user_id":"s3cret"}"#);
    authn().answers_with(204, "");
    authn().answers_with(404, "s3cret");
    authn().answers_with(200, "s3cret");
    authn().answers_with(200, r#"["s3cret"]"#);
    authn().answers_with(200, "null");
    authn().garbage_http();
    authn().closes_before();
    authn().cuts_body();
    authn().lands_after();
    for n in 1..=11 {
        let error = world.resolver.resolve(&headers(&[("x-user-id", "s3cret")])).await.unwrap_err();
        let Error::Unavailable(detail) = &error else { panic!("{error:?}") };
        assert!(detail.contains(AUTHN), "no place: {detail}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "p7: {error:?}");
        let status = [Some("500"), Some("201"), Some("204"), Some("404"), Some("200")];
        if let Some(Some(status)) = status.get(n - 1) {
            assert!(detail.contains(status), "{detail}");
        }
        assert_eq!(world.calls(), n);
    }
    world.who(&[("x-user-id", "s3cret")]).await;
    world.provider.down();
    let error = world.resolver.resolve(&headers(&[("x-user-id", "v")])).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)));
    world.who(&[("x-user-id", "s3cret")]).await;
}

#[tokio::test]
async fn nothing_is_kept_past_a_bearer_tokens_exp() {
    let world = World::new();
    let token = format!("Bearer h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"exp":1000}"#));
    let request = [("x-user-id", "u"), ("authorization", token.as_str())];
    world.clock.set(990);
    world.who(&request).await;
    world.clock.set(999);
    world.who(&request).await;
    assert_eq!(world.calls(), 1);
    world.clock.set(1000);
    world.who(&request).await;
    world.who(&request).await;
    assert_eq!(world.calls(), 3, "an expired token's principal was kept");
}

#[tokio::test]
async fn a_principal_that_carries_a_secret_is_not_kept() {
    let world = World::with("", "secret_fields: [api_key, token]");
    let table = [
        ("Bearer 1", r#"{"user_id":"u","api_key":"s3cret"}"#, 2),
        ("Bearer 2", r#"{"user_id":"u","token":{"a":1}}"#, 2),
        ("Bearer 3", r#"{"user_id":"u","api_key":null}"#, 1),
    ];
    for (credential, json, calls) in table {
        world.provider.principal(credential, json).clear_calls();
        world.who(&[("authorization", credential)]).await;
        world.who(&[("authorization", credential)]).await;
        assert_eq!(world.calls(), calls, "{json}");
    }
    let resolved = world.resolver.resolve(&headers(&[("authorization", "Bearer 1")])).await;
    assert!(!format!("{resolved:?} {:?}", world.resolver).contains("s3cret"), "p7");
}

#[tokio::test]
async fn a_401_or_403_of_the_service_drops_the_entry() {
    let world = World::new();
    let other = [("x-user-id", "v")];
    world.who(U).await;
    world.who(&other).await;
    world.resolver.forget(&headers(U)).await;
    world.who(&other).await;
    assert_eq!(world.calls(), 2);
    world.who(U).await;
    assert_eq!(world.calls(), 3);
}

#[tokio::test]
async fn what_is_forgotten_while_authn_is_asked_is_not_kept() {
    let world = World::new();
    let gate = world.provider.authn().once().holds();
    let resolver = world.resolver.clone();
    let caller = tokio::spawn(async move { resolver.resolve(&headers(U)).await });
    gate.arrived(1).await;
    world.resolver.forget(&headers(U)).await;
    gate.release();
    caller.await.unwrap().unwrap();
    world.who(U).await;
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn p8_calls_of_authn_are_bounded_and_wait_no_longer_than_their_time_out() {
    let world = World::with("timeout: 1s, max_concurrent: 1", "");
    let gate = world.provider.authn().holds();
    let (u, v) = (headers(U), headers(&[("x-user-id", "v")]));
    let both = tokio::join!(world.resolver.resolve(&u), world.resolver.resolve(&v));
    assert!(both.0.is_err() && both.1.is_err());
    assert!(gate.arrivals() >= 1);
}

#[tokio::test]
async fn p9_hits_misses_and_calls_are_counted_without_saying_whose() {
    let provider = Provider::start();
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let clock = Arc::new(TestClock::default());
    let resolver = Resolver::new(&config(&provider, "", ""), clock, metrics).unwrap();
    let user = headers(&[("x-user-id", "s3cret")]);
    let (one, two) = tokio::join!(resolver.resolve(&user), resolver.resolve(&user));
    assert!(one.is_ok() && two.is_ok());
    resolver.resolve(&user).await.unwrap();
    resolver.resolve(&headers(&[])).await.unwrap_err();
    resolver.resolve(&headers(&[])).await.unwrap_err();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"principal_lookups_total{result="miss"} 2"#,
        r#"principal_lookups_total{result="joined"} 1"#,
        r#"principal_lookups_total{result="hit"} 1"#,
        r#"principal_lookups_total{result="hit_rejected"} 1"#,
        r#"authn_calls_total{result="ok"} 1"#,
        r#"authn_calls_total{result="rejected"} 1"#,
        "authn_call_seconds_count 2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("s3cret"), "p7");
}

#[tokio::test]
async fn p7_a_planted_secret_is_in_no_log_at_any_level() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer({
            let log = log.clone();
            move || log.clone()
        })
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log works");
    let world = World::new();
    world.provider.principal("Bearer s3cret", r#"{"user_id":"u","api_key":"s3cret"}"#);
    world.who(&[("authorization", "Bearer s3cret"), ("cookie", "s3cret")]).await;
    world.provider.authn().answers_with(500, "s3cret");
    let request = headers(&[("x-user-id", "s3cret")]);
    world.resolver.resolve(&request).await.unwrap_err();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the log works"));
    assert!(!text.contains("s3cret"), "{text}");
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
