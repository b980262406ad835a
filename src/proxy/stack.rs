//! THE stack: everything that a request meets, from the outside in.
//!
//! Layers are not tower's: its `Service` wants a named future, that is a box per layer and
//! request, where an `async fn` in a trait costs nothing; and tower-http's `CatchPanic` boxes
//! every answer's body. The shape is the same.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;

use super::http2;
use super::respond::{self, Outgoing};
use super::route::{Route, Worker};
use crate::error::{Kind, Own, Problem};

/// Answers requests of one client connection.
pub(super) trait Handle: Send + Sync + 'static {
    /// Always answers.
    fn handle(&self, request: Request<Incoming>)
    -> impl Future<Output = Response<Outgoing>> + Send;
}

/// The whole stack. What hyper refuses before it (malformed heads, heads over the limits or too
/// slow) never gets here; the listener counts it.
pub(super) fn stack(route: Route) -> impl Handle {
    // Lets pages of other origins read what the sidecar itself answers.
    Readable {
        worker: Arc::clone(&route.worker),
        // A fault of ours costs one request, not the connection, and is answered as a problem.
        inner: CatchPanic(
            // Decides on the path (P5): refuses it, forwards the request untouched (P6), or has it
            // intercepted.
            route,
        ),
    }
}

/// The stack of one HTTP/2 stream.
pub(super) fn stack_of_stream(route: Route) -> impl Handle {
    Readable {
        worker: Arc::clone(&route.worker),
        inner: CatchPanic(
            // From here on it is a request of HTTP/1.1 like any other.
            Lowered(route),
        ),
    }
}

struct Readable<H> {
    worker: Arc<Worker>,
    inner: H,
}

impl<H: Handle> Handle for Readable<H> {
    fn handle(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Outgoing>> + Send {
        let cors = &self.worker.cors;
        let origin = cors.asks(request.headers());
        self.inner.handle(request).map(move |mut response| {
            if response.extensions().get::<Own>().is_some() {
                cors.open(response.headers_mut(), origin.as_ref());
            }
            response
        })
    }
}

struct Lowered(Route);

impl Handle for Lowered {
    async fn handle(&self, mut request: Request<Incoming>) -> Response<Outgoing> {
        match http2::to_http1(&mut request, self.0.worker.config.header_count) {
            Ok(()) => self.0.handle(request).await,
            Err(problem) => self.0.refuse(problem),
        }
    }
}

struct CatchPanic<H>(H);

impl<H: Handle> Handle for CatchPanic<H> {
    fn handle(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Outgoing>> + Send {
        // Nothing of a request outlives it but atomics and a pool that is whole at any time.
        // The inner layer is an `async fn`, which runs nothing before it is polled, under guard.
        let handling = AssertUnwindSafe(self.0.handle(request)).catch_unwind();
        handling.map(|handled| match handled {
            Ok(response) => response,
            // The payload may hold anything, so it is not told (promise P7); the panic hook did.
            Err(_) => respond::problem(Problem::new(Kind::Internal, "see the sidecar's log")),
        })
    }
}
