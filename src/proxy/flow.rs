//! What goes over a connection, for whoever waits for it to move.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What goes in a while though nothing is taken or uploaded, in bytes at most: pings and their
/// answers.
const STILL: u64 = 256;

/// What went, in bytes.
#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    written: AtomicU64,
    /// Whether the socket's buffer was full when it was last written to.
    jammed: AtomicBool,
}

/// What goes over a connection. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow(Arc<Counts>);

/// How far a connection had come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    read: u64,
    written: u64,
}

impl Flow {
    pub(super) fn mark(&self) -> Mark {
        Mark { read: self.0.read.load(Relaxed), written: self.0.written.load(Relaxed) }
    }

    /// Whether the client has taken nothing since. One that is slow may take from the socket's buffer
    /// and make no room for long; the kernel knows.
    pub(super) fn untaken_since(&self, then: Mark) -> bool {
        !self.0.jammed.load(Relaxed) && self.mark().written - then.written < STILL
    }

    /// Whether it has sent nothing either.
    pub(super) fn still_since(&self, then: Mark) -> bool {
        self.untaken_since(then) && self.mark().read - then.read < STILL
    }

    /// The socket was written to.
    pub(super) fn note_written(&self, written: &Poll<io::Result<usize>>) {
        self.0.jammed.store(written.is_pending(), Relaxed);
        if let Poll::Ready(Ok(bytes)) = written {
            self.0.written.fetch_add(*bytes as u64, Relaxed);
        }
    }
}

/// A socket that tells what goes over it.
pub(super) struct Noting<T> {
    pub(super) socket: T,
    pub(super) flow: Flow,
}

impl<T: AsyncRead + Unpin> AsyncRead for Noting<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        self.flow.0.read.fetch_add(came as u64, Relaxed);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noting<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.flow.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.flow.note_written(&written);
        written
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
