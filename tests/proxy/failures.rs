//! When the service or the client breaks off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use authz_sidecar::model::Span;
use authz_sidecar::proxy::Config;
use authz_sidecar::upstream;

use super::support::{Service, Setup, Sidecar, header};

const GET: &str = "GET /x HTTP/1.1\r\nhost: x\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";

fn problem(answer: &(String, String)) -> (u16, String) {
    let (head, body) = answer;
    assert_eq!(header(head, "content-type").as_deref(), Some("application/problem+json"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let kind = body["type"].as_str().unwrap();
    let status = body["status"].as_u64().unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")));
    (u16::try_from(status).unwrap(), kind.rsplit(':').next().unwrap().to_owned())
}

fn impatient(limit: Duration) -> Setup {
    let mut setup = Setup::default();
    setup.config = Config { response_timeout: Span(limit), ..setup.config };
    setup
}

#[tokio::test]
async fn a_service_that_is_down_is_a_502() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sidecar = Setup::default().start(&format!("http://{gone}"));
    assert_eq!(problem(&sidecar.get(POST).await), (502, "upstream-unreachable".into()));
    assert!(sidecar.counts("refused_total{reason=\"upstream-unreachable\"} 1"));
    assert!(sidecar.counts("requests_total{outcome=\"unmatched\"} 1"));
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_a_504() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.rest().await;
    })
    .await;
    let sidecar = impatient(Duration::from_millis(100)).start(&service.endpoint());
    assert_eq!(problem(&sidecar.get(GET).await), (504, "upstream-timeout".into()));
    assert_eq!(problem(&sidecar.get(POST).await), (504, "upstream-timeout".into()));
}

#[tokio::test]
async fn a_slow_body_is_not_a_slow_answer_but_a_stopped_one_is_a_408() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.until("1234").await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let sidecar = impatient(Duration::from_secs(1)).start(&service.endpoint());
    let mut client = sidecar.client().await;
    client.send("PUT /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n").await;
    for piece in ["1", "2", "3", "4"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send(piece).await;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    let stopped = "PUT /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n12";
    assert_eq!(problem(&sidecar.get(stopped).await), (408, "body-timeout".into()));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_502() {
    let service = Service::says("NONSENSE\r\n\r\n").await;
    let sidecar = Sidecar::before(&service);
    assert_eq!(problem(&sidecar.get(GET).await), (502, "upstream-invalid".into()));
    let service = Service::says("HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    let sidecar = Sidecar::before(&service);
    assert_eq!(problem(&sidecar.get(GET).await), (502, "upstream-invalid".into()));
}

#[tokio::test]
async fn an_answer_that_is_cut_is_cut_for_the_client_too() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
    ] {
        let service = Service::scripted(move |mut wire, _| async move {
            wire.head().await;
            wire.send(answer).await;
        })
        .await;
        let sidecar = Sidecar::before(&service);
        let mut client = sidecar.client().await;
        client.send(GET).await;
        let got = client.rest().await;
        assert!(got.contains("half"), "{got}");
        assert!(!got.contains("0\r\n\r\n") || answer.contains("length"), "{got}");
        assert!(!got.ends_with("0\r\n\r\n"), "it must not look complete: {got}");
    }
}

#[tokio::test]
async fn p8_a_silent_answer_is_cut_where_that_is_configured() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        wire.rest().await;
    })
    .await;
    let mut setup = Setup::default();
    setup.config.response_idle_timeout = Some(Span(Duration::from_millis(100)));
    let sidecar = setup.start(&service.endpoint());
    let mut client = sidecar.client().await;
    client.send(GET).await;
    assert!(client.rest().await.ends_with("half"));
}

/// A service that answers the first request on its first connection, and closes it when it has
/// read the second.
async fn closes_on_second() -> (Service, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let service = Service::scripted(move |mut wire, number| {
        let count = Arc::clone(&count);
        async move {
            while let Some(head) = wire.try_until("\r\n\r\n").await {
                if head.starts_with("POST") {
                    wire.exactly(2).await;
                }
                if count.fetch_add(1, SeqCst) == 1 && number == 0 {
                    return;
                }
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    (service, seen)
}

#[tokio::test]
async fn p2_a_post_is_never_sent_twice() {
    let (service, seen) = closes_on_second().await;
    let sidecar = Sidecar::before(&service);
    sidecar.get(GET).await;
    assert_eq!(problem(&sidecar.get(POST).await), (502, "upstream-cut".into()));
    assert_eq!((seen.load(SeqCst), service.connections()), (2, 1));
}

#[tokio::test]
async fn a_get_on_a_stale_connection_is_sent_once_more() {
    let (service, seen) = closes_on_second().await;
    let sidecar = Sidecar::before(&service);
    sidecar.get(GET).await;
    let (head, _) = sidecar.get(GET).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!((seen.load(SeqCst), service.connections()), (3, 2));
}

#[tokio::test]
async fn a_get_on_a_new_connection_is_not_repeated() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    assert_eq!(problem(&sidecar.get(GET).await), (502, "upstream-cut".into()));
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn a_post_takes_a_fresh_connection_sooner_than_a_get() {
    let service = Service::scripted(|mut wire, _| async move {
        while let Some(head) = wire.try_until("\r\n\r\n").await {
            if head.starts_with("POST") {
                wire.exactly(2).await;
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let setup = Setup {
        upstream: upstream::Config {
            idle_timeout_unsafe: Span(Duration::from_secs(1)),
            ..upstream::Config::default()
        },
        ..Setup::default()
    };
    let sidecar = setup.start(&service.endpoint());
    sidecar.get(GET).await;
    sidecar.get(POST).await;
    assert_eq!(service.connections(), 1);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    sidecar.get(GET).await;
    assert_eq!(service.connections(), 1);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    sidecar.get(POST).await;
    assert_eq!(service.connections(), 2);
}

#[tokio::test]
async fn a_client_that_hangs_up_closes_the_services_connection() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let service = Service::scripted(move |mut wire, _| {
        let told = told.clone();
        async move {
            wire.head().await;
            let line = vec![b'x'; 1 << 16];
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
            while wire.try_send(&line).await {}
            told.send(()).unwrap();
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(GET).await;
    client.head().await;
    drop(client);
    super::support::soon(heard.recv()).await.unwrap();
}

/// Deviation: TCP doesn't tell a client that went away from one that only sends no more. So that it
/// went is noticed when there is something to write, and the service works for nobody until then.
#[tokio::test]
async fn deviation_a_client_that_went_away_is_missed_when_it_is_answered() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let service = Service::scripted(move |mut wire, _| {
        let told = told.clone();
        async move {
            wire.head().await;
            told.send("works").unwrap();
            let ends =
                tokio::time::timeout(Duration::from_millis(200), wire.try_until("\r\n")).await;
            told.send(if ends.is_ok() { "is told" } else { "is not told" }).unwrap();
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(GET).await;
    assert_eq!(heard.recv().await, Some("works"));
    drop(client);
    assert_eq!(heard.recv().await, Some("is not told"));
}
