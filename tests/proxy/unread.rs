//! Answers that their client does not take (promise P8): each holds a connection to the service.

use std::time::{Duration, Instant};

use authz_sidecar::model::Span;

use super::http2_frames::{DATA, END_HEADERS, HEADERS, SETTINGS, block};
use super::http2_wire::{Http2Wire, RST_STREAM};
use super::support::{Service, Setup, Sidecar, soon, until};

/// More than the buffers of three sockets hold.
const LARGE: usize = 32 << 20;

const LIMIT: Duration = Duration::from_secs(1);

/// Large answers to `/large`; ends of answers to `/late` that come well after the limit.
async fn service() -> Service {
    Service::scripted(|mut wire, _| async move {
        while let Some(head) = wire.try_until("\r\n\r\n").await {
            let length = if head.starts_with("GET /large") { LARGE } else { 8 };
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
            if head.starts_with("GET /late") {
                wire.send("half").await;
                tokio::time::sleep(2 * LIMIT).await;
                wire.send("half").await;
            } else if !wire.waits_to_send(&vec![b'x'; length]).await {
                return;
            }
        }
    })
    .await
}

/// With one connection to the service.
fn sidecar(service: &Service, header_timeout: Duration) -> Sidecar {
    with_connections(1, service, header_timeout)
}

fn with_connections(count: usize, service: &Service, header_timeout: Duration) -> Sidecar {
    let mut setup = Setup::default();
    setup.upstream.max_connections = count;
    setup.config.send_timeout = Span(LIMIT);
    setup.config.header_timeout = Span(header_timeout);
    setup.start(&service.endpoint())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

fn h2_get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "x")]
}

/// Waits until others get an answer.
async fn is_served(sidecar: &Sidecar) {
    let served = async { while !sidecar.get(&get("/")).await.0.starts_with("HTTP/1.1 200 ") {} };
    soon(served).await;
}

#[tokio::test]
async fn p8_a_client_that_reads_nothing_of_its_answer_is_cut_and_others_are_served() {
    let service = service().await;
    let sidecar = sidecar(&service, LIMIT * 100);
    let mut unread = sidecar.client().await;
    unread.send(get("/large")).await;
    until(|| service.connections() == 1).await;
    is_served(&sidecar).await;
    until(|| sidecar.counts("connection_errors_total{reason=\"answer-unread\"} 1")).await;
    assert!(unread.rest().await.len() < LARGE, "it ended early");
}

#[tokio::test]
async fn p8_a_stream_whose_answer_is_not_read_is_reset_and_others_are_served() {
    let service = service().await;
    let sidecar = sidecar(&service, LIMIT * 100);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    wire.request(1, &h2_get("/large")).await;
    assert_eq!(wire.frame_of(RST_STREAM).await.unwrap().stream, 1);
    assert!(sidecar.counts("connection_errors_total{reason=\"answer-unread\"} 1"));
    is_served(&sidecar).await;
    wire.grant(0, 1 << 20).await;
    wire.request(3, &h2_get("/")).await;
    while wire.frame_of(DATA).await.expect("the connection goes on").stream != 3 {}
}

/// As one must be that is read, on the same connection, and waits for its turn.
#[tokio::test]
async fn p8_a_stream_that_is_not_read_is_reset_later_where_another_is_read() {
    let service = service().await;
    let sidecar = with_connections(2, &service, LIMIT * 100);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    wire.grant(0, 1 << 30).await;
    let start = Instant::now();
    wire.request(1, &h2_get("/large")).await;
    wire.request(3, &h2_get("/large")).await;
    let mut came = 0;
    while !sidecar.counts("connection_errors_total{reason=\"answer-unread\"} 1") {
        let data = wire.frame_of(DATA).await.expect("the connection goes on");
        // Slowly enough to take longer than any stream is waited for.
        if data.stream == 3 && came < LARGE - (1 << 20) {
            came += data.payload.len();
            wire.grant(3, data.payload.len().try_into().unwrap()).await;
            tokio::time::sleep(LIMIT / 100).await;
        }
    }
    assert!(start.elapsed() > 2 * LIMIT, "the other one was read");
    assert_eq!(wire.frame_of(DATA).await.expect("the other one goes on").stream, 3);
}

