//! The JSON client under the back ends: kinds of failure, and what may have been sent.

use std::time::Duration;

use authz_sidecar::http::ErrorKind::{Cut, Invalid, Timeout, TooLarge};
use authz_sidecar::http::{Answer, Config, Error, ErrorKind, JsonClient};
use bytes::Bytes;
use http::HeaderMap;

use crate::support::provider::{AUTHN, PATIENCE, Provider};

fn client(provider: &Provider, config: Config) -> JsonClient {
    JsonClient::new(provider.url().parse().unwrap(), config).unwrap()
}

async fn ask(client: &JsonClient, timeout: Duration) -> Result<Answer, Error> {
    let mut headers = HeaderMap::new();
    headers.insert("x-user-id", "s3cret-user".parse().unwrap());
    client.post(AUTHN, headers, Bytes::new(), timeout).await
}

#[tokio::test]
async fn each_failure_has_its_kind_and_tells_no_secret() {
    let provider = Provider::start();
    let config = Config { answer_limit: 1_000, ..Config::default() };
    let client = client(&provider, config);
    let long = "x".repeat(1_001);
    provider.authn().once().closes_before();
    provider.authn().once().cuts_body();
    provider.authn().once().answers_with(200, &long);
    provider.authn().once().garbage_http();
    provider.authn().once().lands_after();
    let mut kinds = Vec::new();
    for _ in 0..5 {
        let error = ask(&client, Duration::from_millis(200)).await.unwrap_err();
        assert!(error.ambiguous, "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "p7");
        kinds.push(error.kind);
    }
    assert_eq!(kinds, [Cut, Cut, TooLarge, Invalid, Timeout]);
    let answer = ask(&client, PATIENCE).await.unwrap();
    assert!(!format!("{answer:?} {client:?}").contains("s3cret"), "p7");
    provider.down();
    ask(&client, PATIENCE).await.unwrap_err();
    let error = ask(&client, PATIENCE).await.unwrap_err();
    assert_eq!((error.kind, error.ambiguous), (ErrorKind::Connect, false));
}

#[tokio::test]
async fn p8_calls_beyond_the_bound_wait_their_turn_within_their_time_out() {
    let provider = Provider::start();
    let client = client(&provider, Config { concurrency: 1, ..Config::default() });
    let gate = provider.authn().once().holds();
    let first = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, PATIENCE).await }
    });
    gate.arrived(1).await;
    let error = ask(&client, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!((error.kind, error.ambiguous), (ErrorKind::Timeout, false));
    assert_eq!(provider.calls(AUTHN).len(), 1);
    gate.release();
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    assert_eq!(ask(&client, PATIENCE).await.unwrap().status, 200);
}
