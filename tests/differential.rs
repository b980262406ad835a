//! Sends thousands of spellings and framings through the sidecar to real servers, and compares
//! what it took each request for with the handler that ran (P5).
//!
//! Run by `scripts/differential.sh`, which tells what it takes from the environment. A program rather
//! than a test: one line a server is the result.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program of the tests fails as loudly as they, and its output is its result"
)]

#[path = "differential/bodies.rs"]
mod bodies;
#[path = "differential/case.rs"]
mod case;
#[path = "differential/framing.rs"]
mod framing;
#[path = "differential/front.rs"]
mod front;
#[path = "differential/http2.rs"]
mod http2;
#[path = "differential/judge.rs"]
mod judge;
#[path = "differential/lane.rs"]
mod lane;
#[path = "differential/lowering.rs"]
mod lowering;
#[path = "differential/mischief.rs"]
mod mischief;
#[path = "differential/parts.rs"]
mod parts;
#[path = "differential/relay.rs"]
mod relay;
#[path = "differential/servers.rs"]
mod servers;
#[path = "differential/smuggling.rs"]
mod smuggling;
#[path = "differential/spelling.rs"]
mod spelling;
#[path = "differential/stream.rs"]
mod stream;
mod support;
#[path = "differential/wire.rs"]
mod wire;

use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use case::Case;
use front::Front;
use judge::{Evidence, Outcome, Verdict};
use lane::Lane;
use servers::Server;

/// Clients at once.
const LANES: usize = 32;
/// As many mismatches are told of each server.
const TOLD: usize = 25;
/// One in as many cases of HTTP/2 must reach a handler that creates or deletes.
const REACH: usize = 15;
/// The seed of the half that is the same in every run.
const FIXED: u64 = 1;

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let count = from_environment("CASES").expect("run scripts/differential.sh");
    let seed = from_environment("SEED").unwrap_or_else(|| fastrand::u64(2..1_000_000));
    let control: Option<String> = from_environment("CONTROL");
    let only: Option<String> = from_environment("SERVERS");
    println!("seed={seed}; half of the cases are of seed {FIXED}");
    let cases: Arc<[Case]> = cases(seed, count).into();
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    let (mut good, mut ran) = (true, false);
    for name in servers::ALL {
        let asked = |only: &String| only.split_whitespace().any(|only| only == name);
        if only.as_ref().is_some_and(|only| !asked(only)) {
            continue;
        }
        ran = true;
        let began = Instant::now();
        let verdict = runtime.block_on(run(name, control.as_deref(), &cases));
        for mismatch in verdict.mismatches.iter().take(TOLD) {
            println!("  {mismatch}");
        }
        println!("server={name} {verdict}");
        println!("  {} s, {} tunnels", began.elapsed().as_secs(), verdict.tunnels);
        // What is no good is there to be found out, whichever HTTP it is spoken to.
        good &= match control {
            None => verdict.mismatches.is_empty() && reached(&verdict, &cases),
            Some(_) => {
                verdict.mismatches.len() > verdict.mismatches_http2 && verdict.mismatches_http2 > 0
            }
        };
    }
    if !ran {
        println!("SERVERS names none of {:?}", servers::ALL);
    }
    if good && ran { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether enough of what is sent over HTTP/2 is taken: what is all refused proves nothing.
fn reached(verdict: &Verdict, cases: &[Case]) -> bool {
    let sent = cases.iter().filter(|case| case.is_http2()).count();
    let enough = verdict.http2 * REACH >= sent;
    if !enough {
        println!("  only {} of {sent} cases of HTTP/2 reached a handler", verdict.http2);
    }
    enough
}

/// Of twelve, one is about framing, one about the body, and two are of HTTP/2.
fn cases(seed: u64, count: usize) -> Vec<Case> {
    let case = |number: usize| {
        let seed = if number < count / 2 { FIXED } else { seed };
        let number = number % (count / 2).max(1);
        match number % 12 {
            11 => smuggling::case(seed, number / 12),
            10 => bodies::case(seed, number / 12),
            part @ 8..=9 => mischief::case(seed, number / 12 * 2 + part - 8),
            _ => spelling::case(seed, number),
        }
    };
    (0..count).map(case).collect()
}

async fn run(name: &str, control: Option<&str>, cases: &Arc<[Case]>) -> Verdict {
    let server = Server::start(name).await;
    let front = match control {
        Some("plain") => Front::naive(&server.upstream).await,
        None if name == servers::LOOSE => Front::start("strict", &server.upstream).await,
        None | Some("starlette") => Front::start("starlette", &server.upstream).await,
        Some(other) => panic!("no such control: {other}"),
    };
    let outcomes: Arc<Mutex<Vec<Outcome>>> =
        Arc::new(Mutex::new(vec![Outcome::default(); cases.len()]));
    let next = Arc::new(AtomicUsize::new(0));
    let lanes: Vec<_> = (0..LANES)
        .map(|_| {
            let (cases, address) = (Arc::clone(cases), front.address().to_owned());
            let (outcomes, next) = (Arc::clone(&outcomes), Arc::clone(&next));
            tokio::spawn(async move {
                let mut lane = Lane::new(&address);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    let outcome = lane.send(case).await;
                    outcomes.lock().unwrap()[index] = outcome;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let effects = front.effects().await;
    let (callers, arrivals) = (front.callers(), server.arrivals().await);
    let (outcomes, callers) = (&outcomes.lock().unwrap(), callers.as_ref());
    Evidence { cases, outcomes, arrivals: &arrivals, effects: &effects, callers }.judge()
}
