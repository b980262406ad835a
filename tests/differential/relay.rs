//! A model of a naive sidecar, to see that mismatches are found: it compares the target as it came,
//! believes `Content-Length` and nothing else of what frames a request, and takes HTTP/2 as [`lowering`]
//! does.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::case::ENCODINGS;
use super::judge::Effect;
use super::lowering;
use crate::support::http2::PREFACE;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A running relay.
pub(crate) struct Relay {
    pub(crate) address: String,
    pub(crate) effects: Arc<Mutex<Vec<Effect>>>,
}

impl Relay {
    /// Relays to `upstream`, spelt as in a configuration.
    pub(crate) async fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let effects: Arc<Mutex<Vec<Effect>>> = Arc::default();
        let shared = Arc::clone(&effects);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, upstream.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, effects }
    }
}

/// One request of a connection, whose end is the answer's; or requests of HTTP/2.
async fn relay(
    mut client: TcpStream,
    upstream: String,
    effects: Arc<Mutex<Vec<Effect>>>,
) -> Option<()> {
    let mut first = [0; 4];
    client.peek(&mut first).await.ok()?;
    let answer = |head, body| exchange(head, body, &upstream, &effects);
    if first == PREFACE[..4] {
        return lowering::serve(client, answer).await;
    }
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|at| at == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut client, &mut read).await?;
    };
    let head = read[..end].iter().map(|byte| char::from(*byte)).collect::<String>();
    let length = value(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    let chunked = value(&head, "transfer-encoding").is_some();
    while read.len() < end + length.unwrap_or(0) || (chunked && !read.ends_with(b"0\r\n\r\n")) {
        more(&mut client, &mut read).await?;
    }
    client.write_all(&answer(head, read.split_off(end)).await?).await.ok()
}

/// Takes a request for what it seems to be, and asks the server.
async fn exchange(
    mut head: String,
    body: Vec<u8>,
    upstream: &str,
    effects: &Mutex<Vec<Effect>>,
) -> Option<Vec<u8>> {
    if let Some(effect) = decide(&head, value(&head, "x-case").unwrap_or_default()) {
        head = head.replace(ENCODINGS, "gzip");
        effects.lock().unwrap().push(effect);
    }
    let mut server: Box<dyn Io> = match upstream.strip_prefix("unix:") {
        Some(path) => Box::new(UnixStream::connect(path).await.ok()?),
        None => Box::new(TcpStream::connect(upstream.trim_start_matches("http://")).await.ok()?),
    };
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let head: Vec<u8> = head.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
    server.write_all(&[head, body].concat()).await.ok()?;
    let mut answer = Vec::new();
    // What came before a reset counts.
    let _ = server.read_to_end(&mut answer).await;
    Some(answer)
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut lines = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    lines.next().map(|(_, value)| value)
}

async fn more(client: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    (client.read_buf(read).await.ok()? > 0).then_some(())
}

/// What it takes a request for.
fn decide(head: &str, case: &str) -> Option<Effect> {
    let mut words = head.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?;
    let rest = path.strip_prefix("/agent_api_keys")?;
    let segment = |text: &str| !text.is_empty() && !text.contains('/');
    match (method, rest) {
        ("POST", "") => Some(Effect::created("create_key", case, "")),
        ("POST", "/webhook-trigger") => Some(Effect::created("create_webhook_key", case, "a1")),
        ("DELETE", rest) => {
            if let Some(name) = rest.strip_prefix("/name/") {
                return segment(name).then(|| Effect::deleted("delete_key_by_name", name));
            }
            let id = rest.strip_prefix('/').filter(|id| segment(id))?;
            Some(Effect::deleted("delete_key", id))
        }
        _ => None,
    }
}
