//! Just enough of an HTTP/1.1 server, written by hand so that it can also be a broken one.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A request, read whole.
#[derive(Clone)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its path, decoded as little as the double needs: not at all.
    pub path: String,
    /// Its query parameters; the last of one name counts.
    pub query: Vec<(String, String)>,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// A response.
#[derive(Clone)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers; `content-length` is added.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    /// The answer on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Status\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len()).bytes());
        bytes.extend(&self.body);
        bytes
    }
}

/// What a handler puts on the wire.
pub enum Out {
    /// An answer.
    Answer(Response),
    /// These bytes, and then the end of the connection.
    Last(Vec<u8>),
    /// An answer of which some comes at once, and the rest a byte at a time, with this pause before
    /// each.
    Trickle { head: Vec<u8>, rest: Vec<u8>, pause: Duration },
}

/// A server whose port can be closed for a while.
pub struct Server {
    address: SocketAddr,
    accepting: Mutex<AbortHandle>,
    /// While it is down, the port is bound but not listened on, so that nobody else gets it.
    shut: Mutex<Option<TcpSocket>>,
    serve: Arc<dyn Fn(TcpListener) -> AbortHandle + Send + Sync>,
}

impl Server {
    /// Serves on a free port of the loopback interface.
    pub async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Out> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve: Arc<dyn Fn(TcpListener) -> AbortHandle + Send + Sync> =
            Arc::new(move |listener| {
                tokio::spawn(accept(listener, handler.clone())).abort_handle()
            });
        let accepting = Mutex::new(serve(listener));
        Self { address, accepting, shut: Mutex::new(None), serve }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses connections, and cuts those that there are. Requests that were read go on.
    pub async fn down(&self) {
        self.accepting.lock().unwrap().abort();
        let socket = loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            // Once the task is gone, and the listener with it.
            if socket.bind(self.address).is_ok() {
                break socket;
            }
            tokio::task::yield_now().await;
        };
        *self.shut.lock().unwrap() = Some(socket);
    }

    /// Accepts connections again.
    pub fn up(&self) {
        let socket = self.shut.lock().unwrap().take().expect("it is down");
        *self.accepting.lock().unwrap() = (self.serve)(socket.listen(64).unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.lock().unwrap().abort();
    }
}

/// The connections end with this task.
async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Out> + Send + 'static,
{
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, handler.clone()));
    }
}

async fn connection<H, F>(mut stream: TcpStream, handler: H)
where
    H: Fn(Request) -> F,
    F: Future<Output = Out> + Send + 'static,
{
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        // In a task of its own: a client that hangs up does not stop the handler.
        match tokio::spawn(handler(request)).await {
            Ok(Out::Answer(response)) => {
                if stream.write_all(&response.to_bytes()).await.is_err() {
                    return;
                }
            }
            Ok(Out::Last(bytes)) => {
                // The peer may be gone; so is the connection, either way.
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Ok(Out::Trickle { head, rest, pause }) => {
                if trickle(&mut stream, &head, &rest, pause).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

async fn trickle(
    stream: &mut TcpStream,
    head: &[u8],
    rest: &[u8],
    pause: Duration,
) -> std::io::Result<()> {
    stream.write_all(head).await?;
    for byte in rest {
        tokio::time::sleep(pause).await;
        stream.write_all(&[*byte]).await?;
    }
    Ok(())
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < end + length {
        more(stream, buffer).await?;
    }
    let rest = buffer.split_off(end + length);
    let body = std::mem::replace(buffer, rest).split_off(end);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameter = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    let query = query.split('&').filter_map(parameter).collect();
    Some(Request { method, path: path.to_owned(), query, headers, body })
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}
