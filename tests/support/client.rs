//! An HTTP/1.1 client: one connection for each request, so that no pool hides what is tested.

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::PATIENCE;

/// Why there is no whole answer.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    server: Server,
}

#[derive(Clone, Debug)]
enum Server {
    Tcp(String),
    Unix(PathBuf),
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Client {
    /// A client of `address`: `HOST:PORT`, or the path of a unix socket.
    pub fn new(address: impl ToString) -> Self {
        let address = address.to_string();
        let server = if address.starts_with('/') {
            Server::Unix(address.into())
        } else {
            Server::Tcp(address)
        };
        Self { server }
    }

    /// A request, yet to be sent.
    pub fn request(&self, method: &str, target: &str) -> Call {
        let builder = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(target)
            .header("host", self.host());
        Call { client: self.clone(), builder, body: Bytes::new() }
    }

    /// A GET.
    pub fn get(&self, target: &str) -> Call {
        self.request("GET", target)
    }

    /// A POST.
    pub fn post(&self, target: &str) -> Call {
        self.request("POST", target)
    }

    /// A DELETE.
    pub fn delete(&self, target: &str) -> Call {
        self.request("DELETE", target)
    }

    /// What the server writes until it closes, after `bytes`; what it wrote by then where it
    /// leaves the connection open for two seconds of silence.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.raw_pieces(&[bytes.as_ref()]).await
    }

    /// As [`Client::raw`], each piece in a segment of its own.
    pub async fn raw_pieces(&self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut io = self.connect().await.unwrap();
        let (mut read, mut buffer) = (Vec::new(), vec![0; 65536]);
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                // The server must have read the piece before. If it answers that, this tells when.
                let second = std::time::Duration::from_secs(1);
                if let Ok(came) = tokio::time::timeout(second, io.read(&mut buffer)).await {
                    read.extend_from_slice(&buffer[..came.unwrap()]);
                }
            }
            io.write_all(piece).await.unwrap();
        }
        let silence = std::time::Duration::from_secs(2);
        while let Ok(Ok(count @ 1..)) = tokio::time::timeout(silence, io.read(&mut buffer)).await {
            read.extend_from_slice(&buffer[..count]);
        }
        read
    }

    fn host(&self) -> String {
        match &self.server {
            Server::Tcp(address) => address.clone(),
            Server::Unix(_) => "localhost".into(),
        }
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Io>> {
        Ok(match &self.server {
            Server::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Server::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

/// A request, yet to be sent.
#[must_use]
pub struct Call {
    client: Client,
    builder: http::request::Builder,
    body: Bytes,
}

impl Call {
    /// Adds a header; `host` replaces the client's own.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("host") {
            self.builder.headers_mut().unwrap().insert("host", value.parse().unwrap());
            return self;
        }
        self.builder = self.builder.header(name, value);
        self
    }

    /// Sets a JSON body and its type.
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sets the body's bytes.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer.
    ///
    /// # Panics
    /// When there is none, or a cut one.
    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap_or_else(|error| panic!("no whole answer: {error}"))
    }

    /// The answer, or why there is none.
    pub async fn try_send(self) -> Result<Answer, Error> {
        tokio::time::timeout(PATIENCE * 3, self.exchange()).await?
    }

    async fn exchange(self) -> Result<Answer, Error> {
        let io = self.client.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let answer = sender.send_request(self.builder.body(Full::new(self.body))?).await?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        let answered = answered.await;
        connection.abort();
        answered
    }

    /// Sends the request wholly and hangs up at once, without reading.
    pub async fn hang_up(self) {
        self.try_hang_up().await.unwrap();
    }

    /// As [`Call::hang_up`]; an error where nobody takes the request.
    pub async fn try_hang_up(self) -> std::io::Result<()> {
        let request = self.builder.body(()).unwrap();
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        head += &format!("content-length: {}\r\n\r\n", self.body.len());
        let mut io = self.client.connect().await?;
        io.write_all(&[head.as_bytes(), &self.body].concat()).await?;
        io.flush().await
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it came (not decoded).
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's first value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body's `id` or `key_id`.
    pub fn id(&self) -> String {
        let body = self.json();
        let id = body.get("id").or_else(|| body.get("key_id"));
        let id = id.and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("no id in {}: {}", self.status, self.text())).to_owned()
    }
}
