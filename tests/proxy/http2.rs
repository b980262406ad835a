//! HTTP/2 with prior knowledge: the same requests, the same decisions (P5, P6), the same bounds
//! (P8).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use authz_sidecar::model::Span;
use authz_sidecar::proxy::Config;
use authz_sidecar::upstream::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::http2_frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, block};
use crate::http2_wire::{GOAWAY, Http2Wire, RST_STREAM};
use crate::support::{Service, Setup, Sidecar, header, soon};

type Sender = SendRequest<BoxBody<Bytes, std::io::Error>>;

async fn connected(sidecar: &Sidecar) -> Sender {
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

fn whole(body: &'static str) -> BoxBody<Bytes, std::io::Error> {
    Full::from(body).map_err(|never| match never {}).boxed()
}

/// A body that the test sends piece by piece.
fn streamed() -> (mpsc::Sender<Frame<Bytes>>, BoxBody<Bytes, std::io::Error>) {
    let (sender, mut frames) = mpsc::channel(1);
    let stream = futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx));
    (sender, BodyExt::boxed(StreamBody::new(stream.map(Ok))))
}

async fn text(response: Response<Incoming>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn p6_an_h2_request_reaches_the_service_as_one_of_http_1_1() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut client = connected(&sidecar).await;
    let request = Request::get("http://keys:5003/a%2Fb?x=%20")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-mine", "1")
        .body(whole(""))
        .unwrap();
    let response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = text(response).await;
    assert!(seen.starts_with("GET /a%2Fb?x=%20 HTTP/1.1\r\n"), "{seen}");
    for (name, value) in [("host", "keys:5003"), ("cookie", "a=1; b=2"), ("x-mine", "1")] {
        assert_eq!(header(&seen, name).as_deref(), Some(value), "{seen}");
    }
}

