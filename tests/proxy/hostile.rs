//! What a hostile client sends (promise P5), as far as the proxy alone answers for it.

use authz_sidecar::rules::Dialect;

use super::support::{Service, Setup, Sidecar, header, until};

#[tokio::test]
async fn forwarding_headers_of_an_untrusted_client_do_not_pass() {
    let service = Service::echo().await;
    let spoofed = "GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 10.0.0.1\r\nX_Forwarded_Proto: https\r\n\
        forwarded: for=10.0.0.1\r\nx-real-ip: 10.0.0.1\r\nx-forwarded-host: evil\r\n\r\n";
    let (_, seen) = Sidecar::before(&service).get(spoofed).await;
    assert_eq!(header(&seen, "x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(header(&seen, "x-forwarded-proto").as_deref(), Some("http"));
    for gone in ["x_forwarded_proto", "forwarded", "x-real-ip", "x-forwarded-host"] {
        assert_eq!(header(&seen, gone), None);
    }
}

#[tokio::test]
async fn forwarding_headers_of_a_trusted_peer_pass() {
    let service = Service::echo().await;
    let setup = Setup { trust: vec!["127.0.0.0/8"], ..Setup::default() };
    let sent = "GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\n\r\n";
    let (_, seen) = setup.start(&service.endpoint()).get(sent).await;
    assert_eq!(header(&seen, "x-forwarded-for").as_deref(), Some("10.0.0.1, 127.0.0.1"));
    assert_eq!(header(&seen, "x-forwarded-proto").as_deref(), Some("https"));
}

#[tokio::test]
async fn p5_connection_strips_no_credential_and_no_forwarding_header() {
    let service = Service::echo().await;
    let sent = "GET / HTTP/1.1\r\nhost: x\r\nauthorization: a\r\nx-mine-too: b\r\nx-other: c\r\n\
        connection: authorization, host, x-forwarded-for, X-Mine-Too, x-other\r\n\r\n";
    let (_, seen) = Sidecar::before(&service).get(sent).await;
    for stays in ["authorization", "host", "x-mine-too", "x-forwarded-for"] {
        assert!(header(&seen, stays).is_some(), "{stays}");
    }
    assert_eq!(header(&seen, "x-other"), None);
    assert_eq!(header(&seen, "connection"), None);
}

#[tokio::test]
async fn p5_an_upgrade_to_anything_but_a_websocket_never_reaches_the_service() {
    let service = Service::echo().await;
    let listed = ["connection: upgrade, http2-settings\r\n", ""];
    for (token, connection) in ["h2c", "h2c, websocket", "made-up"]
        .into_iter()
        .flat_map(|token| listed.map(|list| (token, list)))
    {
        let sent = format!(
            "GET / HTTP/1.1\r\nhost: x\r\n{connection}upgrade: {token}\r\n\
             http2-settings: x\r\n\r\n"
        );
        let (_, seen) = Sidecar::before(&service).get(&sent).await;
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(header(&seen, gone), None);
        }
    }
}

#[tokio::test]
async fn p5_targets_without_a_path_are_refused() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    for (target, status) in [
        ("CONNECT x:80", 501),
        ("CONNECT /keys", 400),
        ("POST keys", 400),
        ("POST %2Fkeys", 400),
        ("POST x:80", 400),
        ("POST *", 400),
    ] {
        let request = format!("{target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let (head, _) = sidecar.get(&request).await;
        let refused =
            head.starts_with(&format!("HTTP/1.1 {status} ")) || head.starts_with("HTTP/1.1 501");
        assert!(refused, "{target}: {head}");
    }
    let (head, _) = sidecar.get("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"));
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn p5_a_path_of_two_readings_is_refused_and_counted() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    let odd = [
        "//keys",
        "/keys%0A",
        "/x/%2e%2e/keys",
        "/keys%5C..%5Ckeys",
        "/.%2Fkeys",
        "http://h//keys",
        "//h/keys",
        "/\\h/keys",
    ];
    for target in odd {
        let request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let (head, body) = sidecar.get(&request).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{target}: {head}");
        assert!(body.contains("ambiguous-path"), "{target}: {body}");
    }
    assert!(sidecar.counts(&format!("refused_total{{reason=\"ambiguous-path\"}} {}", odd.len())));
    assert_eq!(service.connections(), 0);
}

