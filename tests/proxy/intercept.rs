//! Requests that a rule matches, up to where the saga takes them and from where it answers.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use authz_sidecar::model::{ByteSize, Span};
use authz_sidecar::upstream::Body;
use bytes::Bytes;
use http::{Request, Response};

use super::support::{Service, Setup, Sidecar, soon, until};

/// A sidecar whose saga keeps what it gets and answers "made".
async fn keeping(setup: Setup) -> (Sidecar, Arc<Mutex<Vec<Request<Bytes>>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let service = Service::echo().await;
    let sidecar = setup
        .intercept(move |request| {
            keep.lock().unwrap().push(request);
            async { Response::new(Body::whole("made".into(), None)) }
        })
        .start(&service.endpoint());
    (sidecar, kept)
}

#[tokio::test]
async fn a_saga_gets_the_request_as_it_is_to_go_out() {
    let (sidecar, kept) = keeping(Setup::default()).await;
    let sent = "POST http://other/keys?x=%2F HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n\
        transfer-encoding: chunked\r\nconnection: x-hop\r\nx-hop: 1\r\nauthorization: a\r\n\
        accept-encoding: gzip, lz4\r\nx-forwarded-for: 10.0.0.1\r\ntrailer: x\r\n\r\n";
    let mut client = sidecar.client().await;
    client.send(sent).await;
    client.until("100 Continue\r\n\r\n").await;
    let (head, body) = client.exchange("2\r\nab\r\n1\r\nc\r\n0\r\nx: y\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "made");
    let request = kept.lock().unwrap().pop().unwrap();
    assert_eq!(request.uri(), "/keys?x=%2F");
    assert_eq!(request.body(), "abc");
    let mut headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let expected = [
        "accept-encoding: gzip",
        "authorization: a",
        "content-length: 3",
        "host: h",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
    ];
    assert_eq!(headers, expected);
    assert!(sidecar.counts("requests_total{outcome=\"intercepted\"} 1"));
}

#[tokio::test]
async fn p8_a_body_over_the_limit_is_a_413_and_goes_nowhere() {
    let mut setup = Setup::default();
    setup.config.intercepted_body = ByteSize(4);
    let (sidecar, kept) = keeping(setup).await;
    let announced = "POST /keys HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde";
    let chunked = "POST /keys HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for request in [announced, chunked] {
        let (head, body) = sidecar.get(request).await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        assert!(body.contains("body-too-large"));
    }
    assert!(kept.lock().unwrap().is_empty());
    let fits = "POST /keys HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabcd";
    assert_eq!(sidecar.get(fits).await.1, "made");
}

#[tokio::test]
async fn a_body_that_is_cut_or_late_goes_nowhere() {
    let mut setup = Setup::default();
    setup.config.intercepted_body_timeout = Span(Duration::from_millis(200));
    let (sidecar, kept) = keeping(setup).await;
    let half = "POST /keys HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab";
    let mut cut = sidecar.client().await;
    cut.send(half).await;
    cut.finish().await;
    assert!(cut.rest().await.starts_with("HTTP/1.1 400 "));
    let (head, _) = sidecar.get(half).await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(kept.lock().unwrap().is_empty());
}

const POST: &str = "POST /keys HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn p1_a_client_that_hangs_up_changes_nothing() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let begun = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let (count, done) = (Arc::clone(&begun), Arc::clone(&ended));
    let service = Service::echo().await;
    let setup = Setup { drain: Duration::ZERO, ..Setup::default() };
    let mut sidecar = setup
        .intercept(move |_| {
            let (mut gate, done) = (gate.clone(), Arc::clone(&done));
            count.fetch_add(1, SeqCst);
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                done.fetch_add(1, SeqCst);
                Response::new(Body::whole(Bytes::new(), None))
            }
        })
        .start(&service.endpoint());
    let mut client = sidecar.client().await;
    client.send(POST).await;
    until(|| begun.load(SeqCst) == 1).await;
    drop(client);
    // Not even the end of the proxy's own workers does, which drops all that is theirs.
    sidecar.stop.cancel();
    soon(&mut sidecar.ended).await.unwrap().unwrap();
    go.send(true).unwrap();
    until(|| ended.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn p8_sagas_beyond_the_limit_are_refused_before_anything_is_sent() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let service = Service::echo().await;
    let mut setup = Setup::default();
    setup.config.intercepted = 1;
    let sidecar = setup
        .intercept(move |_| {
            let mut gate = gate.clone();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                Response::new(Body::whole("made".into(), None))
            }
        })
        .start(&service.endpoint());
    let mut first = sidecar.client().await;
    first.send(POST).await;
    until(|| sidecar.counts("requests_total{outcome=\"intercepted\"} 1")).await;
    let (head, body) = sidecar.get(POST).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.contains("overloaded"));
    // Traffic that no rule matches is not concerned.
    assert!(sidecar.get("GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await.0.starts_with("HTTP/1.1 200"));
    go.send(true).unwrap();
    soon(first.head()).await;
    assert_eq!(sidecar.get(POST).await.1, "made");
}

#[tokio::test]
async fn a_saga_that_panics_is_a_500() {
    let service = Service::echo().await;
    let sidecar = Setup::default()
        .intercept(|_| async { panic!("as the test wants it") })
        .start(&service.endpoint());
    let (head, _) = sidecar.get(POST).await;
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
}
