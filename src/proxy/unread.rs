//! Answers that their client does not take (promise P8): each holds a connection to the service.
//!
//! Of a whole connection the kernel knows that nobody takes what is sent, and ends it. A stream of
//! HTTP/2 can be left alone on a connection that is well read, since its window is the client's to
//! open. From here that looks like a stream that waits for its turn on a slow connection; so one is
//! reset at the limit where the connection stands still too, and else has [`SHARED`] times as long.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Metrics;
use super::flow::{Flow, Mark};

/// Of the limit, that a stream has whose connection does not stand still.
const SHARED: u32 = 10;

/// Has the kernel end a connection whose client takes nothing for `limit` of what was sent
/// (`TCP_USER_TIMEOUT`, RFC 5482; tcp(7)): it neither acknowledges nor opens its window for a
/// segment. Costs nothing per request, and does not wait for room in the socket's buffer, which a
/// slow client makes seldom.
pub(super) fn bound(socket: &TcpStream, limit: Duration) -> io::Result<()> {
    // The kernel takes an `int`, and zero for no bound.
    let milliseconds = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(socket, milliseconds.unsigned_abs())?)
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

/// Runs the streams of a connection, and resets each whose client takes nothing for too long.
#[derive(Clone)]
pub(super) struct Tasks {
    pub(super) limit: Duration,
    pub(super) flow: Flow,
    pub(super) metrics: Metrics,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        let Self { limit, flow, metrics } = self.clone();
        tokio::spawn(async move {
            let turn = Turn::default();
            let mut patience = Patience::new(limit, turn.clone(), flow);
            let mut stream = pin!(TURN.scope(turn, stream));
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_pending() {
                    ready!(patience.poll(cx));
                    // It is dropped, and so reset, once its request has ended.
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
    flow: Flow,
    /// The turn that the rest is about.
    seen: u64,
    /// Where the connection was when `look` was set.
    mark: Mark,
    /// When it is too late whatever the connection does.
    last: Instant,
    /// When to look next. Made where a client is waited for at all.
    look: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration, turn: Turn, flow: Flow) -> Self {
        let (mark, last) = (flow.mark(), Instant::now());
        Self { limit, turn, flow, seen: 0, mark, last, look: None }
    }

    /// Ready once the client took nothing for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = self.turn.0.load(Relaxed);
        if turn & 1 == 0 {
            // The service's answer, or the next piece of it, wakes the stream.
            return Poll::Pending;
        }
        let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        if turn != self.seen {
            self.seen = turn;
            self.mark = self.flow.mark();
            self.last = Instant::now() + self.limit * SHARED;
            look.as_mut().reset(Instant::now() + self.limit);
        }
        while look.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= self.last || self.flow.untaken_since(self.mark) {
                return Poll::Ready(());
            }
            self.mark = self.flow.mark();
            look.as_mut().reset(now + self.limit);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of which the client has a piece to take.
    fn waits() -> Patience {
        let turn = Turn::default();
        turn.asked(true);
        Patience::new(Duration::from_mins(1), turn, Flow::default())
    }

    /// Polls it once a second, as a stream may be for any reason. Gives the seconds that it lasted.
    async fn lasts(patience: &mut Patience, each: impl Fn(u64, &Patience)) -> u64 {
        for second in 0..2000 {
            if poll_fn(|cx| Poll::Ready(patience.poll(cx).is_ready())).await {
                return second;
            }
            each(second, patience);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        2000
    }

    fn writes(patience: &Patience, bytes: usize) {
        patience.flow.note_written(&Poll::Ready(Ok(bytes)));
    }

    #[tokio::test(start_paused = true)]
    async fn p8_who_takes_nothing_has_as_long_as_the_limit_says() {
        assert_eq!(lasts(&mut waits(), |_, _| {}).await, 60);
        assert_eq!(lasts(&mut waits(), |_, patience| writes(patience, 1)).await, 60, "pings");
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
    async fn while_others_of_its_connection_get_something_a_stream_may_wait_for_its_turn() {
        let other = |second, patience: &Patience| {
            if second <= 200 {
                writes(patience, 100);
            }
        };
        assert_eq!(lasts(&mut waits(), other).await, 300);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_socket_is_jammed_a_stream_may_wait_for_its_turn() {
        let jam = |second, patience: &Patience| match second {
            10 => patience.flow.note_written(&Poll::Pending),
            130 => writes(patience, 1),
            _ => {}
        };
        assert_eq!(lasts(&mut waits(), jam).await, 180);
    }

    #[tokio::test(start_paused = true)]
    async fn p8_whatever_others_get_no_stream_waits_for_ever() {
        assert_eq!(lasts(&mut waits(), |_, patience| writes(patience, 1000)).await, 600);
        let jam = |_, patience: &Patience| patience.flow.note_written(&Poll::Pending);
        assert_eq!(lasts(&mut waits(), jam).await, 600);
    }
}