#[tokio::test]
async fn p6_a_client_that_reads_slowly_gets_all_of_its_answer() {
    let service = service().await;
    let sidecar = sidecar(&service, LIMIT * 100);
    let mut slow = sidecar.client().await;
    slow.send(get("/large")).await;
    slow.head().await;
    for _ in 0..LARGE / (1 << 20) {
        tokio::time::sleep(LIMIT / 5).await;
        slow.exactly(1 << 20).await;
    }
    assert!(sidecar.counts("connections 1"));
}

#[tokio::test]
async fn p6_a_stream_that_is_read_slowly_gets_all_of_its_answer() {
    let service = service().await;
    let sidecar = sidecar(&service, LIMIT * 100);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    wire.grant(0, 1 << 30).await;
    wire.request(1, &h2_get("/large")).await;
    let (mut came, mut granted) = (0, 65_535);
    while came < LARGE {
        while came < granted {
            came += wire.frame_of(DATA).await.expect("all of the answer").payload.len();
        }
        if came < 20 << 16 {
            tokio::time::sleep(LIMIT / 5).await;
        }
        wire.grant(1, 1 << 16).await;
        granted = LARGE.min(granted + (1 << 16));
    }
}

#[tokio::test]
async fn p6_what_the_service_takes_its_time_for_is_not_held_against_the_client() {
    let service = service().await;
    let sidecar = sidecar(&service, LIMIT * 100);
    let mut client = sidecar.client().await;
    assert_eq!(client.exchange(&get("/late")).await.1, "halfhalf");
    let mut wire = Http2Wire::connect(sidecar.address).await;
    wire.request(1, &h2_get("/late")).await;
    let mut came = Vec::new();
    while came.len() < 8 {
        came.extend(wire.frame_of(DATA).await.expect("all of the answer").payload);
    }
}

/// The service has given them all, and the streams are done with: they are memory alone.
#[tokio::test]
async fn p8_a_connection_whose_last_answers_are_not_read_ends() {
    let service = service().await;
    let sidecar = sidecar(&service, LIMIT / 5);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    // For the rest of an answer whose first byte was let in there is memory.
    assert!(wire.try_send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]).await, "a window of one byte");
    wire.request(1, &h2_get("/")).await;
    until(|| sidecar.counts("connections 1")).await;
    assert!(wire.frame_of(RST_STREAM).await.is_none(), "the stream is done with");
    until(|| sidecar.counts("connections 0")).await;
    assert!(sidecar.counts("connection_errors_total{reason=\"answer-unread\"} 1"));
}

/// As over HTTP/1.1; nothing of the answer is left then.
#[tokio::test]
async fn p6_an_upload_goes_on_behind_its_answer() {
    const PIECES: usize = 40;
    let (done, is_done) = tokio::sync::watch::channel(false);
    let service = Service::scripted(move |mut wire, _| {
        let done = done.clone();
        async move {
            wire.head().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            wire.exactly(PIECES * 100).await;
            done.send_replace(true);
        }
    })
    .await;
    let sidecar = sidecar(&service, LIMIT / 5);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    let length = (PIECES * 100).to_string();
    let head = [&h2_get("/up")[1..], &[(":method", "PUT"), ("content-length", &length)]].concat();
    assert!(wire.try_send(HEADERS, END_HEADERS, 1, &block(&head)).await);
    assert!(wire.frame_of(HEADERS).await.is_some(), "it is answered at once");
    for _ in 0..PIECES {
        tokio::time::sleep(LIMIT / 10).await;
        assert!(wire.try_send(DATA, 0, 1, &[b'x'; 100]).await);
    }
    until(|| *is_done.borrow()).await;
}
