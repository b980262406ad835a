//! The proxy: what a request walks through between the client's socket and the service's.
//!
//! Each worker is a thread with a current-thread runtime, its own connections to clients and its
//! own pool of connections to the service: a request that passes through never leaves its
//! thread. An intercepted request is handed to the *control* runtime, where the sagas live, and
//! only its answer comes back; a client that hangs up changes nothing there.
//!
//! `stack.rs` shows in order what a request meets.

mod connection;
mod cors;
mod deadline;
mod diverted;
mod flow;
mod forward;
mod forwarded;
mod headers;
mod http2;
mod intercept;
mod linger;
mod listener;
mod metrics;
mod path;
mod respond;
mod route;
mod stack;
mod unread;
mod upgrade;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use tokio_util::sync::CancellationToken;

pub use self::cors::Config as Cors;
pub use self::forwarded::Config as Forwarded;
pub use self::headers::Names;
pub use self::intercept::Interceptor;
pub use self::metrics::Metrics;
pub use self::route::Router;
use crate::model::{ByteSize, Span};
use crate::upstream;

/// Limits and time-outs towards clients (promise P8).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Threads for traffic that passes through. Default: as many as there are cores.
    pub workers: Option<usize>,
    /// Client connections at most, over all workers; beyond, new ones wait in the kernel's
    /// queue. Default 4096.
    pub connections: usize,
    /// Whether clients may speak HTTP/2 without TLS (h2c) with prior knowledge. Default true.
    pub http2: bool,
    /// Requests at once on one HTTP/2 connection. Default 100.
    pub streams: u32,
    /// How long a client may take for a request's head, the wait for a next request on a kept
    /// connection included. Default 30 s.
    pub header_timeout: Span,
    /// Size of a request's head, and of trailers; beyond, 431. At least 8 KiB are always
    /// allowed. Default 64 KiB.
    pub header_bytes: ByteSize,
    /// Headers of a request; beyond, 431. Any other value than the default costs an allocation
    /// per request. Default 100.
    pub header_count: usize,
    /// How long the service may take for the head of an answer once it has the whole request,
    /// and how long a client may pause within a body: 504 and 408. Default 60 s.
    pub response_timeout: Span,
    /// How long the service may pause within the body of an answer, after which the connection
    /// is cut. Default: for ever, since event streams may be silent.
    pub response_idle_timeout: Option<Span>,
    /// How long a client may take nothing of what is sent to it, after which its connection is cut,
    /// or its HTTP/2 stream reset; a stream that may be waiting for others of its connection has ten
    /// times as long. At least 1 s. Default 60 s.
    #[serde(deserialize_with = "send_timeout")]
    pub send_timeout: Span,
    /// How long a WebSocket may be silent both ways, after which it is cut, at the latest after
    /// twice that. Default: for ever. It counts as one of `connections`.
    pub tunnel_idle_timeout: Option<Span>,
    /// Size of an intercepted request's body; beyond, 413. Default 1 MiB.
    pub intercepted_body: ByteSize,
    /// How long the body of an intercepted request may take in all: 408. Default 30 s.
    pub intercepted_body_timeout: Span,
    /// Intercepted requests at once, also those whose client has gone; beyond, 503. Default 256.
    pub intercepted: usize,
}

fn send_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let limit = Span::deserialize(deserializer)?;
    if limit.0 < Duration::from_secs(1) {
        let mend = "a client has at least 1s to take something: for hardly any limit write 24h";
        return Err(de::Error::custom(mend));
    }
    Ok(limit)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: None,
            connections: 4096,
            http2: true,
            streams: 100,
            header_timeout: Span(Duration::from_secs(30)),
            header_bytes: ByteSize(64 << 10),
            header_count: connection::FREE_HEADER_COUNT,
            response_timeout: Span(Duration::from_mins(1)),
            response_idle_timeout: None,
            send_timeout: Span(Duration::from_mins(1)),
            tunnel_idle_timeout: None,
            intercepted_body: ByteSize(1 << 20),
            intercepted_body_timeout: Span(Duration::from_secs(30)),
            intercepted: 256,
        }
    }
}

/// What the proxy is put together from.
pub struct Parts {
    /// Decides what is intercepted.
    pub router: Arc<dyn Router>,
    /// Serves what is intercepted.
    pub interceptor: Arc<dyn Interceptor>,
    /// The runtime on which it does.
    pub control: tokio::runtime::Handle,
    /// Where the service listens.
    pub endpoint: upstream::Endpoint,
    /// Limits of the connections to it.
    pub upstream: upstream::Config,
    /// Whose forwarding headers are believed.
    pub forwarded: Forwarded,
    /// Which pages may read the sidecar's own answers.
    pub cors: Cors,
    /// Headers that a `Connection` header can't strip, besides those that the proxy knows: the
    /// configured credentials.
    pub credentials: Names,
    /// Counters.
    pub metrics: Metrics,
}

/// A bound, not yet serving proxy.
pub struct Proxy {
    listener: TcpListener,
    config: Config,
    parts: Parts,
}

impl Proxy {
    /// Binds the listening socket; clients wait in its queue until [`Proxy::run`].
    ///
    /// # Errors
    /// When the address can't be bound.
    pub fn bind(address: SocketAddr, config: Config, parts: Parts) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, config, parts })
    }

    /// The bound address.
    ///
    /// # Errors
    /// When the system doesn't tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then accepts nothing more, lets requests under way finish for at
    /// most `drain`, and cuts the rest.
    ///
    /// # Errors
    /// When a worker can't be started.
    pub async fn run(self, shutdown: CancellationToken, drain: Duration) -> io::Result<()> {
        listener::run(self.listener, self.config, self.parts, shutdown, drain).await
    }
}