/// hypercorn makes `Post` a POST; who takes it for another method answers 405.
#[tokio::test]
async fn p5_a_rules_method_in_small_letters_is_refused_and_counted() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    for start in ["post /keys", "Post /keys", "POSt //keys"] {
        let request = format!("{start} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let (head, body) = sidecar.get(&request).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{start}: {head}");
        assert!(body.contains("bad-request"), "{start}: {body}");
    }
    assert!(sidecar.counts("refused_total{reason=\"bad-request\"} 3"));
    assert_eq!(service.connections(), 0);
    for start in ["get /keys", "post /other", "Put /keys"] {
        let request = format!("{start} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let (head, _) = sidecar.get(&request).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "P6, {start}: {head}");
    }
}

#[tokio::test]
async fn p5_in_the_strict_dialect_no_header_makes_a_rule_s_request_of_another() {
    let service = Service::echo().await;
    let setup = Setup { dialect: Dialect::Strict, ..Setup::default() };
    let sidecar = setup.start(&service.endpoint());
    let made = [
        ("PUT /keys", "x-http-method-override: post"),
        ("GET /keys?_method=POST", ""),
        ("POST /other", "x-original-url: /keys"),
        ("PUT /other?x&%5Fmethod=post", "x_rewrite_url: http://h/keys?x"),
        ("POST /other", "x-original-url: /keys?next=https://h/y"),
        ("POST /other", "x-original-url: //keys"),
        ("OPTIONS *", "x-method-override: POST\r\nx-original-url: /keys"),
        // A create that becomes something else must not be registered.
        ("POST /keys", "x-http-method: GET"),
        ("POST /keys", "x-rewrite-url: /other"),
    ];
    let request = |(start, header): (&str, &str)| {
        let (end, lines) = ("content-length: 0\r\n\r\n", format!("host: x\r\n{header}\r\n"));
        let lines = lines.replace("\r\n\r\n", "\r\n");
        format!("{start} HTTP/1.1\r\n{lines}{end}")
    };
    for one in made {
        let (head, body) = sidecar.get(&request(one)).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{one:?}: {head}");
        assert!(body.contains("ambiguous-path"), "{one:?}: {body}");
    }
    assert!(sidecar.counts(&format!("refused_total{{reason=\"ambiguous-path\"}} {}", made.len())));
    assert_eq!(service.connections(), 0);
    for one in [("POST /other", "x-http-method-override: put"), ("GET /keys?_method=PUT", "")] {
        let (head, _) = sidecar.get(&request(one)).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "P6, {one:?}: {head}");
    }
}

/// hyper undoes the chunks and would leave `gzip` to nobody. Nor is anything behind a `CONNECT` a
/// request: it would be bytes of a tunnel.
#[tokio::test]
async fn p5_where_a_request_may_end_elsewhere_nothing_behind_it_is_read() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    for head in [
        "POST /x HTTP/1.1\r\ntransfer-encoding: gzip, chunked",
        "POST /x HTTP/1.1\r\ntransfer-encoding: identity, chunked",
        "POST /x HTTP/1.1\r\ntransfer-encoding: chunked, chunked",
        "POST /x HTTP/1.1\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "CONNECT x:80 HTTP/1.1\r\ntransfer-encoding: chunked",
        "CONNECT /x HTTP/1.1\r\ncontent-length: 5",
    ] {
        let mut client = sidecar.client().await;
        let hidden = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";
        client.send(format!("{head}\r\nhost: x\r\n\r\n0\r\n\r\n{hidden}")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{head}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head}: {answer}");
    }
    assert!(sidecar.counts("refused_total{reason=\"not-implemented\"} 7"));
    assert_eq!(service.connections(), 0);
}

/// Deviation: of a request with both framings hyper drops the `Content-Length` and closes the
/// connection afterwards (RFC 9112 §6.3 allows it); what goes on has one framing only.
#[tokio::test]
async fn deviation_two_framings_become_one() {
    let service = Service::scripted(|mut wire, _| async move {
        let head = wire.head().await;
        assert_eq!(header(&head, "content-length"), None);
        wire.until("1\r\na\r\n0\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(wire.rest().await, "", "no second request");
    })
    .await;
    let sidecar = Sidecar::before(&service);
    let mut client = sidecar.client().await;
    client.send("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("1\r\na\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = client.rest().await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"));
}

#[tokio::test]
async fn p5_what_has_no_clear_framing_is_refused() {
    let service = Service::echo().await;
    let sidecar = Sidecar::before(&service);
    for headers in [
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: +1\r\n",
        "content-length: 1, 2\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: gzip\r\n",
        "x: a\r\n b\r\n",
        "x: a\0b\r\n",
        "x : a\r\n",
        "x: a\rb\r\n",
    ] {
        let mut client = sidecar.client().await;
        client.send(format!("POST /x HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers:?}: {answer}");
    }
    until(|| sidecar.counts("connection_errors_total{reason=\"malformed\"} 9")).await;
    assert_eq!(service.connections(), 0);
}
