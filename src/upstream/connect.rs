//! Making a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::{Coalesce, Endpoint, MAX_BUFFER, RequestBody};

/// The driver of a connection.
pub(super) type Driver = Connection<TokioIo<Coalesce<Stream>>, RequestBody>;

/// How far the writing on a connection has come, so that one that stands still can be told from a slow
/// one, and one that is broken from both.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(Arc<AtomicU64>);

impl Written {
    /// Set once a write failed.
    const FAILED: u64 = 1 << 63;

    /// A number that grows with each write that the service's end had room for.
    pub(super) fn writes(&self) -> u64 {
        self.0.load(Relaxed) & !Self::FAILED
    }

    /// Whether a write failed, of which nobody else may know yet.
    pub(super) fn has_failed(&self) -> bool {
        self.0.load(Relaxed) & Self::FAILED != 0
    }

    pub(super) fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(_)) => self.0.fetch_add(1, Relaxed),
            Poll::Ready(Err(_)) => self.0.fetch_or(Self::FAILED, Relaxed),
            Poll::Pending => return,
        };
    }
}

/// Connects. The driver is to be spawned on the current runtime. `hears_out` as in [`Stream`].
pub(super) async fn connect(
    endpoint: &Endpoint,
    hears_out: bool,
) -> io::Result<(SendRequest<RequestBody>, Driver, Written)> {
    let written = Written::default();
    let socket = Socket::open(endpoint).await?;
    let stream = Stream { socket, written: written.clone(), hears_out, reset: false };
    let socket = Coalesce { socket: stream, written: "upstream.written" };
    let (sender, driver) = Builder::new()
        .max_buf_size(MAX_BUFFER)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(io::Error::other)?;
    Ok((sender, driver, written))
}

/// A connection to the service.
pub(super) struct Stream {
    socket: Socket,
    written: Written,
    /// Whether it is for reading to tell that the service has closed. One that refuses a request may do
    /// so while the rest is on its way, and hyper gives up at the first write that fails, with the
    /// answer unread.
    hears_out: bool,
    /// Whether a write that failed took from the kernel what reading would have met: that the
    /// connection was reset, so that an answer does not end there.
    reset: bool,
}

impl Stream {
    fn wrote(
        &mut self,
        length: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.written.note(&written);
        match &written {
            Poll::Ready(Err(error)) if self.hears_out && is_closed(error) => {
                self.reset |= error.kind() == io::ErrorKind::ConnectionReset;
                Poll::Ready(Ok(length))
            }
            _ => written,
        }
    }
}

/// Whether the other end has closed its side.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Endpoint::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &mut this.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        };
        let ended = matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        if ended && this.reset {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        } else {
            read
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        };
        this.wrote(buf.len(), written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        };
        this.wrote(bufs.iter().map(|buf| buf.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const BOTH: [bool; 2] = [false, true];

    /// A connection whose other end has said `bye` and closed: after an orderly end of what it says, or
    /// with a reset.
    async fn closed(hears_out: bool, orderly: bool) -> Stream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (socket, written) = (Socket::Tcp(near), Written::default());
        let mut stream = Stream { socket, written, hears_out, reset: false };
        stream.write_all(b"request").await.unwrap();
        far.readable().await.unwrap();
        far.write_all(b"bye").await.unwrap();
        if orderly {
            far.shutdown().await.unwrap();
        }
        // With something unread: resets.
        drop(far);
        stream
    }

    #[tokio::test]
    async fn what_a_service_said_before_it_closed_is_read_where_no_more_can_be_written() {
        for orderly in BOTH {
            let mut stream = closed(true, orderly).await;
            while !stream.written.has_failed() {
                stream.write_all(b"more").await.unwrap();
            }
            let arrived = stream.written.writes();
            stream.write_all(b"more").await.unwrap();
            let pieces = [io::IoSlice::new(b"mo"), io::IoSlice::new(b"re")];
            assert_eq!(stream.write_vectored(&pieces).await.unwrap(), 4);
            assert_eq!(stream.written.writes(), arrived, "only what arrived counts");
            let mut said = [0; 3];
            stream.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"bye");
            let end = stream.read(&mut said).await.map_err(|error| error.kind());
            let expected = if orderly { Ok(0) } else { Err(io::ErrorKind::ConnectionReset) };
            assert_eq!(end, expected, "a reset is no end of an answer");
        }
    }

    #[tokio::test]
    async fn a_tunnel_ends_where_no_more_can_be_written() {
        for orderly in BOTH {
            let mut stream = closed(false, orderly).await;
            while stream.write_all(b"more").await.is_ok() {}
        }
    }
}
