//! The client of the service: pooled HTTP/1.1 connections over TCP or a unix socket.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;

/// A handle on the service. Cheap to clone; clones share one pool.
#[derive(Clone)]
pub struct Client {}

impl Client {
    /// Sends one request and gives the answer as soon as its head is there.
    ///
    /// `request` is in origin form with every header as it is to go out. A request that is not
    /// GET or HEAD is never sent twice.
    ///
    /// # Errors
    /// [`Error::sent`] tells whether the service may have seen any of it.
    pub async fn send(&self, _request: Request<RequestBody>) -> Result<Response<Body>, Error> {
        todo!()
    }
}

/// A body on its way to the service.
pub enum RequestBody {
    /// All of it, in memory.
    Whole(Bytes),
    /// Streamed from the client.
    Stream(hyper::body::Incoming),
}

/// A body on its way to the client: streamed from the service, whole, or both in turn.
pub struct Body {}

impl Body {
    /// A body that is in memory.
    #[must_use]
    pub fn whole(_data: Bytes, _trailers: Option<HeaderMap>) -> Self {
        todo!()
    }

    /// What was read of a body so far, and the rest of it.
    #[must_use]
    pub fn resume(_prefix: Bytes, _rest: Body) -> Self {
        todo!()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        todo!()
    }
}

/// Why there is no (whole) answer.
#[derive(Debug, thiserror::Error)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ErrorKind {
    /// No connection could be made.
    #[error("the service can't be reached")]
    Connect,
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Certainly not.
    Never,
    /// Perhaps.
    Maybe,
}
