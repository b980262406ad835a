//! `Expect: 100-continue` (RFC 9110 §10.1.1): a body that waits until the service wants it.
//!
//! hyper's server says 100 to the client when the body is first polled. So it is not polled before the
//! service has said 100 itself, or given its answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::EXPECT;
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::{Progress, RequestBody};

/// How long a service may say nothing at all before it gets the body: it need not know of the header.
/// Clients wait about as long. Less where a client may not pause as long: it must not be taken for one
/// that has broken off before it was asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the client waits for a 100 before it sends its body.
#[must_use]
pub fn is_expected<B>(request: &Request<B>) -> bool {
    request.version() != Version::HTTP_10
        && request
            .headers()
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// What lets a body go on.
#[derive(Clone, Debug, Default)]
pub struct Gate(CancellationToken);

impl Gate {
    /// Lets it go on. Once the answer's head is with hyper's server, no 100 is sent any more; a
    /// client that sends its body all the same is heard.
    pub fn open(&self) {
        self.0.cancel();
    }

    /// Has the service's own 100 open it.
    pub fn listen(&self, request: &mut Request<RequestBody>) {
        let gate = self.clone();
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
}

/// A body behind a [`Gate`].
pub struct Expected {
    wanted: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    body: Incoming,
    progress: Progress,
}

impl Expected {
    /// `body`, once `gate` is open.
    #[must_use]
    pub fn new(body: Incoming, progress: Progress, gate: &Gate) -> Self {
        let opened = gate.0.clone().cancelled_owned();
        // The time begins where this is polled first: the head was written.
        let patience = PATIENCE.min(progress.longest_pause() / 2);
        let wanted = async move { drop(tokio::time::timeout(patience, opened).await) };
        Self { wanted: Some(Box::pin(wanted)), body, progress }
    }

    pub(super) fn body(&self) -> &Incoming {
        &self.body
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn poll_wanted(&mut self, cx: &mut Context<'_>) -> Poll<(&mut Incoming, &Progress)> {
        if let Some(wanted) = &mut self.wanted {
            ready!(wanted.as_mut().poll(cx));
            self.wanted = None;
        }
        Poll::Ready((&mut self.body, &self.progress))
    }
}
