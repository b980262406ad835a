//! Answers as no framework gives them, but services may: written word for word, read the same way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::ways::Ways;
use crate::wire::Wire;

/// Each is the answer to the request for its number.
const ANSWERS: [&str; 18] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 200 All is well, and more\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 799 Odder\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
    "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\nexpires: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nx-a: 2\r\nX-A: 1\r\nx-b: \r\nx-c:  padded \r\nx-latin: caf\u{e9}\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nx-between: 1\r\nset-cookie: a=2\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=b\r\nx\r\n02\r\nyz\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-sum: 9\r\n\r\n",
    "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-1/9\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: A\r\nwww-authenticate: B\r\ncontent-length: 2\r\n\r\nno",
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 4\r\n\r\nbusy",
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n\r\ndelimited by the end",
];

/// Answers until an answer ends the connection.
async fn serve(mut stream: TcpStream) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|at| at == b"\r\n\r\n") {
                break at + 4;
            }
            let count = stream.read_buf(&mut read).await.ok()?;
            (count > 0).then_some(())?;
        };
        let head = String::from_utf8(read.drain(..end).collect()).unwrap();
        let number: usize = head.split(' ').nth(1)?.trim_start_matches('/').parse().ok()?;
        // A byte a character: not all are ASCII.
        let bytes: Vec<u8> = ANSWERS[number].chars().map(|c| u8::try_from(c).unwrap()).collect();
        stream.write_all(&bytes).await.ok()?;
        if closes(ANSWERS[number]) {
            return None;
        }
    }
}

fn closes(answer: &str) -> bool {
    let framed = ["content-length", "chunked", " 204 ", " 304 "];
    !framed.iter().any(|framed| answer.contains(framed)) || answer.contains("connection: close")
}

#[tokio::test]
async fn p6_an_answer_is_the_services_word_for_word() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let ways = Ways::to_address(address).await;
    let mut wires = connect(&ways).await;
    for (number, answer) in ANSWERS.iter().enumerate() {
        let request = format!("GET /{number} HTTP/1.1\r\nhost: x\r\nte: trailers\r\n\r\n");
        let mut seen = Vec::new();
        for wire in &mut wires {
            wire.send(&request).await;
            seen.push(wire.answer().await.unwrap_or_else(|| panic!("{answer}: none")));
        }
        assert_eq!(seen[1], seen[0], "{answer}: left is through the sidecar");
        if closes(answer) {
            for wire in &mut wires {
                assert_eq!(wire.rest().await, "", "{answer}");
            }
            wires = connect(&ways).await;
        }
    }
}

async fn connect(ways: &Ways) -> [Wire; 2] {
    let [(_, straight), (_, through)] = ways.both();
    [Wire::connect(straight).await, Wire::connect(through).await]
}
