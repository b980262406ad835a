//! Raw bytes that parsers are known to cut into requests differently, each with a create hidden
//! where only a wrong cut finds it, or pipelined where any cut does.

use fastrand::Rng;

use super::case::{BODY, Case, headers};

/// `Content-Length` and `Transfer-Encoding`, as senders of all kinds write them. `@` is the length.
const LENGTHS: [&str; 54] = [
    "content-length: @",
    "content-length: 0",
    "content-length: 5",
    "Content-Length: @\r\nContent-Length: @",
    "content-length: @\r\ncontent-length: 0",
    "content-length: 0\r\ncontent-length: @",
    "content-length: +@",
    "content-length: -@",
    "content-length: @, @",
    "content-length: @,0",
    "content-length: 0,@",
    "content-length:@ ",
    "content-length:\t@",
    "content-length: 000@",
    "content-length: 0x@",
    "content-length: @.0",
    "content-length: @e0",
    "content-length:",
    "content-length: 1844674407370955161@",
    "content-length : @",
    " content-length: @",
    "content-length:\x0b@",
    "content_length: @",
    "x: y\ncontent-length: @",
    "x: y\rcontent-length: @",
    "x: y\r\n content-length: @",
    "content-length: 0\r\n @",
    "content-length: @\0",
    "content-length\0: @",
    "content-length: @ 0",
    "content-length: \u{661}",
    "content-length: @;x",
    "x-content-length: @",
    "",
    "transfer-encoding: chunked",
    "Transfer-Encoding: CHUNKED",
    "transfer-encoding: chunked\r\ncontent-length: @",
    "content-length: @\r\ntransfer-encoding: chunked",
    "content-length: 0\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: identity\r\ncontent-length: @",
    "transfer-encoding: xchunked\r\ncontent-length: @",
    "transfer-encoding: chunked, identity\r\ncontent-length: @",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: chunked, chunked",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding: \"chunked\"\r\ncontent-length: @",
    "transfer-encoding:\x0bchunked\r\ncontent-length: @",
    "transfer-encoding : chunked\r\ncontent-length: @",
    "transfer-encoding:\r\n chunked\r\ncontent-length: @",
    "transfer_encoding: chunked\r\ncontent-length: @",
    "transfer-encoding\0: chunked\r\ncontent-length: @",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding:\r\ncontent-length: @",
];

/// Chunked bodies around a hidden request, `#`, whose length in hexadecimal is `@`.
const CHUNKS: [&str; 28] = [
    "@\r\n#\r\n0\r\n\r\n",
    "@;a=b\r\n#\r\n0\r\n\r\n",
    "@;a=\"\r\n\"\r\n#\r\n0\r\n\r\n",
    "@;\n\r\n#\r\n0\r\n\r\n",
    "000@\r\n#\r\n0\r\n\r\n",
    "+@\r\n#\r\n0\r\n\r\n",
    "0x@\r\n#\r\n0\r\n\r\n",
    "@ \r\n#\r\n0\r\n\r\n",
    "@\n#\n0\n\n",
    "@\r\n#0\r\n\r\n",
    "@\r\n#\r\n0\r\nx-case: t\r\n\r\n",
    "@\r\n#\r\n0\r\ncontent-length: 9\r\n\r\n",
    "@\r\n#\r\n00\r\n\r\n",
    "@\r\n#\r\n0;x\r\n\r\n",
    "0\r\n\r\n#",
    "0\r\n#",
    "0\r\nx: y\r\n\r\n#",
    "0\n\n#",
    "0\r\r\n#",
    "fffffffffffffffff\r\n#",
    "ffffffffffffffff\r\n#",
    "-1\r\n#",
    "\r\n0\r\n\r\n#",
    "0\r\n\r\r\n#",
    "2\r\nab\r\n0\r\n\r\n#",
    "2\r\nabc\r\n0\r\n\r\n#",
    "@;\0\r\n#\r\n0\r\n\r\n",
    "1\r\n#\r\n0\r\n\r\n",
];

/// The handshake of a WebSocket.
const WEBSOCKET: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";

/// Headers beside these.
const OTHERS: [&str; 18] = [
    "",
    "",
    "",
    "connection: upgrade\r\nupgrade: h2c",
    "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA",
    WEBSOCKET,
    "connection: Upgrade\r\nupgrade: made-up/1",
    "upgrade: TLS/1.0, HTTP/2.0\r\nconnection: keep-alive, upgrade",
    "connection: content-length",
    "connection: transfer-encoding",
    "connection: host, accept, x-user-id",
    "expect: 100-continue",
    "expect: something",
    "trailer: x-sum\r\nte: trailers",
    "connection: close",
    "content-encoding: gzip",
    "host: other",
    "proxy-connection: keep-alive",
];

