//! WebSocket upgrades: the one protocol that a connection may change to, end to end.
//!
//! Only a bodiless GET is passed on with its `Upgrade`: behind any other, the service's parser
//! takes the body for a second request, which nobody decided on (contract keys-service.md). And
//! bytes are tunnelled only behind a real 101.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::Metrics;
use super::headers::{Framing, lists_connection};
use super::respond::{self, Outgoing};
use super::route::Route;
use crate::error::{Kind, Problem};
use crate::upstream::{Body, RequestBody, Switch, Tunnel};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Where a connection's handler leaves its tunnel for when the connection speaks HTTP no more.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Pending>>>);

/// A connection that hyper gives away at its end, since it was asked for an upgrade.
enum Pending {
    /// It is to be joined with one to the service.
    Agreed { client: OnUpgrade, service: Tunnel },
    /// There was no upgrade, so that it is to be closed as any other.
    Declined(OnUpgrade),
}

/// Whether the request asks for a WebSocket in the one way that can be passed on.
pub(super) fn is_asked_for(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    // First what nearly all requests don't have.
    headers.contains_key(UPGRADE)
        && names_websocket(headers)
        && lists_connection(headers, b"upgrade")
        && request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(TRANSFER_ENCODING)
}

fn names_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(UPGRADE).iter();
    let first =
        values.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    first && values.next().is_none()
}

impl Route {
    /// Passes a request for a WebSocket on, and its answer back. After a 101 the connection's task
    /// finds the tunnel in the slot.
    pub(super) async fn upgrade(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let mut request = request.map(|_| RequestBody::Whole(Bytes::new()));
        let headers = request.headers_mut();
        self.worker.sanitizer.to_service(headers, Framing::Length, &self.peer);
        mark(headers);
        let limit = self.worker.config.response_timeout.0;
        match tokio::time::timeout(limit, self.worker.client.switch(request)).await {
            Ok(Ok(Switch::Declined(response))) => {
                let idle = self.worker.config.response_idle_timeout.map(|span| span.0);
                respond::answer(response, &self.worker.sanitizer, idle)
            }
            Ok(Ok(Switch::Accepted(head, service))) if names_websocket(head.headers()) => {
                let body = Body::whole(Bytes::new(), None);
                let head = head.map(|()| body);
                let mut response = respond::answer(head, &self.worker.sanitizer, None);
                mark(response.headers_mut());
                self.reading.switched();
                self.tunnel.agreed(service);
                response
            }
            Ok(Ok(Switch::Accepted(..))) => self.refuse(Problem::new(
                Kind::UpstreamInvalid,
                "the service switched to a protocol that nobody asked for",
            )),
            Ok(Err(error)) => self.refuse(respond::failure(&error)),
            Err(_) => {
                let detail = "the service did not answer in time";
                self.refuse(Problem::new(Kind::UpstreamTimeout, detail))
            }
        }
    }
}

/// What the sanitizer takes away, since it holds for one hop, and each hop of an upgrade needs.
fn mark(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

impl Slot {
    /// Keeps the connection of a request that asks for whatever upgrade: hyper gives it away at its end
    /// even if none comes of it.
    pub(super) fn keep(&self, request: &mut Request<Incoming>) {
        if let Some(client) = request.extensions_mut().remove::<OnUpgrade>() {
            *self.lock() = Some(Pending::Declined(client));
        }
    }

    fn agreed(&self, service: Tunnel) {
        let mut pending = self.lock();
        if let Some(Pending::Declined(client)) = pending.take() {
            *pending = Some(Pending::Agreed { client, service });
        }
    }

    /// Carries bytes both ways until both have ended, one has failed, or, where there is a limit,
    /// nothing has come from either for that long. Returns at once where nothing was left.
    pub(super) async fn run(&self, idle: Option<Duration>, metrics: &Metrics) {
        let pending = self.lock().take();
        let (client, service) = match pending {
            None => return,
            Some(Pending::Declined(client)) => {
                if let Ok(client) = client.await {
                    let _ = TokioIo::new(client).shutdown().await;
                }
                return;
            }
            Some(Pending::Agreed { client, service }) => (client, service),
        };
        let _open = metrics.tunnelled();
        let (Ok(client), Ok((mut service, _place))) = (client.await, service.open().await) else {
            return;
        };
        let moved = Arc::new(AtomicU64::new(0));
        let mut client = Watched { io: TokioIo::new(client), moved: Arc::clone(&moved) };
        // However it ends, both connections end with it; there is nobody to tell.
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut service) => {}
            () = silence(idle, &moved) => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pending>> {
        // A panic of another holder leaves a whole value behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until nothing moved for at least `idle`, at most twice that; for ever without a limit.
async fn silence(idle: Option<Duration>, moved: &AtomicU64) {
    let Some(idle) = idle else { return std::future::pending().await };
    let mut before = moved.load(Relaxed);
    loop {
        tokio::time::sleep(idle).await;
        let now = moved.load(Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// A connection that counts how often something came or went.
struct Watched<T> {
    io: T,
    moved: Arc<AtomicU64>,
}

impl<T> Watched<T> {
    fn note<R>(&self, polled: Poll<R>) -> Poll<R> {
        if polled.is_ready() {
            self.moved.fetch_add(1, Relaxed);
        }
        polled
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
