//! WebSocket upgrades: end to end where both ends agree, and nothing hidden behind them (P5, P6).

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authz_sidecar::model::Span;
use authz_sidecar::proxy::Config;
use authz_sidecar::upstream::Body;
use http::Response;

use crate::support::{Service, Setup, Sidecar, Wire, header, soon};

const ASKS: &str = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\n\
                    upgrade: WebSocket\r\nsec-websocket-key: a2V5\r\nsec-websocket-version: 13\r\n\r\n";

const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: YWNj\r\n\r\n";

/// Agrees to every upgrade, gives each request's head back, and then every byte in upper case.
async fn shouting() -> Service {
    Service::scripted(|mut wire, _| async move {
        let head = wire.head().await;
        wire.send(AGREES).await;
        wire.send(&head).await;
        while let Some(line) = wire.try_until("\n").await {
            wire.send(line.to_uppercase()).await;
        }
        wire.send("THE END").await;
    })
    .await
}

async fn upgraded(sidecar: &Sidecar) -> (Wire, String) {
    let mut client = sidecar.client().await;
    client.send(ASKS).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let seen = client.head().await;
    assert_eq!(header(&head, "sec-websocket-accept").as_deref(), Some("YWNj"));
    (client, [head, seen].concat())
}

#[tokio::test]
async fn p6_a_websocket_passes_end_to_end() {
    let service = shouting().await;
    let sidecar = Sidecar::before(&service);
    let (mut client, heads) = upgraded(&sidecar).await;
    for wanted in ["connection: upgrade", "upgrade: websocket", "sec-websocket-key: a2V5"] {
        assert!(heads.contains(wanted), "{wanted}: {heads}");
    }
    assert!(sidecar.counts("tunnels 1"));
    for line in ["one\n", "two\n"] {
        client.send(line).await;
        assert_eq!(client.until("\n").await, line.to_uppercase());
    }
    client.finish().await;
    assert_eq!(client.rest().await, "THE END", "a half-closed tunnel still speaks");
    crate::support::until(|| sidecar.counts("tunnels 0")).await;
}

