//! Answers that their client does not take (promise P8): each holds a connection to the service.
//!
//! Of a whole connection the kernel knows that nobody takes what is sent, and ends it. A stream of
//! HTTP/2 can be left alone on a connection that is well read, since its window is the client's to
//! open: it is reset.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Metrics;

/// Has the kernel end a connection whose client takes nothing for `limit` of what was sent
/// (`TCP_USER_TIMEOUT`, RFC 5482; tcp(7)): it neither acknowledges nor opens its window. Costs
/// nothing per request, and sees each byte that is taken, however large the socket's buffer.
pub(super) fn bound(socket: &TcpStream, limit: Duration) -> io::Result<()> {
    // Zero would be no bound.
    let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(socket, milliseconds)?)
}

tokio::task_local! {
    /// Of the stream whose task runs.
    static TURN: Turn;
}

/// Who is to do something for an answer's body: the service, or the client (lowest bit). It
/// changes with each piece of the body.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicU64>);

impl Turn {
    /// The one of the stream whose task this is.
    pub(super) fn of_this_stream() -> Self {
        TURN.try_with(Clone::clone).unwrap_or_default()
    }

    /// The body was asked for more, and had a piece, or the end, for the client; or had not.
    pub(super) fn asked(&self, had: bool) {
        let next = (self.0.load(Relaxed) | 1) + 1;
        self.0.store(next | u64::from(had), Relaxed);
    }
}

/// Whether a connection's socket has taken all that was written: odd while it has not.
#[derive(Clone, Debug, Default)]
pub(super) struct Jams(Arc<AtomicU64>);

impl Jams {
    /// Whether it is jammed.
    pub(super) fn now(&self) -> bool {
        self.0.load(Relaxed) & 1 == 1
    }

    fn note(&self, jammed: bool) {
        if self.now() != jammed {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

/// A socket that tells when it is jammed.
pub(super) struct Noting<T> {
    pub(super) socket: T,
    pub(super) jams: Jams,
}

impl<T> Noting<T> {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.jams.note(written.is_pending());
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noting<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noting<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Runs the streams of a connection, and resets each whose client takes nothing for `limit`.
#[derive(Clone)]
pub(super) struct Tasks {
    pub(super) limit: Duration,
    pub(super) jams: Jams,
    pub(super) metrics: Metrics,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        let Self { limit, jams, metrics } = self.clone();
        tokio::spawn(async move {
            let turn = Turn::default();
            let mut patience =
                Patience { limit, turn: turn.clone(), jams, seen: (0, 0), end: None };
            let mut stream = pin!(TURN.scope(turn, stream));
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_pending() {
                    ready!(patience.poll(cx));
                    // It is dropped, and so reset.
                    metrics.unread();
                }
                Poll::Ready(())
            })
            .await;
        });
    }
}

/// How long one stream's client still has.
struct Patience {
    limit: Duration,
    turn: Turn,
    jams: Jams,
    /// Turn and jams when `end` was set.
    seen: (u64, u64),
    /// Made where a client is waited for at all.
    end: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready once the client took nothing for the limit, though the socket would have. (Where the
    /// socket is jammed the stream waits for others, and the kernel for the client.)
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let seen = (self.turn.0.load(Relaxed), self.jams.0.load(Relaxed));
        if seen.0 & 1 == 0 {
            // The service's answer, or the next piece of it, wakes the stream.
            return Poll::Pending;
        }
        let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        if seen != self.seen {
            self.seen = seen;
            end.as_mut().reset(Instant::now() + self.limit);
        }
        while end.as_mut().poll(cx).is_ready() {
            if !self.jams.now() {
                return Poll::Ready(());
            }
            end.as_mut().reset(Instant::now() + self.limit);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    /// A stream of which the client has a piece to take.
    fn waits() -> Patience {
        let turn = Turn::default();
        turn.asked(true);
        Patience { limit: LIMIT, turn, jams: Jams::default(), seen: (0, 0), end: None }
    }

    /// Polls it once a second, as a stream may be for any reason. Gives the seconds that it lasted.
    async fn lasts(patience: &mut Patience, each: impl Fn(u64, &Patience)) -> u64 {
        for second in 0..1000 {
            if poll_fn(|cx| Poll::Ready(patience.poll(cx).is_ready())).await {
                return second;
            }
            each(second, patience);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        1000
    }

    #[tokio::test(start_paused = true)]
    async fn p8_who_takes_nothing_has_as_long_as_the_limit_says() {
        assert_eq!(lasts(&mut waits(), |_, _| {}).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_piece_has_as_long_again() {
        let takes = |second, patience: &Patience| {
            if second == 50 {
                patience.turn.asked(true);
            }
        };
        assert_eq!(lasts(&mut waits(), takes).await, 111);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_service_is_waited_for_no_time_counts() {
        let event = |second, patience: &Patience| match second {
            10 => patience.turn.asked(false),
            500 => patience.turn.asked(true),
            _ => {}
        };
        assert_eq!(lasts(&mut waits(), event).await, 561);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_socket_is_jammed_no_time_counts() {
        let jam = |second, patience: &Patience| match second {
            10 => patience.jams.note(true),
            500 => patience.jams.note(false),
            _ => {}
        };
        assert_eq!(lasts(&mut waits(), jam).await, 561);
    }
}
