//! The client of the service: pooled HTTP/1.1 connections over TCP or a unix socket.
//!
//! A [`Client`] keeps `hyper::client::conn` senders in a pool of its own instead of hyper-util's
//! client: measured, that is 2.5 µs of user time less per request. Each pass-through worker owns
//! one, so that its connections never leave its thread; the sagas share another.

mod body;
mod collect;
mod connect;
mod endpoint;
mod expect;
mod io;
mod pool;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::body::{Body, Progress, RequestBody};
pub use self::collect::{Collected, collect};
pub use self::endpoint::{Endpoint, EndpointError};
pub use self::expect::{Expected, Gate, is_expected};
pub(crate) use self::io::{Coalesce, MAX_BUFFER};
use self::pool::{Pool, Reuse};
pub use self::tunnel::{Switch, Tunnel};
use crate::model::Span;

/// Limits of the connections to the service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long making a connection may take, the wait for a free place included. Default 1 s.
    pub connect_timeout: Span,
    /// How long a connection may have been idle and still be used. Keep it below the service's
    /// own keep-alive, 5 s for uvicorn, lest requests meet a connection that is being closed. One
    /// whose service has answered and takes no more of an intercepted request for as long is closed
    /// too. Default 4 s.
    pub idle_timeout: Span,
    /// The same for requests that are not safe to repeat. A service closes connections that
    /// have been idle for its keep-alive; one used a moment ago is far from that, so that such
    /// a request does not end as an unknown outcome. Default 1 s.
    pub idle_timeout_unsafe: Span,
    /// Idle connections kept, per worker. Default 128.
    pub max_idle: usize,
    /// Connections at most, per worker. Default 1024.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Span(Duration::from_secs(1)),
            idle_timeout: Span(Duration::from_secs(4)),
            idle_timeout_unsafe: Span(Duration::from_secs(1)),
            max_idle: 128,
            max_connections: 1024,
        }
    }
}

/// Whatever takes the sagas' requests to the service: a [`Client`], or a model of a service.
/// What passes through has its own clients and never meets this.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends one request, once, and gives the answer as soon as its head is there. Dropping the
    /// future gives the answer up, not the request: it may have been written.
    ///
    /// # Errors
    /// [`Error::sent`] tells whether the service may have seen any of it.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error>;
}

/// A handle on the service. Cheap to clone; clones share one pool.
///
/// Connections are driven by the tokio runtime on which [`Client::send`] is polled, so a client
/// belongs to one runtime.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Pool>,
}

impl Client {
    /// A client with an empty pool.
    #[must_use]
    pub fn new(endpoint: Endpoint, config: Config) -> Self {
        Self { pool: Arc::new(Pool::new(endpoint, config)) }
    }

    /// Sends one request and gives the answer as soon as its head is there.
    ///
    /// `request` goes out as it is: its target, its version, its headers; framing is derived from
    /// the body. There is no time-out but the one for connecting: that is for the caller to
    /// set, and dropping the future closes the connection.
    ///
    /// Only a GET or HEAD without body is ever written twice: once more, on a new connection,
    /// where a *reused* one failed before an answer came. Any request of which a reused
    /// connection is known to have written nothing goes to a new connection too: it was not sent.
    ///
    /// # Errors
    /// [`Error::sent`] tells whether the service may have seen any of it.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Body>, Error> {
        let repeatable = is_repeatable(&request);
        let reuse = if request.method().is_safe() { Reuse::Safe } else { Reuse::Unsafe };
        // What is rare is boxed, so that the common way's future stays small: it is moved.
        let Some(lease) = Pool::idle(&self.pool, reuse) else {
            return Box::pin(self.send_anew(request)).await;
        };
        let copy = repeatable.then(|| Box::new(head_of(&request)));
        match lease.exchange(request).await {
            Ok(response) => Ok(response),
            Err(pool::Failure { unsent: Some(request), .. }) => {
                Box::pin(self.send_anew(*request)).await
            }
            Err(pool::Failure { error, .. }) => match copy {
                Some(copy) if error.kind == ErrorKind::Cut => Box::pin(self.send_anew(*copy)).await,
                _ => Err(error),
            },
        }
    }

    async fn send_anew(&self, request: Request<RequestBody>) -> Result<Response<Body>, Error> {
        let lease = Pool::connect(&self.pool).await?;
        lease.exchange(request).await.map_err(|failure| failure.error)
    }
}

#[async_trait]
impl Transport for Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        Self::send(self, request.map(RequestBody::Whole)).await
    }
}

fn is_repeatable(request: &Request<RequestBody>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && request.body().is_empty()
}

/// The same request again; it has no body.
fn head_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Whole(Bytes::new()));
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// Why there is no (whole) answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// The class of failure.
    pub kind: ErrorKind,
    /// For the operator. Never a header value or a body.
    pub detail: String,
    /// Whether the service may have seen any of the request.
    pub sent: Sent,
}

/// Classes of failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum ErrorKind {
    /// No connection could be made.
    #[error("the service can't be reached")]
    Connect,
    /// As many connections as configured are in use.
    #[error("no connection to the service is free")]
    Busy,
    /// The connection ended before the answer was complete.
    #[error("the service closed the connection before its answer was complete")]
    Cut,
    /// The answer is not HTTP.
    #[error("the service's answer is not valid HTTP")]
    Invalid,
    /// The client's own body failed while it was being streamed.
    #[error("the client's body broke off")]
    Client,
}

/// Whether the service may have seen any byte of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sent {
    /// Certainly not.
    Never,
    /// Perhaps.
    Maybe,
}
