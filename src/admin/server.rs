//! The HTTP server that both ports share, and its bounds.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::model::{ByteSize, Span};

/// The bounds of one port (promise P8).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time; further ones wait. Default: 64.
    #[schemars(range(min = 1, max = 65_536))]
    pub connections: u16,
    /// How long a client may take to send its request's head. Default: 5s.
    pub header_timeout: Span,
    /// How long a connection may last in all, also while the port stops. Each serves one
    /// request. Default: 10s.
    pub timeout: Span,
    /// How large a request's head may be; at least 8KiB. Default: 16KiB.
    pub header_size: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            header_timeout: Span(Duration::from_secs(5)),
            timeout: Span(Duration::from_secs(10)),
            header_size: ByteSize(16 << 10),
        }
    }
}

/// The least that hyper takes for `max_buf_size`; less would panic.
const MIN_HEADER_SIZE: usize = 8 << 10;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// How long to wait when a connection can't be accepted, mostly for want of descriptors, which
/// others must give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets what is under way end within its time.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = router.layer(
        ServiceBuilder::new()
            // What is true now is not true later: no cache may keep a probe's answer.
            .layer(SetResponseHeaderLayer::overriding(CACHE_CONTROL, NO_STORE))
            // A fault in one answer costs that answer, and is a 500 to the probe.
            .layer(CatchPanicLayer::new()),
    );
    let room = Arc::new(Semaphore::new(usize::from(limits.connections.max(1))));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = connection(stream, router.clone(), limits, stop.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the port can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    };
    stop.run_until_cancelled(accept).await;
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection, one request: a probe comes every few seconds, and a connection that waits for
/// the next one would hold a place.
async fn connection(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout.0)
            .max_buf_size(limits.header_size.0.max(MIN_HEADER_SIZE))
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let served = async {
        tokio::select! {
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    // Whatever ends it ends only this connection: a client that is slow or gone.
    if let Ok(Err(error)) = tokio::time::timeout(limits.timeout.0, served).await {
        tracing::debug!(%error, "a connection to the port ended early");
    }
}
