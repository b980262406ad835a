//! Traffic that passes through (promise P6): streamed both ways, waiting for nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::headers::Framing;
use super::respond::{self, Outgoing};
use super::route::Route;
use crate::error::{Kind, Problem};
use crate::upstream::{Body, Expected, Gate, Progress, RequestBody, is_expected};

impl Route {
    /// Passes a request to the service and its answer back. Target, version, Host (or its
    /// absence) and body stay as they came.
    pub(super) fn forward(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Outgoing>> + Send {
        let limit = self.worker.config.response_timeout.0;
        let progress = || Some(Progress::new(limit, Arc::clone(self.reading.whole())));
        let (framing, progress) = match request.body() {
            body if body.is_end_stream() => (Framing::Length, None),
            body if body.size_hint().exact().is_some() => (Framing::Length, progress()),
            _ => (Framing::Chunks, progress()),
        };
        let gate = is_expected(&request).then(Gate::default);
        let mut request = request.map(|body| outgoing(body, progress.as_ref(), gate.as_ref()));
        if let Some(gate) = &gate {
            gate.listen(&mut request);
        }
        self.worker.sanitizer.to_service(request.headers_mut(), framing, &self.peer);
        self.exchange(request, progress).map(move |exchanged| {
            if let Some(gate) = gate {
                gate.open();
            }
            match exchanged {
                Ok(response) => {
                    let idle = self.worker.config.response_idle_timeout.map(|span| span.0);
                    respond::answer(response, &self.worker.sanitizer, idle)
                }
                Err(problem) => self.refuse(problem),
            }
        })
    }

    /// One exchange within the time-out: for the answer's head once the request is complete, and
    /// before that for each piece of its body.
    async fn exchange(
        &self,
        request: Request<RequestBody>,
        progress: Option<Progress>,
    ) -> Result<Response<Body>, Problem> {
        let limit = self.worker.config.response_timeout.0;
        self.deadline.set(Instant::now() + limit);
        let mut seen = 0;
        let mut sending = pin!(self.worker.client.send(request));
        let sent = poll_fn(|cx| {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Some(sent));
            }
            while self.deadline.poll(cx).is_ready() {
                match &progress {
                    Some(progress) if progress.frames() != seen => seen = progress.frames(),
                    _ => return Poll::Ready(None),
                }
                self.deadline.set(Instant::now() + limit);
            }
            Poll::Pending
        });
        match sent.await {
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                // Nobody asked for it: `Upgrade` does not pass.
                Err(Problem::new(Kind::UpstreamInvalid, "the service switched protocols unasked"))
            }
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(respond::failure(&error)),
            None if progress.is_some_and(|progress| !progress.ended()) => {
                Err(Problem::new(Kind::BodyTimeout, "the request's body stopped"))
            }
            None => Err(Problem::new(Kind::UpstreamTimeout, "the service did not answer in time")),
        }
    }
}

/// A client's body on its way to the service: `progress` where there is one, `gate` where it is waited
/// for.
fn outgoing(body: Incoming, progress: Option<&Progress>, gate: Option<&Gate>) -> RequestBody {
    let Some(progress) = progress.cloned() else { return RequestBody::Whole(Bytes::new()) };
    match gate {
        None => RequestBody::Stream(body, progress),
        Some(gate) => RequestBody::Expected(Box::new(Expected::new(body, progress, gate))),
    }
}