/// As above with the ends changed: the service speaks no more, and goes on listening.
#[tokio::test]
async fn p6_a_websocket_that_the_service_half_closed_still_hears() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let service = Service::scripted(move |mut wire, _| {
        let tell = tell.lock().unwrap().take().unwrap();
        async move {
            wire.head().await;
            wire.send(AGREES).await;
            wire.until("one\n").await;
            wire.finish().await;
            // It listens slowly: more comes than there is room for on the way.
            tokio::time::sleep(Duration::from_millis(200)).await;
            tell.send(wire.rest().await).unwrap();
        }
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(ASKS).await;
    client.head().await;
    client.send("one\n").await;
    assert_eq!(client.rest().await, "");
    let long = "two\n".repeat(8 << 20);
    client.send(&long).await;
    client.finish().await;
    assert!(soon(told).await.unwrap() == long, "some of it is lost");
}

#[tokio::test]
async fn p8_a_websocket_ends_with_its_service_whatever_the_client_sends() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send(AGREES).await;
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(ASKS).await;
    client.head().await;
    soon(async {
        while client.try_send("more\n").await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    crate::support::until(|| sidecar.counts("tunnels 0")).await;
}

#[tokio::test]
async fn p6_bytes_right_behind_the_head_belong_to_the_websocket() {
    let service = shouting().await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send(format!("{ASKS}early\n")).await;
    client.head().await;
    client.head().await;
    assert_eq!(client.until("\n").await, "EARLY\n");
}

#[tokio::test]
async fn p5_an_upgrade_that_the_service_declines_hides_no_second_request() {
    let service = Service::echo().await;
    let saga_runs = Arc::new(AtomicUsize::new(0));
    let runs = Arc::clone(&saga_runs);
    let setup = Setup::default().intercept(move |_| {
        runs.fetch_add(1, SeqCst);
        async { Response::new(Body::whole("intercepted".into(), None)) }
    });
    let sidecar = setup.start(&service.endpoint());
    let mut client = sidecar.client().await;
    let hidden = "POST /keys HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let (head, seen) = client.exchange(&format!("{ASKS}{hidden}")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&seen, "upgrade").as_deref(), Some("websocket"));
    let (_, body) = client.exchange("").await;
    assert_eq!((body.as_str(), saga_runs.load(SeqCst)), ("intercepted", 1));
}

#[tokio::test]
async fn p5_a_connection_that_was_asked_to_upgrade_serves_no_other_request() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.exchange("GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.exchange(ASKS).await;
    assert_eq!(service.connections(), 2, "a connection of its own");
    client.exchange("GET /b HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(service.connections(), 2, "the first is used again, not the second");
}

#[tokio::test]
async fn p5_only_a_bodiless_get_for_a_websocket_keeps_its_upgrade() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let asked = "connection: upgrade\r\nupgrade: websocket\r\n";
    for sent in [
        format!("POST /ws HTTP/1.1\r\nhost: x\r\n{asked}\r\n"),
        format!("HEAD /ws HTTP/1.1\r\nhost: x\r\n{asked}\r\n"),
        format!("GET /ws HTTP/1.0\r\nhost: x\r\n{asked}\r\n"),
        format!("GET /ws HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n{asked}\r\n"),
        format!("GET /ws HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n{asked}\r\nhi"),
        format!(
            "GET /ws HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n{asked}\r\n0\r\n\r\n"
        ),
        format!("GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\n{asked}\r\n"),
        "GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n\r\n".to_owned(),
        "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket, h2c\r\n\r\n"
            .to_owned(),
    ] {
        let mut client = sidecar.client().await;
        client.send(&sent).await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "{sent}{answer}");
        if !sent.starts_with("HEAD") {
            let seen = client.head().await;
            assert_eq!(header(&seen, "upgrade"), None, "{sent}{seen}");
        }
    }
}

#[tokio::test]
async fn p5_a_101_to_another_protocol_is_no_answer() {
    let service = Service::says(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    )
    .await;
    let sidecar = Sidecar::before(&service);
    let (head, body) = sidecar.get(ASKS).await;
    assert!(head.starts_with("HTTP/1.1 502 ") && body.contains("upstream-invalid"), "{head}{body}");
    assert!(sidecar.counts("tunnels 0"));
}

#[tokio::test]
async fn p8_a_websocket_is_one_of_the_connections() {
    let service = shouting().await;
    let config = Config { workers: Some(1), connections: 1, ..Config::default() };
    let sidecar = Setup { config, ..Setup::default() }.start(&service.endpoint());
    let (first, _) = upgraded(&sidecar).await;
    let mut second = sidecar.client().await;
    second.send(ASKS).await;
    let waits = tokio::time::timeout(Duration::from_millis(200), second.head());
    assert!(waits.await.is_err(), "it waits for a place");
    drop(first);
    assert!(soon(second.head()).await.contains(" 101 "));
}

#[tokio::test]
async fn p8_a_silent_websocket_is_cut_where_a_limit_is_set() {
    let service = shouting().await;
    let limit = Some(Span(Duration::from_millis(1200)));
    let config = Config { workers: Some(1), tunnel_idle_timeout: limit, ..Config::default() };
    let sidecar = Setup { config, ..Setup::default() }.start(&service.endpoint());
    let (mut client, _) = upgraded(&sidecar).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send("beat\n").await;
        assert_eq!(client.until("\n").await, "BEAT\n", "who speaks is not cut");
    }
    assert_eq!(soon(client.rest()).await, "");
}

#[tokio::test]
async fn p8_a_websocket_ends_with_the_drain() {
    let service = shouting().await;
    let setup = Setup { drain: Duration::from_millis(1500), ..Setup::default() };
    let mut sidecar = setup.start(&service.endpoint());
    let (mut client, _) = upgraded(&sidecar).await;
    sidecar.stop.cancel();
    client.send("late\n").await;
    assert_eq!(client.until("\n").await, "LATE\n", "until then it goes on");
    soon(&mut sidecar.ended).await.unwrap().unwrap();
    assert_eq!(soon(client.rest()).await, "");
}
