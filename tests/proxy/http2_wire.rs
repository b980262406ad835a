//! HTTP/2 frame by frame, for clients that don't keep to the rules.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http2_frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame,
};
use crate::support::soon;

pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const GOAWAY: u8 = 0x7;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    flags: u8,
    pub(crate) payload: Vec<u8>,
}

/// A connection.
pub(crate) struct Http2Wire(TcpStream);

impl Http2Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        let mut wire = Self(stream);
        assert!(wire.try_send(SETTINGS, 0, 0, &[]).await);
        wire
    }

    /// Sends each byte of the preface once the one before it has arrived.
    pub(crate) async fn in_pieces(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in PREFACE {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut wire = Self(stream);
        assert!(wire.try_send(SETTINGS, 0, 0, &[]).await);
        wire
    }

    /// Sends a frame, where the other end may have closed already.
    pub(crate) async fn try_send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> bool {
        let frame = frame(kind, flags, stream, payload);
        // Whoever sends without reading may fill both buffers.
        tokio::time::timeout(std::time::Duration::from_secs(2), self.0.write_all(&frame))
            .await
            .is_ok_and(|sent| sent.is_ok())
    }

    /// Sends a request without a body.
    pub(crate) async fn request(&mut self, stream: u32, headers: &[(&str, &str)]) {
        // The other end may have closed because of what came before.
        self.try_send(HEADERS, END_HEADERS | END_STREAM, stream, &block(headers)).await;
    }

    /// Opens a stream's window, or the connection's (0), by that many bytes.
    pub(crate) async fn grant(&mut self, stream: u32, bytes: u32) {
        self.try_send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()).await;
    }

    async fn frame(&mut self) -> Option<Came> {
        let mut head = [0; 9];
        soon(self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        soon(self.0.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Came { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of that kind; settings and pings are acknowledged meanwhile.
    pub(crate) async fn frame_of(&mut self, kind: u8) -> Option<Came> {
        loop {
            let came = self.frame().await?;
            if came.kind == kind {
                return Some(came);
            }
            if [SETTINGS, PING].contains(&came.kind) && came.flags & ACK == 0 {
                let payload = if came.kind == PING { &came.payload[..] } else { &[] };
                self.try_send(came.kind, ACK, 0, payload).await;
            }
        }
    }

    /// Whether such a frame comes before the connection ends.
    pub(crate) async fn until(&mut self, kind: u8) -> bool {
        self.frame_of(kind).await.is_some()
    }

    /// How a request is refused: its stream or the connection is reset, or the answer is the
    /// sidecar's own problem, 400 or 501.
    pub(crate) async fn refused(&mut self, stream: u32) -> Result<(), String> {
        let mut answer = Vec::new();
        loop {
            let Some(came) = self.frame().await else { return Ok(()) };
            match came.kind {
                RST_STREAM if came.stream == stream => return Ok(()),
                GOAWAY => return Ok(()),
                HEADERS | DATA if came.stream == stream => {
                    answer.extend_from_slice(&came.payload);
                    if came.flags & END_STREAM != 0 {
                        let text = String::from_utf8_lossy(&answer).into_owned();
                        let ours = ["problem:bad-request", "problem:not-implemented"];
                        let refused = ours.iter().any(|kind| text.contains(kind));
                        return if refused { Ok(()) } else { Err(text) };
                    }
                }
                _ => {}
            }
        }
    }
}
