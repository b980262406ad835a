//! How a naive sidecar takes HTTP/2: it writes each request down in HTTP/1.1 as it came.

use std::future::Future;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stream::PADDED;
use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame,
};

/// Serves a connection by having each request, head and body, answered in HTTP/1.1.
pub(crate) async fn serve<F: Future<Output = Option<Vec<u8>>>>(
    mut client: TcpStream,
    answer: impl Fn(String, Vec<u8>) -> F,
) -> Option<()> {
    client.read_exact(&mut [0; PREFACE.len()]).await.ok()?;
    client.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    let mut answered = 0;
    loop {
        let (stream, fields, body) = request(&mut client, answered).await?;
        answered = stream;
        let answer = answer(head(&fields, body.len()), body).await?;
        let answer = String::from_utf8_lossy(&answer);
        let mut names = answer.lines().filter_map(|line| line.strip_prefix("x-case: "));
        let block =
            block(&[(":status", answer.get(9..12)?), ("x-case", names.next().unwrap_or_default())]);
        client.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await.ok()?;
    }
}

/// The next request behind stream `answered`: its stream, its fields, its body.
async fn request(
    client: &mut TcpStream,
    answered: u32,
) -> Option<(u32, Vec<(String, String)>, Vec<u8>)> {
    let (mut fields, mut body, mut ended) = (Vec::new(), Vec::new(), false);
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, number @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?];
        client.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(number);
        if kind == SETTINGS && flags & ACK == 0 {
            client.write_all(&frame(SETTINGS, ACK, 0, &[])).await.ok()?;
        }
        if stream <= answered || ![DATA, HEADERS, CONTINUATION].contains(&kind) {
            continue;
        }
        if kind != CONTINUATION {
            ended |= flags & END_STREAM != 0;
            if flags & PADDED != 0 {
                let padding = payload.remove(0);
                payload.truncate(payload.len().checked_sub(padding.into())?);
            }
        }
        let part = if kind == DATA { &mut body } else { &mut fields };
        part.extend_from_slice(&payload);
        if ended && (kind == DATA || flags & END_HEADERS != 0) {
            return Some((stream, unpacked(&fields)?, body));
        }
    }
}

/// The fields of a block as [`block`] writes it.
fn unpacked(mut block: &[u8]) -> Option<Vec<(String, String)>> {
    let mut texts = Vec::new();
    while let Some((_, rest)) = block.split_first() {
        block = rest;
        for _ in 0..2 {
            let length = integer(&mut block)?;
            let (text, rest) = block.split_at_checked(length)?;
            texts.push(text.iter().map(|byte| char::from(*byte)).collect::<String>());
            block = rest;
        }
    }
    Some(texts.chunks(2).map(|field| (field[0].clone(), field[1].clone())).collect())
}

fn integer(block: &mut &[u8]) -> Option<usize> {
    let mut next = || {
        let (first, rest) = block.split_first()?;
        *block = rest;
        Some(usize::from(*first))
    };
    let mut number = next()?;
    if number < 0x7f {
        return Some(number);
    }
    for shift in (0..).step_by(7) {
        let byte = next()?;
        number += (byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

/// A head of HTTP/1.1, which says whatever the fields say.
fn head(fields: &[(String, String)], length: usize) -> String {
    let value = |name: &str| {
        let mut fields = fields.iter().filter(|(known, _)| known == name);
        fields.next().map(|(_, value)| value.as_str())
    };
    let start = |name| value(name).unwrap_or_default();
    let length = length.to_string();
    let mut headers: Vec<(&str, &str)> = Vec::new();
    headers.extend(value(":authority").map(|authority| ("host", authority)));
    let ordinary = fields.iter().filter(|(name, _)| !name.starts_with(':'));
    headers.extend(ordinary.map(|(name, value)| (name.as_str(), value.as_str())));
    if value("content-length").is_none() {
        headers.push(("content-length", &length));
    }
    let mut head = format!("{} {} HTTP/1.1\r\n", start(":method"), start(":path"));
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head + "\r\n"
}
