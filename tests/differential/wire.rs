//! The client's side: bytes out, answers in.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any answer takes that comes at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A connection and what was read ahead.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The case that the server says it belongs to; none where no server's application answered.
    pub(crate) case: Option<String>,
    /// Whether the sidecar itself refused: a problem, or an empty answer without a case.
    pub(crate) refusal: bool,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

impl Wire {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Sends; whether the other side was still there.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// No more will be sent.
    pub(crate) async fn finish(&mut self) {
        // The other side may have closed already.
        let _ = self.stream.shutdown().await;
    }

    /// Waits a moment for a first byte, and keeps it: a slow sender's pause.
    pub(crate) async fn pause(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(100), self.more()).await;
    }

    /// The next answer; none where the connection ends, or `Err` where it hangs.
    pub(crate) async fn answer(&mut self, head: bool) -> Result<Option<Answer>, ()> {
        tokio::time::timeout(PATIENCE, self.read_answer(head)).await.map_err(drop)
    }

    async fn read_answer(&mut self, is_head: bool) -> Option<Answer> {
        loop {
            let end = self.until(b"\r\n\r\n").await?;
            let head = String::from_utf8_lossy(&self.take(end)).into_owned();
            let status: u16 = head.get(9..12)?.parse().ok()?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let value = |name: &str| {
                let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
                let mut lines = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
                lines.next().map(|(_, value)| value.trim().to_owned())
            };
            let length = value("content-length").and_then(|length| length.parse::<usize>().ok());
            let mut closes = value("connection").is_some_and(|value| value == "close");
            if is_head || matches!(status, 101 | 204 | 304) {
            } else if value("transfer-encoding").is_some() {
                self.chunks().await?;
            } else if let Some(length) = length {
                while self.read.len() < length {
                    self.more().await.then_some(())?;
                }
                self.take(length);
            } else {
                closes = true;
            }
            closes |= head.starts_with("HTTP/1.0") && value("connection").is_none();
            let problem = value("content-type").is_some_and(|kind| kind.contains("problem"));
            let case = value("x-case");
            let refusal = problem || (case.is_none() && length == Some(0));
            return Some(Answer { status, case, refusal, closes });
        }
    }

    async fn chunks(&mut self) -> Option<()> {
        loop {
            let end = self.until(b"\r\n").await?;
            let size = String::from_utf8_lossy(&self.take(end)).trim().to_owned();
            let size = usize::from_str_radix(size.split(';').next()?, 16).ok()?;
            while self.read.len() < size + 2 {
                self.more().await.then_some(())?;
            }
            self.take(size + 2);
            if size == 0 {
                return Some(());
            }
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|at| at == end) {
                return Some(at + end.len());
            }
            self.more().await.then_some(())?;
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 8 << 10];
        let read = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }
}