#[tokio::test]
async fn p6_bodies_and_trailers_stream_both_ways_over_h2() {
    let service = Service::scripted(|mut wire, _| async move {
        let head = wire.head().await;
        assert_eq!(header(&head, "transfer-encoding").as_deref(), Some("chunked"), "{head}");
        wire.until("3\r\none\r\n").await;
        wire.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             5\r\nfirst\r\n",
        )
        .await;
        wire.until("3\r\ntwo\r\n").await;
        wire.until("0\r\nx-end: 1\r\n\r\n").await;
        wire.send("4\r\nlast\r\n0\r\nx-sum: 9\r\n\r\n").await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = connected(&sidecar).await;
    let (pieces, body) = streamed();
    let request = Request::post("http://x/up").header("trailer", "x-end").body(body).unwrap();
    let response = tokio::spawn(client.send_request(request));
    pieces.send(Frame::data("one".into())).await.unwrap();
    let mut answer = soon(response).await.unwrap().unwrap().into_body();
    let first = soon(answer.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first", "before the request has ended");
    pieces.send(Frame::data("two".into())).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", "1".parse().unwrap());
    pieces.send(Frame::trailers(trailers)).await.unwrap();
    drop(pieces);
    let rest = soon(answer.collect()).await.unwrap();
    assert_eq!(rest.trailers().unwrap()["x-sum"], "9");
    assert_eq!(rest.to_bytes(), "last");
}

/// The service's connection is one stream's only.
#[tokio::test]
async fn p6_where_the_service_closes_its_connection_an_h2_client_keeps_its_own() {
    let closes = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let service = Service::says(closes).await;
    let sidecar = Sidecar::before(&service);
    let mut client = connected(&sidecar).await;
    for _ in 0..3 {
        let request = Request::get("http://x/").body(whole("")).unwrap();
        let response = soon(client.send_request(request)).await.unwrap();
        assert_eq!(response.headers().get("connection"), None);
        assert_eq!(text(response).await, "ok");
    }
}

#[tokio::test]
async fn p5_an_h2_request_is_intercepted_like_any_other() {
    let service = Service::echo().await;
    let seen = Arc::new(Mutex::new(None));
    let shared = Arc::clone(&seen);
    let setup = Setup::default().intercept(move |request| {
        *shared.lock().unwrap() = Some(request);
        async { Response::new(Body::whole("made".into(), None)) }
    });
    let sidecar = setup.start(&service.endpoint());
    let mut client = connected(&sidecar).await;
    let request = Request::post("http://keys/%6beys?q=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(whole("{}"))
        .unwrap();
    let response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(text(response).await, "made");
    let request = seen.lock().unwrap().take().unwrap();
    assert_eq!(
        (request.uri().to_string().as_str(), request.body().as_ref()),
        ("/%6beys?q=1", &b"{}"[..])
    );
    assert_eq!(request.headers()["host"], "keys");
    assert_eq!(request.headers()["content-length"], "2");
    let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn p6_a_slow_stream_holds_up_no_other() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let service = Service::scripted(move |mut wire, _| {
        let mut gate = gate.clone();
        async move {
            while let Some(head) = wire.try_until("\r\n\r\n").await {
                if head.starts_with("GET /slow") {
                    gate.wait_for(|open| *open).await.unwrap();
                }
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = connected(&sidecar).await;
    let get = |path: &str| Request::get(format!("http://x{path}")).body(whole("")).unwrap();
    let slow = tokio::spawn(client.send_request(get("/slow")));
    for _ in 0..20 {
        let fast = soon(client.send_request(get("/fast"))).await.unwrap();
        assert_eq!(text(fast).await, "ok");
    }
    assert!(!slow.is_finished());
    open.send(true).unwrap();
    assert_eq!(text(soon(slow).await.unwrap().unwrap()).await, "ok");
}

#[tokio::test]
async fn p5_mischief_with_pseudo_headers_reaches_no_service() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let get = (":method", "GET");
    let plain = [get, (":scheme", "http"), (":path", "/"), (":authority", "keys")];
    let with = |extra: &[(&'static str, &'static str)]| [&plain[..], extra].concat();
    let path = |path| vec![get, (":scheme", "http"), (":path", path), (":authority", "keys")];
    for bad in [
        path("keys"),
        path(""),
        path("http://other/keys"),
        path("*"),
        path("?/keys"),
        vec![get, (":scheme", "http"), (":authority", "keys")],
        vec![(":scheme", "http"), (":path", "/"), (":authority", "keys")],
        vec![get, (":scheme", "http"), (":path", "/")],
        vec![(":method", "CONNECT"), (":authority", "keys")],
        with(&[("host", "other")]),
        with(&[("host", "keys"), ("host", "keys")]),
        with(&[(":path", "/other")]),
        with(&[(":status", "200")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("X-Upper", "1")]),
        with(&[("x y", "1")]),
        with(&[("x-nul", "a\0b")]),
        with(&[("x-line", "a\r\nx-other: 1")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "")]),
        [("x-first", "1")].into_iter().chain(plain).collect(),
    ] {
        let mut wire = Http2Wire::connect(sidecar.address).await;
        wire.request(1, &bad).await;
        wire.refused(1).await.unwrap_or_else(|served| panic!("{bad:?}: {served}"));
    }
    assert_eq!(service.connections(), 0);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    wire.request(1, &plain).await;
    assert!(wire.refused(1).await.is_err(), "this one is served");
}

/// h2 forgets what is wrong with the beginning of a head whose frame ends within a field. Then what is
/// wrong must be gone too.
#[tokio::test]
async fn p5_what_is_wrong_in_a_head_of_several_frames_reaches_no_service() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let plain = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "keys")];
    let wrong = [(":path", "/other"), (":method", "POST"), ("transfer-encoding", "chunked")];
    let more = [("connection", "x-user-id"), ("upgrade", "websocket"), ("x-user-id", "alice")];
    let head = block(&[&plain[..], &[("x-first", "1")], &wrong, &more].concat());
    let (first, rest) = head.split_at(head.len() - 3);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    assert!(wire.try_send(HEADERS, END_STREAM, 1, first).await);
    assert!(wire.try_send(CONTINUATION, END_HEADERS, 1, rest).await);
    if let Err(served) = wire.refused(1).await {
        assert!(served.contains("GET / HTTP/1.1\r\n"), "{served}");
        assert!(served.contains("x-user-id: alice\r\n"), "{served}");
        for gone in ["/other", "POST", "transfer-encoding", "connection", "upgrade"] {
            assert!(!served.contains(gone), "{gone}: {served}");
        }
    }
}

#[tokio::test]
async fn a_preface_that_comes_in_pieces_is_one() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut wire = Http2Wire::in_pieces(sidecar.address).await;
    wire.request(
        1,
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "k")],
    )
    .await;
    assert!(wire.refused(1).await.is_err(), "it is served");
    let (head, _) = sidecar.get("PRIVATE / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "a method that begins alike: {head}");
}

