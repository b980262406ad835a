//! A small client, which sees answers as they are on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than every deadline of a [`World`](crate::world::World).
const PATIENCE: Duration = Duration::from_secs(15);

/// A request that is about to be sent.
#[derive(Clone)]
pub(crate) struct Call {
    address: SocketAddr,
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    /// A request of user `u-1`.
    pub(crate) fn new(address: SocketAddr, method: &'static str, target: &str) -> Self {
        let headers = vec![("x-user-id".into(), "u-1".into())];
        Self { address, method, target: target.to_owned(), headers, body: Vec::new() }
    }

    /// Instead of what it had of that name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Without a credential.
    pub(crate) fn anonymous(mut self) -> Self {
        self.headers.clear();
        self
    }

    /// Beside what it has of that name.
    pub(crate) fn and_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this as its only credential.
    pub(crate) fn anonymous_with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known == "content-type");
        self.and_header(name, value)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { body, ..self.header("content-type", "application/json") }
    }

    pub(crate) fn raw_body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    /// Sends it and reads the answer.
    pub(crate) async fn send(self) -> Answer {
        self.try_send().await.expect("no answer came")
    }

    /// The same, where the sidecar may die meanwhile.
    pub(crate) async fn try_send(self) -> Option<Answer> {
        let mut wire = TcpStream::connect(self.address).await.ok()?;
        wire.write_all(&self.to_bytes()).await.ok()?;
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, wire.read_to_end(&mut bytes)).await;
        read.expect("neither an answer nor an end came").ok()?;
        Answer::read(&bytes)
    }

    /// Sends it whole and leaves the answer unread: what comes of the connection is the caller's.
    pub(crate) async fn begin(self) -> TcpStream {
        let mut wire = TcpStream::connect(self.address).await.unwrap();
        wire.write_all(&self.to_bytes()).await.unwrap();
        wire
    }

    /// Sends all but the last byte.
    pub(crate) async fn begin_without_end(self) -> TcpStream {
        let mut wire = TcpStream::connect(self.address).await.unwrap();
        let bytes = self.to_bytes();
        wire.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        wire
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        bytes.extend(b"host: keys.test\r\nconnection: close\r\n");
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        if !self.body.is_empty() {
            bytes.extend(format!("content-length: {}\r\n", self.body.len()).bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// `None` where the connection ended before the answer.
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = lines.map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();
        let answer = Self { status, headers, body: bytes[end + 4..].to_vec() };
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        length.is_none_or(|length: usize| length == answer.body.len()).then_some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// A member of the JSON body that is a string.
    pub(crate) fn text(&self, member: &str) -> String {
        let body = self.json();
        body[member].as_str().unwrap_or_else(|| panic!("no {member} in {body}")).to_owned()
    }

    pub(crate) fn id(&self) -> String {
        self.text("id")
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        self
    }

    /// Asserts that this is the sidecar's own answer of this kind.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, slug: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let body = answer.json();
        assert_eq!(body["type"], format!("urn:authz-sidecar:problem:{slug}"), "{body}");
        assert_eq!(body["status"], status, "{body}");
        answer
    }

    /// Asserts that the create does not stand, and how far its undo is.
    #[track_caller]
    pub(crate) fn expect_undone(self, undo: &str) -> Self {
        let answer = self.expect_problem(503, "not-registered");
        assert_eq!(answer.json()["undo"], undo, "{}", answer.json());
        answer
    }
}