/// Start lines. `@` is the case's name.
const STARTS: [&str; 26] = [
    "POST /agent_api_keys HTTP/1.1",
    "POST /agent_api_keys HTTP/1.1",
    "POST /other HTTP/1.1",
    "POST /other HTTP/1.1",
    "GET /other HTTP/1.1",
    "DELETE /agent_api_keys/@ HTTP/1.1",
    "POST /early HTTP/1.1",
    "POST /early HTTP/1.1",
    "HEAD /other HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "CONNECT keys:80 HTTP/1.1",
    "CONNECT /agent_api_keys HTTP/1.1",
    "POST /agent_api_keys HTTP/1.0",
    "POST /other HTTP/1.0",
    "POST /agent_api_keys",
    "GET /other",
    "PRI * HTTP/2.0",
    "POST http://a@elsewhere:1/agent_api_keys HTTP/1.1",
    "POST http://elsewhere/other HTTP/1.1",
    "POST /other  HTTP/1.1",
    "POST\t/other HTTP/1.1",
    "POST /other HTTP/1.1\r",
    "TRACE /other HTTP/1.1",
    "M-SEARCH * HTTP/1.1",
    "GET /agent_api_keys HTTP/1.1",
    "\r\n\nPOST /other HTTP/1.1",
];

/// The case with that number of the run with that seed. The first ones have each way to write a
/// length once, within a request that everybody takes; the rest are drawn.
pub(crate) fn case(seed: u64, number: usize) -> Case {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ number as u64);
    let name = format!("f{seed:x}n{number}");
    let hidden = whole(&format!("{name}h"));
    let draw = |rng: &mut Rng, from: &[&'static str]| from[rng.usize(..from.len())];
    let (start, lengths) = match LENGTHS.get(number) {
        Some(lengths) => ("POST /other HTTP/1.1", *lengths),
        // An upgrade that may go on, but for a third of them.
        None if number.is_multiple_of(8) => {
            ("GET /ws HTTP/1.1", if rng.u8(..3) > 0 { "" } else { draw(&mut rng, &LENGTHS) })
        }
        None => (draw(&mut rng, &STARTS), draw(&mut rng, &LENGTHS)),
    };
    let other = if start.contains("/ws") { WEBSOCKET } else { draw(&mut rng, &OTHERS) };
    let body = body(&mut rng, lengths, &hidden);
    let mut head = format!("{}\r\n", start.replace('@', &name));
    head += &headers(&name);
    let length = match rng.u8(..8) {
        0 => body.len() + 10,
        1 => body.len().saturating_sub(1),
        _ => body.len(),
    };
    for lines in [lengths.replace('@', &length.to_string()), other.to_owned()] {
        if !lines.is_empty() {
            head.extend([lines.as_str(), "\r\n"]);
        }
    }
    let mut end = "\r\n";
    match rng.u8(..24) {
        0 => head = head.replace("\r\n", "\n"),
        1 => end = "\n",
        2 => head = head.replace("x-user-id: alice", "x-user-id: alice\r\nx: \x01"),
        3 => head = head.replace("x-user-id: alice", "x-user-id: alice\r\n: y"),
        _ => {}
    }
    head += end;
    let tail = if rng.u8(..3) == 0 { whole(&format!("{name}t")) } else { String::new() };
    let pieces = cut(&mut rng, head, body + &tail);
    Case::framed(name, pieces)
}

/// A whole create.
pub(crate) fn whole(name: &str) -> String {
    let headers = headers(name);
    format!(
        "POST /agent_api_keys HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

fn body(rng: &mut Rng, lengths: &str, hidden: &str) -> String {
    if lengths.to_ascii_lowercase().contains("chunked") && rng.u8(..6) > 0 {
        let length = format!("{:x}", hidden.len());
        // First the length: the request has an `@` where a header has one.
        return CHUNKS[rng.usize(..CHUNKS.len())].replace('@', &length).replace('#', hidden);
    }
    match rng.u8(..4) {
        0 => BODY.to_owned(),
        _ => hidden.to_owned(),
    }
}

/// As one piece or several, as a sender may write them.
fn cut(rng: &mut Rng, head: String, rest: String) -> Vec<Vec<u8>> {
    match rng.u8(..4) {
        0 if !rest.is_empty() => vec![head.into(), rest.into()],
        1 => {
            let mut all = (head + &rest).into_bytes();
            let end = all.split_off(rng.usize(1..all.len()));
            vec![all, end]
        }
        _ => vec![(head + &rest).into()],
    }
}
