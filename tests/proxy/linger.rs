//! Answers that come before their request has: whoever is still sending must be able to read them. A
//! connection that is closed while something is on its way is reset, and what was not yet read is lost.

use std::time::{Duration, Instant};

use authz_sidecar::upstream::Body;
use http::Response;
use tokio::net::TcpSocket;

use super::support::{Service, Setup, Sidecar, Wire, soon, until};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// More than the kernel takes of a body that nobody reads.
const LONG: usize = 32 << 20;

/// Sends `head` and a body, and reads the answer once all was sent.
async fn answer_at_last(sidecar: &Sidecar, head: &str) -> String {
    let mut client = sidecar.client().await;
    client.send(head).await;
    assert!(all_sent(&mut client).await, "reset while the client sent: {head:.60}");
    client.rest().await
}

/// Sends `head`, reads the answer, and goes on sending.
async fn answer_at_once(sidecar: &Sidecar, head: &str) -> String {
    let mut client = sidecar.client().await;
    client.send(head).await;
    let answer = client.rest().await;
    assert!(all_sent(&mut client).await, "reset behind the answer: {head:.60}");
    answer
}

/// Whether more can be sent than the kernel takes by itself.
async fn all_sent(client: &mut Wire) -> bool {
    let piece = vec![b'x'; 64 << 10];
    for _ in 0..LONG / piece.len() {
        if !client.try_send(&piece).await {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn p6_who_is_refused_while_sending_can_read_why() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let length = format!("content-length: {LONG}");
    for (head, status) in [
        // The limit of bodies, a path with two readings, a coding that nobody reads, no request at all, and a
        // head over the limit.
        (format!("POST /keys HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n"), "413"),
        (
            format!(
                "POST /keys HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n{length}\r\n\r\n"
            ),
            "413",
        ),
        (format!("POST //keys HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n"), "400"),
        ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n".into(), "501"),
        ("this is no HTTP\r\n\r\n".into(), "400"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "x".repeat(128 << 10)), "431"),
    ] {
        let status = format!("HTTP/1.1 {status} ");
        for answer in [answer_at_last(&sidecar, &head).await, answer_at_once(&sidecar, &head).await]
        {
            assert!(answer.starts_with(&status), "{head:.60}: {answer}");
        }
    }
    // Behind requests that were answered, also those for an upgrade, of which nothing came.
    for before in [GET, "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"]
    {
        let mut client = sidecar.client().await;
        client.exchange(before).await;
        client.send("this is no HTTP\r\n\r\n").await;
        assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
        assert!(all_sent(&mut client).await, "reset behind the answer: {before}");
    }
    until(|| sidecar.counts("connections 0")).await;
}

/// Nobody who has sent all waits for anything.
#[tokio::test]
async fn p8_a_connection_without_anything_on_its_way_closes_at_once() {
    let service = Service::echo().await;
    let made = |_| async { Response::new(Body::whole("made".into(), None)) };
    let sidecar = Setup::default().intercept(made).start(&service.endpoint());
    for request in [
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        "POST /keys HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\nx\r\n0\r\na: b\r\n\r\n",
    ] {
        let mut client = sidecar.client().await;
        client.send(request).await;
        client.head().await;
        let start = Instant::now();
        until(|| sidecar.counts("connections 0")).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{request}");
    }
}

#[tokio::test]
async fn p8_who_stays_behind_a_refusal_costs_a_connection_for_seconds_only() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let head = format!("POST /keys HTTP/1.1\r\nhost: x\r\ncontent-length: {LONG}\r\n\r\n");
    let mut client = sidecar.client().await;
    client.send(head).await;
    client.head().await;
    until(|| sidecar.counts("connections 0")).await;
}

/// The same towards the service: it answers, and closes with the body on its way.
#[tokio::test]
async fn p6_a_service_that_answers_and_closes_while_the_client_sends_is_heard() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.exactly(1 << 10).await;
        wire.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
            .await;
    })
    .await;
    for _ in 0..20 {
        let sidecar = Setup::default().start(&service.endpoint());
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {LONG}\r\n\r\n");
        let answer = answer_at_last(&sidecar, &head).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"), "{answer}");
    }
}

/// hyper reads a short body that nobody wants, and the connection is as good as any.
#[tokio::test]
async fn p8_connections_that_wait_for_a_request_close_at_once_when_the_sidecar_stops() {
    // Nobody listens there, and nobody else can.
    let gone = TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    let mut sidecar = Setup::default().start(&endpoint);
    let mut clients = Vec::new();
    for target in ["/", "//keys"] {
        let mut client = sidecar.client().await;
        let request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi");
        let (head, _) = client.exchange(&request).await;
        assert!(head.starts_with("HTTP/1.1 502 ") || head.starts_with("HTTP/1.1 400 "), "{head}");
        let (head, _) = client.exchange(GET).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        client.exchange(&request).await;
        clients.push(client);
    }
    let start = Instant::now();
    sidecar.stop.cancel();
    soon(&mut sidecar.ended).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
