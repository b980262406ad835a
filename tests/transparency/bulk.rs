//! Large bodies, slow readers and slow writers, and what the sidecar holds of them (P6, P8).
//!
//! `TRANSPARENCY_MIB` is how much goes each way: 64 MiB, unless scripts/test.sh full asks for a GiB.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ways::Ways;
use crate::wire::soon;

const PIECE: usize = 64 << 10;

/// What the sidecar may grow by: a few buffers, and nothing that grows with the body.
const GROWTH: usize = 8 << 20;

fn length() -> usize {
    std::env::var("TRANSPARENCY_MIB").map_or(64, |mib| mib.parse().unwrap()) << 20
}

/// The piece at `at` of a body that repeats itself every 251 bytes: what is lost, doubled or out of order
/// shows.
fn pattern(at: usize) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..=250).cycle().take(PIECE + 251).collect());
    &BYTES[at % 251..][..PIECE]
}

/// Writes a body, and counts what it could write.
async fn give(stream: &mut (impl AsyncWriteExt + Unpin), length: usize, given: &AtomicUsize) {
    for at in (0..length).step_by(PIECE) {
        stream.write_all(pattern(at)).await.unwrap();
        given.store(at + PIECE, Relaxed);
    }
}

/// Reads a body, and compares it.
async fn take(stream: &mut (impl AsyncReadExt + Unpin), length: usize) {
    let mut piece = vec![0; PIECE];
    for at in (0..length).step_by(PIECE) {
        stream.read_exact(&mut piece).await.unwrap();
        assert!(piece == pattern(at), "another body, from {at} on");
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A service that gives and takes at once, and a sidecar before it.
struct Bulk {
    ways: Ways,
    /// Whether it reads what it is sent.
    reads: watch::Sender<bool>,
    given: Arc<AtomicUsize>,
}

impl Bulk {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (reads, may_read) = watch::channel(true);
        let given = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&given);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            let length = length();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut from, mut to) = stream.split();
            let mut may_read = may_read;
            let taken = async {
                may_read.wait_for(|may| *may).await.unwrap();
                take(&mut from, length).await;
            };
            tokio::join!(taken, give(&mut to, length, &counted));
            // The connection is kept until the sidecar has all of it.
            let _ = stream.read_u8().await;
        });
        Self { ways: Ways::to_address(address).await, reads, given }
    }

    /// A client whose request has arrived and whose answer has begun.
    async fn client(&self) -> TcpStream {
        let [_, (_, through)] = self.ways.both();
        let mut client = TcpStream::connect(through).await.unwrap();
        let length = length();
        let request = format!("POST /bulk HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        head(&mut client).await;
        client
    }

    /// The most that the sidecar has held until now. To be asked before there is a client: an answer that
    /// is held until it is whole has been held when its head comes.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.ways.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    fn assert_flat(&self, before: usize) {
        let grown = self.peak() - before;
        assert!(grown < GROWTH, "the sidecar grew by {grown} bytes");
    }
}

/// Waits until `moved` has stood still for so long that nothing more will come: the kernel's buffers on the
/// way are full. How much they take is the kernel's business.
async fn stalls(moved: &AtomicUsize) {
    let mut before = usize::MAX;
    while before != moved.load(Relaxed) {
        before = moved.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_large_bodies_pass_whole_both_ways_in_little_memory() {
    let bulk = Bulk::start().await;
    let before = bulk.peak();
    let mut client = bulk.client().await;
    let (mut from, mut to) = client.split();
    let given = AtomicUsize::new(0);
    tokio::join!(take(&mut from, length()), give(&mut to, length(), &given));
    bulk.assert_flat(before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_slow_reader_slows_the_service_and_misses_nothing() {
    let bulk = Bulk::start().await;
    let before = bulk.peak();
    let mut client = bulk.client().await;
    stalls(&bulk.given).await;
    bulk.assert_flat(before);
    let (mut from, mut to) = client.split();
    let given = AtomicUsize::new(0);
    tokio::join!(take(&mut from, length()), give(&mut to, length(), &given));
    bulk.assert_flat(before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_service_that_reads_slowly_slows_the_client_and_misses_nothing() {
    let bulk = Bulk::start().await;
    bulk.reads.send(false).unwrap();
    let before = bulk.peak();
    let client = bulk.client().await;
    let (mut from, mut to) = client.into_split();
    let given = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&given);
    let writing = tokio::spawn(async move { give(&mut to, length(), &counted).await });
    stalls(&given).await;
    bulk.assert_flat(before);
    bulk.reads.send(true).unwrap();
    take(&mut from, length()).await;
    writing.await.unwrap();
    bulk.assert_flat(before);
}
