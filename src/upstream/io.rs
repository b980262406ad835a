//! Sockets, and how small messages are written to them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::failpoint;

/// Up to here a message is copied together and written by `send`. hyper hands over head and body
/// apart, and for two small pieces `writev` costs the kernel more than the copy costs us.
const SMALL: usize = 2 << 10;

/// What a connection may hold of a message that its reader does not take, each way. hyper's own
/// bound is three times that, which a slow client would cost at both ends.
pub(crate) const MAX_BUFFER: usize = 128 << 10;

/// A socket that writes small messages in one piece.
pub(crate) struct Coalesce<T> {
    pub(crate) socket: T,
    /// The failpoint that a write comes to.
    pub(crate) written: &'static str,
}

impl<T> Coalesce<T> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            failpoint::hit(self.written);
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Coalesce<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Coalesce<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = Pin::new(&mut self.socket);
        if let [piece] = pieces {
            let written = inner.poll_write(cx, piece);
            return self.wrote(written);
        }
        let mut together = [0; SMALL];
        let written = match join(pieces, &mut together) {
            Some(message) => inner.poll_write(cx, message),
            None => inner.poll_write_vectored(cx, pieces),
        };
        self.wrote(written)
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

/// The pieces one after the other, if there is room for all.
fn join<'a>(pieces: &[IoSlice<'_>], room: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    let mut end = 0;
    for piece in pieces {
        let next = end + piece.len();
        room.get_mut(end..next)?.copy_from_slice(piece);
        end = next;
    }
    room.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(lengths: &[usize]) -> Option<usize> {
        let data = [7; SMALL + 1];
        let pieces: Vec<_> = lengths.iter().map(|n| IoSlice::new(&data[..*n])).collect();
        let mut room = [0; SMALL];
        join(&pieces, &mut room).map(|message| {
            assert!(message.iter().all(|byte| *byte == 7));
            message.len()
        })
    }

    #[test]
    fn what_fits_is_joined_and_what_does_not_is_left() {
        assert_eq!(joined(&[]), Some(0));
        assert_eq!(joined(&[100, 0, 50]), Some(150));
        assert_eq!(joined(&[SMALL - 1, 1]), Some(SMALL));
        assert_eq!(joined(&[SMALL, 1]), None);
        assert_eq!(joined(&[SMALL + 1]), None);
    }
}
