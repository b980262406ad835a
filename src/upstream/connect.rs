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

/// How far the writing on a connection has come, so that one that stands still can be told from a slow one.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(Arc<AtomicU64>);

impl Written {
    /// A number that grows with each write that the service's end had room for.
    pub(super) fn writes(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.0.fetch_add(1, Relaxed);
        }
        written
    }
}

/// Connects. The driver is to be spawned on the current runtime. `hears_out` as in [`Stream`].
pub(super) async fn connect(
    endpoint: &Endpoint,
    hears_out: bool,
) -> io::Result<(SendRequest<RequestBody>, Driver, Written)> {
    let written = Written::default();
    let socket = Socket::open(endpoint).await?;
    let stream = Stream { socket, written: written.clone(), hears_out };
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
}

impl Stream {
    fn wrote(&self, length: usize, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Err(error)) if self.hears_out && is_closed(error) => {
                Poll::Ready(Ok(length))
            }
            _ => self.written.note(written),
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
        match &mut self.get_mut().socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
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

    use super::*;

    /// A connection whose other end has said `bye` and closed, with something unread.
    async fn closed(hears_out: bool) -> Stream {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (socket, written) = (Socket::Unix(near), Written::default());
        let mut stream = Stream { socket, written, hears_out };
        stream.write_all(b"unread").await.unwrap();
        far.write_all(b"bye").await.unwrap();
        drop(far);
        stream
    }

    #[tokio::test]
    async fn what_a_service_said_before_it_closed_is_read_where_no_more_can_be_written() {
        let mut stream = closed(true).await;
        for _ in 0..3 {
            stream.write_all(b"more").await.unwrap();
            assert!(stream.write_vectored(&[io::IoSlice::new(b"more")]).await.unwrap() == 4);
        }
        assert_eq!(stream.written.writes(), 1, "only what arrived counts");
        let mut said = [0; 3];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"bye");
        assert!(matches!(stream.read(&mut said).await, Ok(0) | Err(_)), "and then it ends");
    }

    #[tokio::test]
    async fn a_tunnel_ends_where_no_more_can_be_written() {
        assert!(closed(false).await.write_all(b"more").await.is_err());
    }
}
