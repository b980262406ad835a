//! The story's HTTP client: one request, one connection, as a client that knows nothing of a
//! sidecar would send it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Who calls.
pub(super) const USER: &str = "user-1";

/// More than any answer of the demo takes, that of an undo in an outage included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// More than any answer of the demo has.
const LIMIT: usize = 1 << 20;

/// An answer, whole.
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its document, or `null` where it is none.
    pub(super) body: Value,
}

impl Answer {
    /// The text at `pointer` in its document, or nothing.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Sends one request. The error says why there is no whole answer.
pub(super) async fn call(
    to: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, String> {
    match tokio::time::timeout(TIMEOUT, exchange(to, method, path, body)).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn exchange(
    to: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, String> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, to.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-user-id", USER)
        .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
        .map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Its error, if there is one, is the sender's too.
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LIMIT).collect().await.map_err(|error| error.to_string())?;
    connection.abort();
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    Ok(Answer { status: head.status, body })
}
