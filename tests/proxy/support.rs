//! A sidecar under test, a service that is scripted, and a wire to read and write.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use authz_sidecar::config;
use authz_sidecar::model::DecodedPath;
use authz_sidecar::proxy::{
    Config, Cors, Forwarded, Interceptor, Metrics, Names, Parts, Proxy, Router,
};
use authz_sidecar::rules::{Dialect, Matched, Route};
use authz_sidecar::upstream::{self, Body};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it never came")
}

/// Polls until `is` holds.
pub(crate) async fn until(is: impl Fn() -> bool) {
    soon(async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// One end of a connection.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    read: Vec<u8>,
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Wire {
    pub(crate) fn new(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), read: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.io.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends, where the other end may have closed already.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon(self.io.write_all(bytes.as_ref())).await.is_ok()
    }

    /// The same, however long the other end takes.
    pub(crate) async fn waits_to_send(&mut self, bytes: &[u8]) -> bool {
        self.io.write_all(bytes).await.is_ok()
    }

    /// No more will be sent.
    pub(crate) async fn finish(&mut self) {
        self.io.shutdown().await.unwrap();
    }

    /// Everything up to and including `end`; panics where the connection ends before.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        self.try_until(end).await.expect("the connection ended")
    }

    pub(crate) async fn try_until(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self.read.windows(end.len()).position(|at| at == end.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + end.len());
                return Some(String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await, "the connection ended");
        }
        let rest = self.read.split_off(length);
        std::mem::replace(&mut self.read, rest)
    }

    /// Everything until the other end closes.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let read = soon(self.io.read(&mut buffer)).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// Sends a request and reads the whole answer, which has a `Content-Length`.
    pub(crate) async fn exchange(&mut self, request: &str) -> (String, String) {
        self.send(request).await;
        let head = self.head().await;
        let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
        let body = self.exactly(length).await;
        (head, String::from_utf8(body).unwrap())
    }
}

/// The value of a header in a head; several are joined.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let values: Vec<_> =
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect();
    (!values.is_empty()).then(|| values.join(" | "))
}

/// A service of which each connection follows a script.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Service {
    /// `script` gets each connection and its number, from 0.
    pub(crate) async fn scripted<F, R>(script: F) -> Self
    where
        F: Fn(Wire, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, SeqCst);
                tokio::spawn(script(Wire::new(stream), number));
            }
        });
        Self { address, connections }
    }

    /// Answers every request head with the head itself, as a body.
    pub(crate) async fn echo() -> Self {
        Self::scripted(|mut wire, _| async move {
            while let Some(head) = wire.try_until("\r\n\r\n").await {
                let length = head.len();
                wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}"))
                    .await;
            }
        })
        .await
    }

    /// Answers every request head with `answer`, word for word.
    pub(crate) async fn says(answer: &'static str) -> Self {
        Self::scripted(move |mut wire, _| async move {
            while wire.try_until("\r\n\r\n").await.is_some() {
                wire.send(answer).await;
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What is intercepted: `POST /keys`; `/keys` spelled oddly is ambiguous, `/panic` a bug.
struct OneRule(Dialect);

impl Router for OneRule {
    fn route(&self, method: &Method, path: &DecodedPath<'_>) -> Route {
        assert_ne!(path.text(), "/panic", "as the test wants it");
        let matches = |text: &str| method == Method::POST && text == "/keys";
        if path.readings().any(|reading| matches(&reading) != matches(path.text())) {
            return Route::Ambiguous("the path can be read in two ways");
        }
        if matches(path.text()) {
            return Route::Matched(matched());
        }
        Route::Unmatched
    }

    fn dialect(&self) -> Dialect {
        self.0
    }
}

/// A match of the shipped configuration; what it says about the request is of no matter here.
fn matched() -> Matched {
    let config = config::Config::load(Path::new("config/agentex.yaml"), []).unwrap();
    let path = DecodedPath::parse("/agent_api_keys").unwrap();
    match config.rules.route(&Method::POST, &path) {
        Route::Matched(matched) => matched,
        route => panic!("{route:?}"),
    }
}

pub(crate) type Answer = dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Body>> + Send + Sync;

struct Saga(Arc<Answer>);

impl Interceptor for Saga {
    fn call(&self, _: Matched, request: Request<Bytes>) -> BoxFuture<'static, Response<Body>> {
        (self.0)(request)
    }
}

/// How the sidecar under test is set up.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) upstream: upstream::Config,
    pub(crate) trust: Vec<&'static str>,
    pub(crate) drain: Duration,
    pub(crate) cors: Cors,
    pub(crate) dialect: Dialect,
    pub(crate) saga: Arc<Answer>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            // One worker, so that a test knows which pool a request meets.
            config: Config { workers: Some(1), ..Config::default() },
            upstream: upstream::Config::default(),
            trust: Vec::new(),
            drain: PATIENCE,
            cors: Cors::default(),
            dialect: Dialect::default(),
            saga: Arc::new(|_| panic!("nothing is to be intercepted")),
        }
    }
}

impl Setup {
    pub(crate) fn intercept<F, R>(mut self, saga: F) -> Self
    where
        F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        self.saga = Arc::new(move |request| saga(request).boxed());
        self
    }

    pub(crate) fn start(self, endpoint: &str) -> Sidecar {
        let mut registry = Registry::default();
        let parts = Parts {
            router: Arc::new(OneRule(self.dialect)),
            interceptor: Arc::new(Saga(self.saga)),
            control: tokio::runtime::Handle::current(),
            endpoint: endpoint.parse().unwrap(),
            upstream: self.upstream,
            forwarded: Forwarded { trust: self.trust.iter().map(|n| n.parse().unwrap()).collect() },
            cors: self.cors,
            credentials: Names::new(["x-mine*"]),
            metrics: Metrics::new(&mut registry),
        };
        let proxy = Proxy::bind("127.0.0.1:0".parse().unwrap(), self.config, parts).unwrap();
        let address = proxy.local_addr().unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(proxy.run(stop.clone(), self.drain));
        Sidecar { address, stop, ended, registry }
    }
}

pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<std::io::Result<()>>,
    registry: Registry,
}

impl Sidecar {
    pub(crate) fn before(service: &Service) -> Self {
        Setup::default().start(&service.endpoint())
    }

    pub(crate) async fn client(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn get(&self, request: &str) -> (String, String) {
        self.client().await.exchange(request).await
    }

    /// A line of the metrics, such as `refused_total{reason="internal"} 1`.
    pub(crate) fn counts(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().any(|candidate| candidate == line)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
