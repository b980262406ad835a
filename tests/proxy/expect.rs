//! `Expect: 100-continue` (P6): whether a body is sent at all is between client and service.

use std::time::{Duration, Instant};

use crate::http2_frames::{DATA, HEADERS, block};
use crate::http2_wire::Http2Wire;
use crate::support::{Service, Sidecar};

const ASKS: &str =
    "PUT /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn p6_a_body_that_the_service_wants_is_asked_for_once() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send(CONTINUE).await;
        wire.until("body").await;
        wire.send(FINE).await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    let asked = Instant::now();
    client.send(ASKS).await;
    assert_eq!(client.head().await, CONTINUE);
    assert!(asked.elapsed() < Duration::from_secs(1), "by the sidecar's patience, not the service");
    client.send("body").await;
    assert_eq!(client.head().await, FINE);
}

/// Where the sidecar said 100 by itself, the client would see that first, and send for nothing.
#[tokio::test]
async fn p6_a_body_that_the_service_refuses_is_not_asked_for() {
    let service = Service::says(REFUSED).await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(ASKS).await;
    assert_eq!(client.head().await, REFUSED);
}

/// A client may have begun to send when the refusal comes. It goes where it would without the
/// sidecar, and what is behind it on the connection is the next request.
#[tokio::test]
async fn p6_a_refused_body_that_is_sent_all_the_same_passes() {
    let (arrived, mut body) = tokio::sync::mpsc::unbounded_channel();
    let service = Service::scripted(move |mut wire, _| {
        let arrived = arrived.clone();
        async move {
            while let Some(head) = wire.try_until("\r\n\r\n").await {
                if head.starts_with("PUT ") {
                    wire.send(REFUSED).await;
                    arrived.send(wire.exactly(4).await).unwrap();
                } else {
                    wire.send(FINE).await;
                }
            }
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(ASKS).await;
    assert_eq!(client.head().await, REFUSED);
    client.send("bodyGET /x HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(client.head().await, FINE);
    assert_eq!(body.recv().await.unwrap(), b"body");
}

/// A service need not know of the header. Then the sidecar says 100 after a second: hyper can't
/// send a body without.
#[tokio::test]
async fn deviation_where_the_service_stays_silent_the_sidecar_asks_for_the_body() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.until("body").await;
        wire.send(FINE).await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(ASKS).await;
    assert_eq!(client.head().await, CONTINUE);
    client.send("body").await;
    assert_eq!(client.head().await, FINE);
}

/// A client that waits for nothing is asked for nothing that it has sent already.
#[tokio::test]
async fn p6_a_client_that_does_not_wait_is_served() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.until("body").await;
        wire.send(FINE).await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(format!("{ASKS}body")).await;
    client.until(FINE).await;
}

/// Deviation: hyper's server can send no other interim answer than 100.
#[tokio::test]
async fn deviation_other_interim_answers_are_dropped() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n").await;
        wire.send("HTTP/1.1 102 Processing\r\n\r\n").await;
        wire.send(FINE).await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(client.head().await, FINE);
}

/// Deviation: hyper's server says no 100 to a client that speaks HTTP/2. Such a client goes on by
/// itself after a while (RFC 9110 §10.1.1).
#[tokio::test]
async fn deviation_a_client_of_http_2_gets_no_100() {
    let (asked, asks) = tokio::sync::oneshot::channel();
    let asked = std::sync::Mutex::new(Some(asked));
    let service = Service::scripted(move |mut wire, _| {
        let asked = asked.lock().unwrap().take();
        async move {
            wire.head().await;
            wire.send(CONTINUE).await;
            asked.unwrap().send(()).unwrap();
            wire.until("body").await;
            wire.send(FINE).await;
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = Http2Wire::connect(sidecar.address).await;
    let put = [(":method", "PUT"), (":scheme", "http"), (":path", "/"), (":authority", "k")];
    let expecting = [&put[..], &[("expect", "100-continue"), ("content-length", "4")]].concat();
    assert!(client.try_send(HEADERS, 0x4, 1, &block(&expecting)).await);
    asks.await.unwrap();
    assert!(client.try_send(DATA, 0x1, 1, b"body").await);
    let first = client.frame_of(HEADERS).await.unwrap();
    assert_eq!(first.payload[0], 0x88, "`:status: 200` of HPACK's static table");
}

/// Deviation: hyper's server closes a connection between messages only.
#[tokio::test]
async fn deviation_a_connection_closes_only_when_the_body_has_come() {
    let service = Service::says(REFUSED).await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client
        .send("PUT /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\n")
        .await;
    client.until("\r\n\r\n").await;
    let ends = tokio::time::timeout(Duration::from_millis(200), client.try_until("x"));
    assert!(ends.await.is_err(), "hyper has learnt it: amend docs/DEVIATIONS.md");
    client.send("body").await;
    assert_eq!(client.rest().await, "");
}
