//! Closing a connection whose client may still be sending (RFC 9112 §9.6).
//!
//! A socket that is closed while something comes in is reset, and with that a client may lose an
//! answer that it has not read yet: often the one that says why its body is refused. So the sending
//! side is closed first, and what still comes is read and thrown away, until the client closes too or
//! its time is up. Connections that end between requests close at once.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may pause that is told no more, and how long it may send in all.
const LINGER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// What is thrown away at once, in bytes.
const PIECE: usize = 8 << 10;

/// How far a connection's client was read. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading(Arc<State>);

#[derive(Debug)]
struct State {
    /// Whether nothing came since the end of a request.
    whole: Arc<AtomicBool>,
    /// Whether what comes is no request any more.
    switched: AtomicBool,
}

impl Default for State {
    fn default() -> Self {
        Self { whole: Arc::new(AtomicBool::new(true)), switched: AtomicBool::new(false) }
    }
}

impl Reading {
    /// A next request's head is waited for: there is nothing left of the last one.
    pub(super) fn awaits_head(&self) {
        self.0.whole.store(true, Relaxed);
    }

    /// A request's head was read, which is all of it where it has no body.
    pub(super) fn has_head(&self, without_body: bool) {
        self.0.whole.store(without_body, Relaxed);
    }

    /// To be set once its body was read, too.
    pub(super) fn whole(&self) -> &Arc<AtomicBool> {
        &self.0.whole
    }

    /// From here on bytes are tunnelled, and either side closes when it likes.
    pub(super) fn switched(&self) {
        self.0.switched.store(true, Relaxed);
    }

    fn came(&self) {
        self.0.whole.store(false, Relaxed);
    }
}

/// A client's socket that closes as told above.
pub(super) struct Lingering<T> {
    socket: T,
    reading: Reading,
    closing: Option<Closing>,
}

/// The time that a client has left that is told no more.
struct Closing {
    /// When its pause is too long.
    pause: Pin<Box<Sleep>>,
    /// When it is too late whatever comes.
    last: Instant,
}

impl Closing {
    fn new() -> Self {
        let (pause, total) = LINGER;
        Self { pause: Box::pin(tokio::time::sleep(pause)), last: Instant::now() + total }
    }

    fn came(&mut self) {
        self.pause.as_mut().reset(self.last.min(Instant::now() + LINGER.0));
    }
}

impl<T> Lingering<T> {
    pub(super) fn new(socket: T, reading: Reading) -> Self {
        Self { socket, reading, closing: None }
    }
}

impl<T: AsyncRead + Unpin> Lingering<T> {
    /// Whether something came, which is gone now, or the client closes.
    fn poll_throw_away(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut buf = ReadBuf::uninit(&mut piece);
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf));
        Poll::Ready(read.is_ok() && !buf.filled().is_empty())
    }

    /// Whether there is reason to believe that the client is still sending.
    fn may_be_sending(&mut self, cx: &mut Context<'_>) -> bool {
        let State { whole, switched } = &*self.reading.0;
        let behind_its_last_request = Poll::Ready(true);
        !switched.load(Relaxed)
            && (!whole.load(Relaxed) || self.poll_throw_away(cx) == behind_its_last_request)
    }

    /// Ready once nothing comes any more, or the client's time is up.
    fn poll_linger(&mut self, closing: &mut Closing, cx: &mut Context<'_>) -> Poll<()> {
        while closing.pause.as_mut().poll(cx).is_pending() && ready!(self.poll_throw_away(cx)) {
            closing.came();
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lingering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.reading.came();
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut closing = if let Some(closing) = self.closing.take() {
            closing
        } else {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            if !self.may_be_sending(cx) {
                return Poll::Ready(Ok(()));
            }
            Closing::new()
        };
        let ended = self.poll_linger(&mut closing, cx);
        self.closing = Some(closing);
        ended.map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Closes a socket of which something was read, with a client that does `client`. Gives the time
    /// that it took, in seconds.
    async fn closes<F: Future>(client: impl FnOnce(DuplexStream) -> F) -> u64 {
        let (socket, far) = duplex(1 << 10);
        let reading = Reading::default();
        reading.has_head(false);
        let mut socket = Lingering::new(socket, reading);
        let start = Instant::now();
        tokio::select! {
            ended = socket.shutdown() => ended.unwrap(),
            () = tokio::time::sleep(LINGER.1 * 2) => {}
            () = async {
                // What it gives back stays open.
                let _open = client(far).await;
                std::future::pending::<()>().await;
            } => {}
        }
        start.elapsed().as_secs()
    }

    async fn sends(mut far: DuplexStream, every: Duration) {
        while far.write_all(b"more").await.is_ok() {
            tokio::time::sleep(every).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p8_a_client_that_stays_or_sends_on_is_left_in_the_end() {
        assert_eq!(closes(|far| async move { far }).await, 5);
        assert_eq!(closes(|far| sends(far, Duration::from_secs(6))).await, 5);
        assert_eq!(closes(|far| sends(far, Duration::from_secs(4))).await, 30);
        assert_eq!(closes(|far| sends(far, Duration::from_millis(1))).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_is_waited_for_no_longer() {
        assert_eq!(closes(|far| async move { drop(far) }).await, 0);
        let sends_three = |mut far: DuplexStream| async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                far.write_all(b"more").await.unwrap();
            }
        };
        assert_eq!(closes(sends_three).await, 3);
    }

    /// Whether a client that stays is waited for, which has sent `ahead` and of which `reading` is known.
    async fn waits(reading: &Reading, ahead: &[u8]) -> bool {
        let (socket, mut far) = duplex(1 << 10);
        far.write_all(ahead).await.unwrap();
        let start = Instant::now();
        Lingering::new(socket, reading.clone()).shutdown().await.unwrap();
        drop(far);
        start.elapsed() == LINGER.0
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_may_be_sending_is_waited_for() {
        let reading = Reading::default();
        assert!(!waits(&reading, b"").await, "nothing ever came");
        assert!(waits(&reading, b"GET").await, "a request may be on its way");
        reading.has_head(false);
        assert!(waits(&reading, b"").await, "the body may come");
        reading.whole().store(true, Relaxed);
        assert!(!waits(&reading, b"").await, "the body has come");
        reading.has_head(true);
        assert!(!waits(&reading, b"").await, "there is no body");
        reading.came();
        assert!(waits(&reading, b"").await, "a next request began");
        reading.switched();
        assert!(!waits(&reading, b"x").await, "what comes is the tunnel's");
    }
}
