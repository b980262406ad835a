//! The health port and the admin port, over real sockets.

// clippy.toml's exception for tests ends at their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail loudly")]

#[path = "support/memory.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod memory;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use authz_sidecar::admin::{Health, Limits, Operations, serve_health, serve_operations};
use authz_sidecar::dualwrite::{Page, Refused};
use authz_sidecar::journal::{self, Append, Index, Journal, Of, State};
use authz_sidecar::model::{OperationId, Order, ResourceType, Span, Timestamp};
use authz_sidecar::telemetry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::memory::MemoryJournal;

/// A port being served.
struct Port {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Port {
    async fn health(health: &Arc<Health>, limits: Limits) -> Self {
        let mut registry = telemetry::registry();
        journal::Metrics::new(&mut registry).appends.inc();
        let (health, registry) = (health.clone(), Arc::new(registry));
        Self::serve(|listener, stop| serve_health(listener, health, registry, limits, stop)).await
    }

    async fn operations(operations: impl Operations) -> Self {
        let operations = Arc::new(operations);
        let limits = Limits::default();
        Self::serve(|listener, stop| serve_operations(listener, operations, None, limits, stop))
            .await
    }

    async fn serve<F: Future<Output = ()> + Send + 'static>(
        serve: impl FnOnce(TcpListener, CancellationToken) -> F,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, stop.clone()));
        Self { address, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: sidecar\r\n\r\n")).await
    }

    async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(stream).await
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        within(stream.read_to_string(&mut text)).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.into() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Nothing here takes long, unless it hangs.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

fn working() -> (Arc<Health>, Arc<MemoryJournal>, Arc<dyn Journal>) {
    let health = Arc::new(Health::new());
    let memory = Arc::new(MemoryJournal::new());
    let journal: Arc<dyn Journal> = memory.clone();
    health.configured();
    health.opened(&journal);
    health.listening(true);
    (health, memory, journal)
}

async fn break_down(memory: &MemoryJournal) {
    memory.fail_next(journal::Error::Unknown("fsync failed".into()));
    let index = Index {
        resource_type: ResourceType::new("key"),
        of: Of::Creates,
        opened_at: Timestamp::from_micros(0),
        settled_at: None,
        state: State::Open,
        holds: None,
        frees: Vec::new(),
    };
    let operation = OperationId::new();
    let append = Append { operation, begins: true, index, entries: Vec::new() };
    memory.append(append).await.unwrap_err();
}

