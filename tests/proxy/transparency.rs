//! Promise P6: what no rule matches passes as it is.

use super::support::{Service, Setup, Sidecar, Wire, header, soon};

#[tokio::test]
async fn p6_an_answer_is_streamed_as_it_comes() {
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    let held = std::sync::Mutex::new(Some(held));
    let service = Service::scripted(move |mut wire, _| {
        let held = held.lock().unwrap().take();
        async move {
            wire.head().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n").await;
            wire.send("transfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n").await;
            held.unwrap().await.unwrap();
            wire.send("1\r\n1\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.until("6\r\ndata: \r\n").await;
    release.send(()).unwrap();
    client.until("1\r\n1\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn p6_a_request_is_streamed_as_it_comes() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.until("3\r\none\r\n").await;
        // The service answers before the request is complete; both go on.
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        wire.until("3\r\ntwo\r\n0\r\n\r\n").await;
        wire.send("1\r\nb\r\n0\r\n\r\n").await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client
        .send("PUT /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        .await;
    client.until("1\r\na\r\n").await;
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    client.until("1\r\nb\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn p6_trailers_pass_both_ways() {
    let service = Service::scripted(|mut wire, _| async move {
        let head = wire.head().await;
        assert_eq!(header(&head, "trailer").as_deref(), Some("X-Sum"));
        assert_eq!(header(&head, "te").as_deref(), Some("trailers"));
        wire.until("1\r\na\r\n0\r\nx-sum: 1\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\ntrailer: X-End\r\ntransfer-encoding: chunked\r\n\r\n").await;
        wire.send("1\r\nb\r\n0\r\nx-end: 2\r\n\r\n").await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("POST /x HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: te\r\n").await;
    client.send("trailer: X-Sum\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    client.until("1\r\nb\r\n0\r\nx-end: 2\r\n\r\n").await;
}

/// Deviation: hyper passes only trailers that a `Trailer` header announced.
#[tokio::test]
async fn deviation_unannounced_trailers_are_dropped() {
    let service = Service::says(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nx-end: 2\r\n\r\n",
    )
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("GET /x HTTP/1.1\r\nhost: x\r\nte: trailers\r\n\r\n").await;
    client.until("1\r\nb\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn p6_a_get_keeps_a_chunked_body() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.until("1\r\na\r\n0\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let request =
        "GET /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let (head, _) = Sidecar::before(&service).get(request).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn p6_the_head_passes_as_it_came() {
    let service = Service::echo().await;
    let request = "GET //a%2Fb/%7e;p?q=%20&&x#y HTTP/1.1\r\nhost: Keys.Example:81\r\naccept: a\r\n\
        accept: b\r\ntraceparent: 00-0-0-00\r\ntracestate: a=b\r\nexpect: 100-continue\r\n\r\n";
    let (_, seen) = Sidecar::before(&service).get(request).await;
    // The fragment goes: hyper drops what no client may send.
    assert!(seen.starts_with("GET //a%2Fb/%7e;p?q=%20&&x HTTP/1.1\r\n"), "{seen}");
    let others = "accept: a\r\naccept: b\r\ntraceparent: 00-0-0-00\r\ntracestate: a=b\r\n\
        expect: 100-continue\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n\r\n";
    assert!(seen.ends_with(&format!("host: Keys.Example:81\r\n{others}")), "{seen}");
}

#[tokio::test]
async fn p6_an_answers_head_passes_as_it_came() {
    let answer = "HTTP/1.1 299 All Fine\r\ncontent-length: 0\r\nset-cookie: a\r\nset-cookie: b\r\n\
        server: s\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\r\n";
    let service = Service::says(answer).await;
    let (head, _) = Sidecar::before(&service).get("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let expected = "HTTP/1.1 299 All Fine\r\nset-cookie: a\r\nset-cookie: b\r\nserver: s\r\n\
        content-length: 0\r\n\r\n";
    assert_eq!(head, expected);
}

#[tokio::test]
async fn p6_an_http_1_0_client_without_host_stays_one() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("GET /old HTTP/1.0\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\nGET /old HTTP/1.0\r\nx-forwarded-for"), "{answer}");
}

#[tokio::test]
async fn p6_answers_without_a_body_have_none() {
    let service = Service::scripted(|mut wire, _| async move {
        while let Some(head) = wire.try_until("\r\n\r\n").await {
            let answer = match head.split(' ').nth(1) {
                Some("/head") => "200 OK\r\ncontent-length: 7\r\n\r\n",
                Some("/204") => "204 No Content\r\n\r\n",
                Some("/304") => "304 Not Modified\r\netag: \"e\"\r\n\r\n",
                _ => "200 OK\r\ncontent-length: 4\r\n\r\nlast",
            };
            wire.send(format!("HTTP/1.1 {answer}")).await;
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    for (request, expected) in [
        ("HEAD /head", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
        ("GET /204", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET /304", "HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\n\r\n"),
        ("GET /200", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"),
    ] {
        client.send(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!(client.head().await, expected);
    }
    assert_eq!(client.exactly(4).await, b"last");
    assert_eq!(service.connections(), 1, "none of them may cost the connection");
}

/// Deviation: a 304 may tell the length of what it stands for; hyper drops that.
#[tokio::test]
async fn deviation_a_304_loses_its_content_length() {
    let service = Service::says("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n").await;
    let (head, _) = Sidecar::before(&service).get("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(head, "HTTP/1.1 304 Not Modified\r\n\r\n");
}

/// Deviation: header names go on in lower case, which HTTP says is the same.
#[tokio::test]
async fn deviation_header_names_are_lower_case() {
    let service = Service::echo().await;
    let (_, seen) =
        Sidecar::before(&service).get("GET / HTTP/1.1\r\nHost: x\r\nX-CamelCase: V\r\n\r\n").await;
    assert!(seen.contains("\r\nx-camelcase: V\r\n"), "{seen}");
}

/// What the service says of its connection holds for the client's: it reuses what it would without the
/// sidecar.
#[tokio::test]
async fn p6_where_the_service_closes_the_connection_so_does_the_sidecar() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nconnection: X, Close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let service = Service::says(answer).await;
        let sidecar = Sidecar::before(&service);
        let mut client = sidecar.client().await;
        client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let seen = client.rest().await;
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n") && seen.ends_with("\r\n\r\nok"), "{seen}");
        assert_eq!(header(&seen, "connection").as_deref(), Some("close"), "{answer}");
    }
    let kept = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok";
    let sidecar = Sidecar::before(&Service::says(kept).await);
    let mut client = sidecar.client().await;
    for _ in 0..2 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.1, "ok");
    }
}

/// Deviation: what the service ends by closing goes on in chunks, and the connection ends with it.
#[tokio::test]
async fn deviation_an_answer_that_ends_with_its_connection_is_chunked() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\n\r\nok").await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let seen = client.rest().await;
    assert!(seen.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{seen}");
    assert_eq!(header(&seen, "transfer-encoding").as_deref(), Some("chunked"));
    let mut old = sidecar.client().await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    let seen = old.rest().await;
    assert!(seen.ends_with("\r\n\r\nok"), "a client of HTTP/1.0 knows no chunks: {seen}");
    assert_eq!(header(&seen, "transfer-encoding"), None);
}

#[tokio::test]
async fn p6_connections_to_the_service_are_used_again() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    for _ in 0..20 {
        sidecar.get("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    }
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn p6_a_client_may_close_its_sending_side() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.finish().await;
    assert!(client.rest().await.ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn p6_a_unix_socket_is_as_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire::new(stream);
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    });
    let sidecar = Setup::default().start(&format!("unix:{}", path.display()));
    let (_, body) = sidecar.get("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(body, "ok");
}

const LARGE: usize = 64 << 20;

/// Both ways at once: each end has a piece come before it sends the next. (`tests/transparency/bulk.rs`
/// measures the memory, of a process that does nothing else.)
#[tokio::test]
async fn p8_large_bodies_pass_without_being_held() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        for _ in 0..LARGE >> 16 {
            let piece = wire.exactly(1 << 16).await;
            wire.send(piece).await;
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(format!("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    let piece = vec![b'x'; 1 << 16];
    client.send(&piece).await;
    client.head().await;
    for _ in 1..LARGE >> 16 {
        client.send(&piece).await;
        assert_eq!(client.exactly(1 << 16).await, piece);
    }
    soon(client.exactly(1 << 16)).await;
}
