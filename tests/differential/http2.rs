//! A client of HTTP/2 that sends what it is told to, and understands whatever comes back.
//!
//! It is hyper's, but the head of each of its requests is replaced on the way by the frames of a
//! [`Stream`]; the rest of what it says, and all that is said to it, passes.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::stream::Stream;
use super::wire::{Answer, PATIENCE};
use crate::support::http2::{HEADERS, PREFACE};

/// A slow sender's pause.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection.
pub(crate) struct Http2 {
    sender: SendRequest<Empty<Bytes>>,
    streams: UnboundedSender<Stream>,
}

impl Http2 {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).unwrap();
        let (mut read, write) = stream.into_split();
        let (near, far) = tokio::io::duplex(64 << 10);
        let (said, mut heard) = tokio::io::split(far);
        let (streams, instead) = unbounded_channel();
        tokio::spawn(async move {
            // However it ends, nothing more is heard.
            let _ = tokio::io::copy(&mut read, &mut heard).await;
            let _ = heard.shutdown().await;
        });
        tokio::spawn(replace(said, write, instead));
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(near)).await.expect("into memory");
        tokio::spawn(connection);
        Self { sender, streams }
    }

    /// Sends, and takes the answer: none where the stream or the connection is reset, `Err` where
    /// neither comes.
    pub(crate) async fn exchange(&mut self, stream: &Stream) -> Result<Option<Answer>, ()> {
        if self.streams.send(stream.clone()).is_err() {
            return Ok(None);
        }
        let request = Request::new(Empty::new());
        let answered = async {
            let response = self.sender.send_request(request).await.ok()?;
            read(response).await
        };
        tokio::time::timeout(PATIENCE, answered).await.map_err(drop)
    }
}

async fn read(response: Response<Incoming>) -> Option<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let case = text("x-case").map(ToOwned::to_owned);
    let problem = text("content-type").is_some_and(|kind| kind.contains("problem"));
    let refusal = problem || (case.is_none() && body.is_empty());
    Some(Answer { status: head.status.as_u16(), case, refusal, closes: false })
}

/// Passes on what a client of HTTP/2 says, but for its requests. Ends where either end does.
async fn replace(
    mut said: ReadHalf<DuplexStream>,
    mut write: OwnedWriteHalf,
    mut instead: UnboundedReceiver<Stream>,
) -> Option<()> {
    let mut preface = [0; PREFACE.len()];
    said.read_exact(&mut preface).await.ok()?;
    write.write_all(&preface).await.ok()?;
    loop {
        let mut head = [0; 9];
        said.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, _, number @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?];
        said.read_exact(&mut payload).await.ok()?;
        if kind == HEADERS {
            let stream = instead.recv().await?;
            for (index, piece) in stream.frames(u32::from_be_bytes(number)).iter().enumerate() {
                if index > 0 {
                    tokio::time::sleep(PAUSE).await;
                }
                write.write_all(piece).await.ok()?;
            }
        } else {
            write.write_all(&[&head[..], &payload].concat()).await.ok()?;
        }
    }
}