#[tokio::test]
async fn http_2_can_be_switched_off() {
    let service = Service::echo().await;
    let config = Config { workers: Some(1), http2: false, ..Config::default() };
    let sidecar = Setup { config, ..Setup::default() }.start(&service.endpoint());
    let mut client = sidecar.client().await;
    client.try_send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let rest = client.rest().await;
    assert!(!rest.contains(" 200 "), "{rest}");
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn p8_an_h2_connection_without_streams_ends() {
    let service = Service::echo().await;
    let limit = Span(Duration::from_millis(200));
    let config = Config { workers: Some(1), header_timeout: limit, ..Config::default() };
    let sidecar = Setup { config, ..Setup::default() }.start(&service.endpoint());
    let mut wire = Http2Wire::connect(sidecar.address).await;
    assert!(wire.until(GOAWAY).await, "no GOAWAY");
    let mut silent = sidecar.client().await;
    assert_eq!(soon(silent.rest()).await, "", "who says nothing at all is cut too");
}

/// As over HTTP/1.1; crumbs of a cookie are one header.
#[tokio::test]
async fn p8_more_headers_than_the_limit_are_a_431() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut client = connected(&sidecar).await;
    for (name, status) in [("x-many", 431), ("cookie", 200)] {
        let mut request = Request::get("http://keys/");
        for number in 0..101 {
            request = request.header(name, format!("a={number}"));
        }
        let response = soon(client.send_request(request.body(whole("")).unwrap())).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
    }
    assert!(sidecar.counts("refused_total{reason=\"head-too-large\"} 1"));
}

#[tokio::test]
async fn p8_streams_beyond_the_limit_are_refused() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let config = Config { workers: Some(1), streams: 2, ..Config::default() };
    let sidecar = Setup { config, ..Setup::default() }.start(&service.endpoint());
    let mut wire = Http2Wire::connect(sidecar.address).await;
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "k")];
    for stream in [1, 3, 5] {
        wire.request(stream, &head).await;
    }
    assert_eq!(wire.frame_of(RST_STREAM).await.unwrap().stream, 5);
    crate::support::until(|| service.connections() == 2).await;
}

#[tokio::test]
async fn p8_rapid_resets_end_the_connection_and_harm_no_other() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    let head =
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "k")]);
    for n in 0..20_000u32 {
        let stream = 2 * n + 1;
        if !wire.try_send(HEADERS, END_HEADERS | END_STREAM, stream, &head).await
            || !wire.try_send(RST_STREAM, 0, stream, &8u32.to_be_bytes()).await
        {
            break;
        }
    }
    assert!(wire.until(GOAWAY).await, "no GOAWAY");
    let (answer, _) = sidecar.get("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn p8_a_header_block_without_end_ends_the_connection() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut wire = Http2Wire::connect(sidecar.address).await;
    let head =
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "k")]);
    assert!(wire.try_send(HEADERS, END_STREAM, 1, &head).await);
    let more = block(&[("x-more", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]);
    let more = more.repeat(100);
    let sent = async { while wire.try_send(CONTINUATION, 0, 1, &more).await {} };
    soon(sent).await;
    assert_eq!(service.connections(), 0);
    let (answer, _) = sidecar.get("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn h2_requests_under_way_finish_when_the_sidecar_stops() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let service = Service::scripted(move |mut wire, _| {
        let mut gate = gate.clone();
        async move {
            wire.head().await;
            gate.wait_for(|open| *open).await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let mut sidecar = Sidecar::before(&service);
    let mut client = connected(&sidecar).await;
    let request = Request::get("http://x/").body(whole("")).unwrap();
    let answer = tokio::spawn(client.send_request(request));
    crate::support::until(|| service.connections() == 1).await;
    sidecar.stop.cancel();
    open.send(true).unwrap();
    assert_eq!(text(soon(answer).await.unwrap().unwrap()).await, "ok");
    soon(&mut sidecar.ended).await.unwrap().unwrap();
}
