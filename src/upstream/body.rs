//! Bodies on their way to the service and back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use super::{Error, Expected, Sent};

/// A body on its way to the service.
pub enum RequestBody {
    /// All of it, in memory.
    Whole(Bytes),
    /// Streamed from the client; the progress tells the sender how it gets on.
    Stream(Incoming, Progress),
    /// The same, not before the service wants it.
    Expected(Box<Expected>),
}

/// How far a streamed body has come, so that a time-out can tell a slow body from a slow answer.
#[derive(Clone, Debug)]
pub struct Progress {
    frames: Arc<AtomicU64>,
    longest_pause: Duration,
    whole: Arc<AtomicBool>,
}

impl Progress {
    /// Set once the whole body was taken.
    const ENDED: u64 = 1 << 63;

    /// Of a body of which nothing was taken. A client that pauses longer than this has broken off.
    /// `whole` is set once all of it was taken, whoever still asks.
    #[must_use]
    pub fn new(longest_pause: Duration, whole: Arc<AtomicBool>) -> Self {
        Self { frames: Arc::default(), longest_pause, whole }
    }

    /// How long a client may pause.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.longest_pause
    }

    /// A number that grows with each frame taken.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed) & !Self::ENDED
    }

    /// Whether all of the body was taken.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.frames.load(Relaxed) & Self::ENDED != 0
    }

    fn note(&self, frame: bool, ended: bool) {
        if frame {
            self.frames.fetch_add(1, Relaxed);
        }
        if ended {
            self.frames.fetch_or(Self::ENDED, Relaxed);
            self.whole.store(true, Relaxed);
        }
    }
}

impl RequestBody {
    /// Whether there is certainly nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }

    /// How far it has come, where it is streamed.
    pub(super) fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Whole(_) => None,
            Self::Stream(_, progress) => Some(progress),
            Self::Expected(expected) => Some(expected.progress()),
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(data) if data.is_empty() => Poll::Ready(None),
            Self::Whole(data) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            Self::Stream(body, progress) => poll_stream(body, progress, cx),
            Self::Expected(expected) => {
                let (body, progress) = ready!(expected.poll_wanted(cx));
                poll_stream(body, progress, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(data) => data.is_empty(),
            Self::Stream(body, _) => body.is_end_stream(),
            Self::Expected(expected) => expected.body().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Self::Stream(body, _) => body.size_hint(),
            Self::Expected(expected) => expected.body().size_hint(),
        }
    }
}

fn poll_stream(
    body: &mut Incoming,
    progress: &Progress,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
    // Nobody asks for what is behind trailers.
    let last = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
    progress.note(frame.is_some(), last || frame.is_none() || body.is_end_stream());
    Poll::Ready(frame)
}

/// A body on its way to the client: streamed from the service, whole, or both in turn.
pub struct Body {
    /// Comes before `rest`.
    prefix: Bytes,
    rest: Rest,
}

enum Rest {
    End(Option<HeaderMap>),
    Stream(Incoming, Option<Lease>),
    /// A stream that is known to have failed.
    Failed(Error),
}

impl Body {
    /// A body that is in memory.
    #[must_use]
    pub fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { prefix: data, rest: Rest::End(trailers) }
    }

    /// What was read of a body so far, and the rest of it.
    #[must_use]
    pub fn resume(prefix: Bytes, rest: Body) -> Self {
        if rest.prefix.is_empty() {
            return Self { prefix, rest: rest.rest };
        }
        let mut joined = BytesMut::from(prefix);
        joined.extend_from_slice(&rest.prefix);
        Self { prefix: joined.freeze(), rest: rest.rest }
    }

    /// What was read of a body before it broke off: ends with `error`, never as if complete.
    #[must_use]
    pub fn cut(prefix: Bytes, error: Error) -> Self {
        Self { prefix, rest: Rest::Failed(error) }
    }

    /// An answer that is arriving; its connection goes back to the pool at its end.
    pub(super) fn stream(incoming: Incoming, lease: Lease) -> Self {
        let mut body = Self { prefix: Bytes::new(), rest: Rest::Stream(incoming, Some(lease)) };
        body.settle();
        body
    }

    /// Gives the connection back as soon as nothing more will come, which hyper's server may
    /// never ask for.
    fn settle(&mut self) {
        if let Rest::Stream(incoming, lease) = &mut self.rest
            && incoming.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.end();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.prefix)))));
        }
        match &mut this.rest {
            Rest::End(trailers) => Poll::Ready(trailers.take().map(|map| Ok(Frame::trailers(map)))),
            Rest::Failed(error) => Poll::Ready(Some(Err(error.clone()))),
            Rest::Stream(incoming, lease) => match ready!(Pin::new(incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    this.settle();
                    Poll::Ready(Some(Ok(frame)))
                }
                Some(Err(error)) => {
                    drop(lease.take());
                    let error = Error::of_exchange(&error, Sent::Maybe);
                    this.rest = Rest::Failed(error.clone());
                    Poll::Ready(Some(Err(error)))
                }
                None => {
                    if let Some(lease) = lease.take() {
                        lease.end();
                    }
                    Poll::Ready(None)
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_empty()
            && match &self.rest {
                Rest::End(trailers) => trailers.is_none(),
                Rest::Stream(incoming, _) => incoming.is_end_stream(),
                Rest::Failed(_) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.prefix.len() as u64;
        match &self.rest {
            // With trailers it goes out in chunks, and so its length must stay unsaid.
            Rest::End(Some(_)) | Rest::Failed(_) => SizeHint::default(),
            Rest::End(None) => SizeHint::with_exact(ahead),
            Rest::Stream(incoming, _) => match incoming.size_hint().exact() {
                Some(rest) => SizeHint::with_exact(ahead.saturating_add(rest)),
                None => SizeHint::default(),
            },
        }
    }
}

impl fmt::Debug for RequestBody {
    /// How much there is, never what it is (promise P7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(data) => f.debug_tuple("Whole").field(&data.len()).finish(),
            Self::Stream(_, progress) => f.debug_tuple("Stream").field(progress).finish(),
            Self::Expected(_) => f.write_str("Expected"),
        }
    }
}

impl fmt::Debug for Body {
    /// How much there is, never what it is (promise P7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint().exact()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::ErrorKind;
    use super::*;

    fn cut() -> Error {
        Error { kind: ErrorKind::Cut, detail: String::new(), sent: Sent::Maybe }
    }

    #[tokio::test]
    async fn a_resumed_body_is_prefix_then_rest() {
        let rest = Body::resume("b".into(), Body::whole("c".into(), None));
        let body = Body::resume("a".into(), rest);
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
    }

    #[test]
    fn p7_debug_shows_no_body() {
        let (sent, came) =
            (RequestBody::Whole("s3cret".into()), Body::whole("s3cret".into(), None));
        assert!(!format!("{sent:?} {came:?}").contains("s3cret"), "{sent:?} {came:?}");
    }

    #[tokio::test]
    async fn a_body_with_trailers_has_no_length_and_keeps_them() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        let body = Body::whole("a".into(), Some(trailers.clone()));
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(body.collect().await.unwrap().trailers(), Some(&trailers));
        assert!(Body::whole(Bytes::new(), None).is_end_stream());
        assert!(!Body::whole(Bytes::new(), Some(trailers)).is_end_stream());
    }

    #[tokio::test]
    async fn a_cut_body_never_ends_well() {
        let body = Body::cut("a".into(), cut());
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(body.collect().await.unwrap_err(), cut());
    }
}
