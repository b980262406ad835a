//! A client byte by byte, for what no real one shows or does.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ways::OF_A_HOP;

/// Longer than anything takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, and what was read ahead.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, less what each hop has of its own.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// Status and reason.
    pub(crate) status: String,
    /// By name.
    pub(crate) headers: Vec<String>,
    /// Without framing.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// No more will be sent.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next answer, interim ones included; none where the connection ends before.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let mut lines = self.head().await?;
        let status = lines.remove(0).split_once(' ').unwrap().1.to_owned();
        let value = |name: &str| {
            let mut values = lines.iter().filter_map(|line| line.split_once(": "));
            values.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let bodiless = status.starts_with('1') || ["204", "304"].contains(&&status[..3]);
        let chunked = value("transfer-encoding").is_some();
        let length = value("content-length").map(|length| length.parse::<usize>().unwrap());
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        if chunked {
            trailers = self.chunks(&mut body).await?;
        } else if let Some(length) = length.filter(|_| !bodiless) {
            body = self.exactly(length).await?;
        } else if !bodiless {
            while self.more().await {}
            body = std::mem::take(&mut self.read);
        }
        Some(Answer { status, headers: less_hops(lines), body, trailers })
    }

    /// What is left until the other end closes.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// A head's lines, without the empty one.
    pub(crate) async fn head(&mut self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            match self.line().await? {
                line if line.is_empty() => return Some(lines),
                line => lines.push(line),
            }
        }
    }

    /// The data of the next chunk; empty for the last.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
        let data = self.exactly(size).await?;
        if size > 0 {
            self.line().await?;
        }
        Some(data)
    }

    /// Reads chunks to their end; gives the trailers.
    async fn chunks(&mut self, body: &mut Vec<u8>) -> Option<Vec<String>> {
        loop {
            let data = self.chunk().await?;
            if data.is_empty() {
                return self.head().await;
            }
            body.extend(data);
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|at| at == b"\r\n") {
                let line = self.exactly(end + 2).await?;
                return Some(line[..end].iter().map(|byte| char::from(*byte)).collect());
            }
            self.more().await.then_some(())?;
        }
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.more().await.then_some(())?;
        }
        let rest = self.read.split_off(length);
        Some(std::mem::replace(&mut self.read, rest))
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let read = soon(self.stream.read(&mut buffer)).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

fn less_hops(lines: Vec<String>) -> Vec<String> {
    let mut headers: Vec<_> = lines
        .into_iter()
        .map(|line| match line.split_once(':') {
            // What is around a value is none of it (RFC 9112 §5.1).
            Some((name, value)) => format!("{}: {}", name.to_ascii_lowercase(), value.trim()),
            None => line.to_ascii_lowercase(),
        })
        .filter(|line| !OF_A_HOP.contains(&line.split(':').next().unwrap()))
        .collect();
    // Stable: values of one name keep their order.
    headers.sort_by_key(|line| line.split(':').next().unwrap().to_owned());
    headers
}

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it never came")
}
