//! What the two HTTP parsers let through.

use crate::support::service::{Options, Service};

const BODY: &str = r#"{"agent_id":"agent-a1","name":"n"}"#;

fn post(target: &str, extra: &str, newline: &str) -> String {
    let length = BODY.len();
    [
        &format!("POST {target} HTTP/1.1"),
        "Host: h",
        "Connection: close",
        "Content-Type: application/json",
        &format!("Content-Length: {length}{extra}"),
        "",
        BODY,
    ]
    .join(newline)
}

#[tokio::test]
async fn httptools_executes_a_request_hidden_in_the_body_of_an_upgrade() {
    let hidden = post("/agent_api_keys", "", "\r\n");
    let head = |upgrade: &str| {
        format!(
            "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
             Content-Length: {}\r\n\r\n",
            hidden.len()
        )
    };
    for upgrade in ["h2c", "anything"] {
        let service = Service::with_agent(Options::default()).await;
        service.client().raw_pieces(&[head(upgrade).as_bytes(), hidden.as_bytes()]).await;
        service.idle().await;
        assert_eq!(service.ids().await.len(), 1, "{upgrade}");
        let service = Service::with_agent(Options::default().h11()).await;
        service.client().raw_pieces(&[head(upgrade).as_bytes(), hidden.as_bytes()]).await;
        service.idle().await;
        assert_eq!(service.ids().await.len(), 0, "{upgrade}");
    }
}

#[tokio::test]
async fn h11_accepts_what_is_no_strict_http() {
    let te =
        format!("\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let both = post("/agent_api_keys", &te, "\r\n");
    let both = both.split("0\r\n\r\n").next().unwrap().to_owned() + "0\r\n\r\n";
    let length = BODY.len();
    let lenient = [
        ("no leading slash", post("%2Fagent_api_keys", "", "\r\n")),
        ("bare LF", post("/agent_api_keys", "", "\n")),
        ("obs-fold", post("/agent_api_keys", "\r\nX-Folded: a\r\n b", "\r\n")),
        (
            "duplicate Content-Length",
            post("/agent_api_keys", &format!("\r\nContent-Length: {length}"), "\r\n"),
        ),
        ("Transfer-Encoding wins", both.replace(&format!("Length: {length}"), "Length: 3")),
    ];
    for (what, raw) in lenient {
        let service = Service::with_agent(Options::default().h11()).await;
        let answer = service.client().raw(&raw).await;
        service.idle().await;
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(service.ids().await.len(), 1, "{what}: {raw}\n{text}");
    }
}

#[tokio::test]
async fn it_listens_on_a_unix_socket_and_compresses_where_told() {
    let service = Service::with_agent(Options::default().unix().gzip()).await;
    let plain = service.client().get("/text").send().await;
    assert_eq!(plain.header("content-encoding"), "");
    let packed = service.client().get("/text").header("accept-encoding", "gzip").send().await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < plain.body.len());
    let service = Service::with_agent(Options::default()).await;
    let bare = service.client().get("/text").header("accept-encoding", "gzip").send().await;
    assert_eq!(bare.header("content-encoding"), "", "no compression by itself");
}
