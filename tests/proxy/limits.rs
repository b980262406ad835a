//! Bounds (promise P8), faults of our own, and the end.

use std::time::{Duration, Instant};

use authz_sidecar::model::{ByteSize, Span};

use super::support::{Service, Setup, Sidecar, Wire, soon, until};

const GET: &str = "GET /x HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn p8_a_head_over_the_limits_is_a_431() {
    let service = Service::echo().await;
    let mut setup = Setup::default();
    setup.config.header_bytes = ByteSize(16 << 10);
    setup.config.header_count = 10;
    let sidecar = setup.start(&service.endpoint());
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(17 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(10));
    for request in [large, many] {
        let mut client = sidecar.client().await;
        client.send(request).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    until(|| sidecar.counts("connection_errors_total{reason=\"head-too-large\"} 2")).await;
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn p8_a_head_that_does_not_come_costs_no_connection() {
    let service = Service::echo().await;
    let mut setup = Setup::default();
    setup.config.header_timeout = Span(Duration::from_millis(150));
    let sidecar = setup.start(&service.endpoint());
    let mut silent = sidecar.client().await;
    let mut slow = sidecar.client().await;
    let mut idle = sidecar.client().await;
    slow.send("GET / HTTP/1.1\r\nx").await;
    idle.exchange(GET).await;
    for client in [&mut silent, &mut slow, &mut idle] {
        assert_eq!(client.rest().await, "");
    }
    until(|| sidecar.counts("connections 0")).await;
    assert!(sidecar.counts("connection_errors_total{reason=\"head-timeout\"} 3"));
}

#[tokio::test]
async fn a_kept_connection_lives_as_long_as_it_is_used() {
    let service = Service::echo().await;
    let mut setup = Setup::default();
    setup.config.header_timeout = Span(Duration::from_secs(1));
    let sidecar = setup.start(&service.endpoint());
    let mut client = sidecar.client().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        client.exchange(GET).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Its answer came before its body has. A client that is slow is heard; one that sends no more is cut.
#[tokio::test]
async fn p8_a_body_that_stops_behind_its_answer_costs_no_connection() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut setup = Setup::default();
    setup.config.response_timeout = Span(Duration::from_secs(1));
    let sidecar = setup.start(&service.endpoint());
    for framing in ["content-length: 100", "expect: 100-continue\r\ncontent-length: 100"] {
        let mut client = sidecar.client().await;
        client.send(format!("PUT / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 413 "));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            client.send("x").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        until(|| sidecar.counts("connections 1")).await;
        assert_eq!(client.rest().await, "");
        until(|| sidecar.counts("connections 0")).await;
    }
}

#[tokio::test]
async fn p8_connections_beyond_the_limit_wait() {
    let service = Service::echo().await;
    let mut setup = Setup::default();
    setup.config.connections = 2;
    setup.config.workers = Some(2);
    let sidecar = setup.start(&service.endpoint());
    let mut first = sidecar.client().await;
    first.exchange(GET).await;
    let mut second = sidecar.client().await;
    second.exchange(GET).await;
    let mut third = sidecar.client().await;
    third.send(GET).await;
    let waits = tokio::time::timeout(Duration::from_millis(200), third.head()).await;
    assert!(waits.is_err());
    drop(first);
    third.head().await;
}

#[tokio::test]
async fn a_fault_of_the_sidecar_costs_one_request() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    let (head, body) = client.exchange("GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert!(body.contains("urn:authz-sidecar:problem:internal"), "{body}");
    client.exchange(GET).await;
}

/// A service that answers `/slow` when it is told to.
async fn on_demand() -> (Service, tokio::sync::watch::Sender<bool>) {
    let (tell, told) = tokio::sync::watch::channel(false);
    let service = Service::scripted(move |mut wire, _| {
        let mut told = told.clone();
        async move {
            wire.head().await;
            let _ = told.wait_for(|go| *go).await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
        }
    })
    .await;
    (service, tell)
}

#[tokio::test]
async fn requests_under_way_finish_when_the_sidecar_stops() {
    let (service, tell) = on_demand().await;
    let mut sidecar = Sidecar::before(&service);
    let mut idle = sidecar.client().await;
    let mut busy = sidecar.client().await;
    busy.send(GET).await;
    until(|| service.connections() == 1).await;
    sidecar.stop.cancel();
    assert_eq!(idle.rest().await, "", "an idle connection closes at once");
    let refused = soon(async {
        while tokio::net::TcpStream::connect(sidecar.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    refused.await;
    tell.send(true).unwrap();
    let answer = busy.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("done"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    soon(&mut sidecar.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn p8_draining_has_a_hard_end() {
    let (service, _tell) = on_demand().await;
    let setup = Setup { drain: Duration::from_millis(100), ..Setup::default() };
    let mut sidecar = setup.start(&service.endpoint());
    let mut stuck: Wire = sidecar.client().await;
    stuck.send(GET).await;
    until(|| service.connections() == 1).await;
    let start = Instant::now();
    sidecar.stop.cancel();
    soon(&mut sidecar.ended).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(stuck.rest().await, "");
    assert!(sidecar.counts("connections 0"));
}
