//! What becomes of a connection: old clients, eager ones, slow ones, those that say no more.

use crate::ways::{Ways, fresh};
use crate::wire::{Answer, Wire};

/// What a client saw that sent `pieces`, each once the answer to the one before had come, and then
/// waited for the connection's end.
async fn saw(address: &str, pieces: &[&str]) -> Vec<Answer> {
    let mut wire = Wire::connect(address).await;
    let mut answers = Vec::new();
    for piece in pieces {
        wire.send(piece).await;
        answers.extend(wire.answer().await);
    }
    while let Some(answer) = wire.answer().await {
        answers.push(answer);
    }
    answers
}

/// Asserts that it sees the same both ways, and so many answers.
async fn same(ways: &Ways, pieces: &[&str], answers: usize) {
    let [(_, straight), (_, through)] = ways.both();
    let (straight, through) = (saw(straight, pieces).await, saw(through, pieces).await);
    assert_eq!(through, straight, "{pieces:?}: left is through the sidecar");
    assert_eq!(straight.len(), answers, "{pieces:?}");
}

#[tokio::test]
async fn p6_old_and_eager_clients_see_the_same() {
    for server in ["uvicorn-httptools", "uvicorn-h11"] {
        let ways = Ways::to(server).await;
        // uvicorn closes after each answer to HTTP/1.0, whatever the client asks for.
        same(&ways, &["GET /size/16 HTTP/1.0\r\n\r\n"], 1).await;
        same(&ways, &["GET /size/16 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"], 1).await;
        same(&ways, &["GET /chunks HTTP/1.0\r\nhost: x\r\n\r\n"], 1).await;
        let last = "GET /echo?3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let pipelined = format!(
            "GET /echo?1 HTTP/1.1\r\nhost: x\r\n\r\n\
             POST /echo?2 HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody{last}"
        );
        same(&ways, &[&pipelined], 3).await;
        // Refused before the body has come, which comes all the same, and then another request.
        let early = "POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbo";
        same(&ways, &[early, &format!("dy{last}")], 2).await;
    }
}

/// Both of uvicorn's parsers say 100 when the application asks for the body, and not before.
#[tokio::test]
async fn p6_whether_an_expected_body_is_sent_is_between_client_and_service() {
    for server in ["uvicorn-httptools", "uvicorn-h11"] {
        let ways = Ways::to(server).await;
        let expects = "host: x\r\nexpect: 100-continue\r\ncontent-length: 4";
        let wanted = format!("PUT /echo HTTP/1.1\r\nconnection: close\r\n{expects}\r\n\r\n");
        same(&ways, &[&wanted, "body"], 2).await;
        for (way, address) in ways.both() {
            let mut wire = Wire::connect(address).await;
            wire.send(format!("PUT /early HTTP/1.1\r\n{expects}\r\n\r\n")).await;
            let first = wire.answer().await.unwrap();
            assert!(first.status.starts_with("413 "), "{way}: {first:?}");
        }
    }
}

/// Each piece comes back before the next is sent: neither way is anything held until it is whole.
#[tokio::test]
async fn p6_a_slow_writer_is_heard_piece_by_piece() {
    let ways = Ways::to("uvicorn-httptools").await;
    for (_, address) in ways.both() {
        let mut wire = Wire::connect(address).await;
        wire.send("POST /duplex HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for number in 0..20 {
            let piece = format!("piece {number:02}");
            wire.send(format!("8\r\n{piece}\r\n")).await;
            if number == 0 {
                assert!(wire.head().await.unwrap()[0].starts_with("HTTP/1.1 200 "));
            }
            assert_eq!(wire.chunk().await.unwrap(), piece.as_bytes());
        }
        wire.send("0\r\n\r\n").await;
        assert_eq!(wire.chunk().await.unwrap(), b"");
    }
}

/// A head of which each byte comes in a packet of its own.
#[tokio::test]
async fn p6_a_head_may_come_byte_by_byte() {
    let ways = Ways::to("uvicorn-httptools").await;
    let mut seen = Vec::new();
    for (_, address) in ways.both() {
        let mut wire = Wire::connect(address).await;
        for byte in b"PUT /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody" {
            wire.send([*byte]).await;
        }
        seen.push(wire.answer().await.unwrap());
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn p6_a_poll_is_answered_when_there_is_something_to_say() {
    let ways = Ways::to("uvicorn-httptools").await;
    let mut seen = Vec::new();
    for (name, address) in ways.both() {
        let (name, mut polls) = (fresh(name), Wire::connect(address).await);
        polls.send(poll(&name)).await;
        tell(address, &name).await;
        seen.push(polls.answer().await.unwrap());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].text(), "{\"polled\":true}");
}

/// Deviation: uvicorn hangs up where a client says that it sends no more. The sidecar doesn't tell it,
/// since it may use the connection again, and so the client is answered.
#[tokio::test]
async fn deviation_a_client_that_sends_no_more_is_answered_where_the_service_would_hang_up() {
    let ways = Ways::to("uvicorn-httptools").await;
    let mut seen = Vec::new();
    for (name, address) in ways.both() {
        let (name, mut polls) = (fresh(name), Wire::connect(address).await);
        polls.send(poll(&name)).await;
        polls.finish().await;
        tell(address, &name).await;
        seen.push(polls.answer().await.map(|answer| answer.text()));
    }
    assert_eq!(seen, [None, Some("{\"polled\":true}".to_owned())]);
}

fn poll(name: &str) -> String {
    format!("GET /poll/{name} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// Has a poll answered, once it is there.
async fn tell(address: &str, name: &str) {
    let mut wire = Wire::connect(address).await;
    wire.send(format!("POST /go/{name} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(wire.answer().await.unwrap().text(), "gone");
}
