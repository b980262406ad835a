//! Just enough HTTP/1.1, written by hand: the double must see requests byte for byte, and must
//! be able to answer with what no library would write.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Call;

/// Reads one request; `None` at the end of the connection.
pub async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Call>> {
    let line = line(stream).await?;
    if line.is_empty() {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let line = self::line(stream).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut call = Call { path, headers, body: String::new(), at: Instant::now() };
    let body = if call.header("transfer-encoding").is_some() {
        chunks(stream).await?
    } else {
        let length = call.header("content-length").and_then(|text| text.parse().ok());
        exactly(stream, length.unwrap_or(0)).await?
    };
    call.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(call))
}

/// Writes one answer, whole.
pub async fn answer(stream: &mut BufReader<TcpStream>, status: u16, body: &str) -> io::Result<()> {
    stream.write_all(&bytes(status, body)).await
}

/// Writes one answer, or its body alone, a byte at a time, with `pause` before each.
pub async fn trickle(
    stream: &mut BufReader<TcpStream>,
    (status, body): (u16, String),
    body_alone: bool,
    pause: Duration,
) -> io::Result<()> {
    let mut head = bytes(status, &body);
    let rest = head.split_off(if body_alone { head.len() - body.len() } else { 0 });
    stream.write_all(&head).await?;
    for byte in rest {
        tokio::time::sleep(pause).await;
        stream.write_all(&[byte]).await?;
    }
    Ok(())
}

fn bytes(status: u16, body: &str) -> Vec<u8> {
    // A 204 or 304 has no body, whatever the fault says.
    let body = if matches!(status, 204 | 304) { "" } else { body };
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    format!("{head}{body}").into_bytes()
}

async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

async fn exactly(stream: &mut BufReader<TcpStream>, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16);
        let size = size.map_err(io::Error::other)?;
        body.extend(exactly(stream, size).await?);
        line(stream).await?;
        if size == 0 {
            return Ok(body);
        }
    }
}
