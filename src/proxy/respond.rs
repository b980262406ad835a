//! Answers on their way to the client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use http::{Response, Version};
use http_body::{Body as _, Frame, SizeHint};

use super::headers::{Framing, Sanitizer, lists_connection};
use super::http2::Stream;
use super::unread::Turn;
use crate::error::{Kind, Problem};
use crate::upstream::{self, Body, ErrorKind};

/// The body of any answer. When it fails, hyper cuts the connection: a client never takes part of
/// an answer for all of it.
pub(super) struct Outgoing {
    body: Body,
    idle: Option<Idle>,
    stream: Option<(Stream, Turn)>,
}

impl Outgoing {
    /// The stream is under way until the body has ended, and is told whose turn it is.
    pub(super) fn holding(self, stream: Stream, turn: Turn) -> Self {
        Self { stream: Some((stream, turn)), ..self }
    }
}

struct Idle {
    limit: Duration,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

/// An answer of the sidecar's own.
pub(super) fn problem(problem: Problem) -> Response<Outgoing> {
    problem.into_response().map(|json| Outgoing {
        body: Body::whole(json, None),
        idle: None,
        stream: None,
    })
}

/// An answer that came from the service or a saga, made ready for the client.
pub(super) fn answer(
    response: Response<Body>,
    sanitizer: &Sanitizer,
    idle: Option<Duration>,
) -> Response<Outgoing> {
    let framing = match response.body().size_hint().exact() {
        Some(_) => Framing::Length,
        None => Framing::Chunks,
    };
    let closes = closes(&response);
    let idle = idle.map(|limit| Idle { limit, sleep: Box::pin(tokio::time::sleep(limit)) });
    let mut response = response.map(|body| Outgoing { body, idle, stream: None });
    sanitizer.to_client(response.headers_mut(), framing);
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // Ours, not the service's: hyper lowers it for a client that speaks HTTP/1.0.
    *response.version_mut() = Version::HTTP_11;
    response
}

/// Whether the service's connection ends with this answer (RFC 9112 §9.3, §6.3). Then the client's
/// does too, as it would without the sidecar.
fn closes(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let kept = match response.version() {
        Version::HTTP_10 => lists_connection(headers, b"keep-alive"),
        _ => !lists_connection(headers, b"close"),
    };
    let framed =
        response.body().size_hint().exact().is_some() || headers.contains_key(TRANSFER_ENCODING);
    !kept || !framed
}

/// What a client is told when the service gave no answer.
pub(super) fn failure(error: &upstream::Error) -> Problem {
    let kind = match error.kind {
        ErrorKind::Connect => Kind::UpstreamUnreachable,
        ErrorKind::Busy => Kind::Overloaded,
        ErrorKind::Cut => Kind::UpstreamCut,
        ErrorKind::Invalid => Kind::UpstreamInvalid,
        ErrorKind::Client => Kind::BadRequest,
    };
    // The detail has addresses of the inside: it is for the log.
    tracing::debug!(%error, "the service gave no answer");
    Problem::new(kind, error.kind.to_string())
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = upstream::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, upstream::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Some((_, turn)) = &this.stream {
            turn.asked(polled.is_ready());
        }
        if let Some(idle) = &mut this.idle {
            if polled.is_ready() {
                idle.sleep.as_mut().reset(tokio::time::Instant::now() + idle.limit);
            } else if idle.sleep.as_mut().poll(cx).is_ready() {
                let detail = format!("nothing came for {} s", idle.limit.as_secs_f64());
                let sent = upstream::Sent::Maybe;
                return Poll::Ready(Some(Err(upstream::Error {
                    kind: ErrorKind::Cut,
                    detail,
                    sent,
                })));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