#[tokio::test]
async fn ready_only_once_configured_open_and_listening_but_alive_from_the_start() {
    let health = Arc::new(Health::new());
    let port = Port::health(&health, Limits::default()).await;
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let steps: [(&dyn Fn(), usize); 5] = [
        (&|| (), 3),
        (&|| health.configured(), 2),
        (&|| health.opened(&journal), 1),
        (&|| health.listening(true), 0),
        (&|| health.listening(false), 1),
    ];
    for (step, missing) in steps {
        step();
        let answer = port.get("/readyz").await;
        assert_eq!(answer.status, if missing == 0 { 200 } else { 503 }, "{}", answer.body);
        assert_eq!(answer.json()["missing"].as_array().unwrap().len(), missing);
        assert_eq!(answer.json()["ready"], missing == 0);
        assert_eq!(port.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn a_broken_journal_ends_liveness_and_readiness_with_the_reason() {
    let (health, memory, _journal) = working();
    let port = Port::health(&health, Limits::default()).await;
    assert_eq!(port.get("/livez").await.status, 200);
    break_down(&memory).await;
    for page in ["/livez", "/readyz"] {
        let answer = port.get(page).await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("fsync failed"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_journal_closed_in_order_is_no_reason_for_a_restart() {
    let (health, memory, journal) = working();
    let port = Port::health(&health, Limits::default()).await;
    drop((memory, journal));
    assert_eq!(port.get("/livez").await.status, 200);
    assert_eq!(port.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn a_dead_back_end_degrades_and_does_not_unready() {
    let (health, _memory, _journal) = working();
    let port = Port::health(&health, Limits::default()).await;
    health.degrade("authz", "circuit open: connection refused");
    let answer = port.get("/readyz").await;
    assert_eq!(answer.status, 200);
    let expected = json!([{"component": "authz", "reason": "circuit open: connection refused"}]);
    assert_eq!(answer.json()["degraded"], expected);
    health.restore("authz");
    assert_eq!(port.get("/readyz").await.json()["degraded"], json!([]));
}

#[tokio::test]
async fn metrics_are_open_metrics_of_all_components() {
    let (health, _memory, _journal) = working();
    let port = Port::health(&health, Limits::default()).await;
    let answer = port.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.body.contains("authz_sidecar_journal_appends_total 1\n"), "{}", answer.body);
    assert!(answer.body.contains("authz_sidecar_build_info{"));
    assert!(answer.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn other_pages_and_methods_are_refused() {
    let (health, _memory, _journal) = working();
    let port = Port::health(&health, Limits::default()).await;
    let answer = port.get("/operations").await;
    assert_eq!(answer.status, 404, "operations are not on the health port");
    assert!(answer.head.contains("application/problem+json"));
    let create = "POST /livez HTTP/1.1\r\nHost: sidecar\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(port.ask(create).await.status, 405);
}

#[tokio::test]
async fn p8_a_client_that_sends_no_head_is_cut_off_and_frees_its_place() {
    let (health, _memory, _journal) = working();
    let header_timeout = Span(Duration::from_millis(200));
    let timeout = Span(Duration::from_hours(1));
    let limits = Limits { connections: 2, header_timeout, timeout, ..Limits::default() };
    let port = Port::health(&health, limits).await;
    let started = tokio::time::Instant::now();
    let mut slow = [port.connect().await, port.connect().await];
    slow[0].write_all(b"GET /livez HT").await.unwrap();
    // Both places are taken: this one is served only once they are free.
    assert_eq!(port.get("/livez").await.status, 200);
    assert!(started.elapsed() >= header_timeout.0, "a third place was found");
    for stream in &mut slow {
        let mut rest = Vec::new();
        let _cut = within(stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn p8_a_head_over_the_limit_is_refused() {
    let (health, _memory, _journal) = working();
    let port = Port::health(&health, Limits::default()).await;
    let long = "x".repeat(20 << 10);
    let request = format!("GET /livez HTTP/1.1\r\nHost: sidecar\r\nX: {long}\r\n\r\n");
    assert_eq!(port.ask(&request).await.status, 431);
}

/// What a page comes to.
type Listed = Result<(Vec<Value>, Option<OperationId>), String>;

const LAST: &str = "01936b2e-0000-7000-8000-000000000001";

/// Operations numbered from 0, oldest first.
struct Numbered(usize);

fn known() -> OperationId {
    OperationId::parse("01936b2e-0000-7000-8000-000000000001").unwrap()
}

#[async_trait]
impl Operations for Numbered {
    async fn list(&self, page: &Page) -> Listed {
        let shown = (0..self.0.min(page.limit)).map(|number| json!({"id": number})).collect();
        let more = self.0 > page.limit;
        Ok((shown, more.then(|| page.after.unwrap_or_else(|| OperationId::parse(LAST).unwrap()))))
    }

    async fn order(&self, _: OperationId, _: Order) -> Result<Value, Refused> {
        Err(Refused::NoSuch)
    }

    async fn show(&self, id: OperationId) -> Result<Option<Value>, String> {
        Ok((id == known()).then(|| json!({"id": id, "phase": "undoing"})))
    }
}

struct Failing;

#[async_trait]
impl Operations for Failing {
    async fn list(&self, _: &Page) -> Listed {
        Err("the journal is broken".into())
    }

    async fn order(&self, _: OperationId, _: Order) -> Result<Value, Refused> {
        Err(Refused::NoSuch)
    }

    async fn show(&self, _: OperationId) -> Result<Option<Value>, String> {
        Err("the journal is broken".into())
    }
}

#[tokio::test]
async fn p9_operations_are_listed_a_page_at_most() {
    let port = Port::operations(Numbered(150)).await;
    for (query, count, more) in [
        ("", 100, true),
        ("?limit=1", 1, true),
        ("?limit=149", 149, true),
        ("?limit=150", 150, false),
        ("?limit=1000", 150, false),
    ] {
        let answer = port.get(&format!("/operations{query}")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["operations"].as_array().unwrap().len(), count, "{query}");
        assert_eq!(answer.json()["more"], more, "{query}");
        assert_eq!(answer.json()["after"], if more { json!(LAST) } else { Value::Null });
    }
    for query in
        ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "lmit=1", "limit=1&after=x"]
    {
        let answer = port.get(&format!("/operations?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(if query.contains("after") {
            "after"
        } else {
            "limit"
        }));
    }
}

#[tokio::test]
async fn p9_one_operation_is_shown() {
    let port = Port::operations(Numbered(0)).await;
    let answer = port.get(&format!("/operations/{}", known())).await;
    assert_eq!((answer.status, &answer.json()["phase"]), (200, &json!("undoing")));
    assert!(answer.head.contains("cache-control: no-store"));
    assert_eq!(port.get(&format!("/operations/{}", OperationId::new())).await.status, 404);
    assert_eq!(port.get("/operations/nonsense").await.status, 400);
    assert_eq!(port.get("/operations").await.json()["operations"], json!([]));
}

#[tokio::test]
async fn a_failure_to_list_is_a_problem_with_the_reason() {
    let port = Port::operations(Failing).await;
    for page in ["/operations".into(), format!("/operations/{}", known())] {
        let answer = port.get(&page).await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("application/problem+json"));
        assert_eq!(answer.json()["detail"], "the journal is broken");
    }
}

/// Answers when it is let.
struct Gated {
    asked: CancellationToken,
    let_go: CancellationToken,
}

#[async_trait]
impl Operations for Gated {
    async fn list(&self, _: &Page) -> Listed {
        self.asked.cancel();
        self.let_go.cancelled().await;
        Ok((Vec::new(), None))
    }

    async fn order(&self, _: OperationId, _: Order) -> Result<Value, Refused> {
        Err(Refused::NoSuch)
    }

    async fn show(&self, _: OperationId) -> Result<Option<Value>, String> {
        Ok(None)
    }
}

#[tokio::test]
async fn stopping_lets_a_request_under_way_end_and_accepts_no_more() {
    let (asked, let_go) = (CancellationToken::new(), CancellationToken::new());
    let port = Port::operations(Gated { asked: asked.clone(), let_go: let_go.clone() }).await;
    let mut stream = port.connect().await;
    stream.write_all(b"GET /operations HTTP/1.1\r\nHost: sidecar\r\n\r\n").await.unwrap();
    let idle = port.connect().await;
    within(asked.cancelled()).await;
    port.stop.cancel();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(port.address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "still listening");
    }
    assert!(!port.served.is_finished());
    let_go.cancel();
    assert_eq!(Answer::read(stream).await.status, 200);
    drop(idle);
    within(port.served).await.unwrap();
}

#[tokio::test]
async fn p8_a_request_that_never_ends_does_not_hold_up_the_stop() {
    let limits = Limits { timeout: Span(Duration::from_millis(300)), ..Limits::default() };
    let asked = CancellationToken::new();
    let gated = Arc::new(Gated { asked: asked.clone(), let_go: CancellationToken::new() });
    let port =
        Port::serve(|listener, stop| serve_operations(listener, gated, None, limits, stop)).await;
    let mut stream = port.connect().await;
    stream.write_all(b"GET /operations HTTP/1.1\r\nHost: sidecar\r\n\r\n").await.unwrap();
    within(asked.cancelled()).await;
    port.stop.cancel();
    within(port.served).await.unwrap();
}
