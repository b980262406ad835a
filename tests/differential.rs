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
#[path = "differential/judge.rs"]
mod judge;
#[path = "differential/relay.rs"]
mod relay;
#[path = "differential/servers.rs"]
mod servers;
#[path = "differential/smuggling.rs"]
mod smuggling;
#[path = "differential/spelling.rs"]
mod spelling;
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
use servers::Server;
use wire::Wire;

/// Clients at once.
const LANES: usize = 32;
/// As many mismatches are told of each server.
const TOLD: usize = 25;
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
        // What is no good is there to be found out.
        good &= verdict.mismatches.is_empty() == control.is_none();
    }
    if !ran {
        println!("SERVERS names none of {:?}", servers::ALL);
    }
    if good && ran { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One in ten is about framing, one about the body.
fn cases(seed: u64, count: usize) -> Vec<Case> {
    let case = |number: usize| {
        let seed = if number < count / 2 { FIXED } else { seed };
        let number = number % (count / 2).max(1);
        match number % 10 {
            9 => smuggling::case(seed, number / 10),
            8 => bodies::case(seed, number / 10),
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
                let mut open = None;
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    let outcome = send(case, &address, &mut open).await;
                    outcomes.lock().unwrap()[index] = outcome;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let effects = front.effects().await;
    let arrivals = server.arrivals().await;
    let outcomes = outcomes.lock().unwrap();
    Evidence { cases, outcomes: &outcomes, arrivals: &arrivals, effects: &effects }.judge()
}

/// Sends one case, on `open` or a connection of its own, and takes its answers.
async fn send(case: &Case, address: &str, open: &mut Option<Wire>) -> Outcome {
    let mut wire = match open.take() {
        Some(wire) if !case.alone => wire,
        kept => {
            let fresh = Wire::connect(address).await;
            if case.alone {
                *open = kept;
            }
            fresh
        }
    };
    let mut outcome = Outcome::default();
    for (index, piece) in case.pieces.iter().enumerate() {
        if index > 0 {
            wire.pause().await;
        }
        if !wire.send(piece).await {
            break;
        }
    }
    if case.alone {
        wire.finish().await;
    }
    let mut head = case.is_head();
    loop {
        match wire.answer(head).await {
            Ok(Some(answer)) => {
                let closes = answer.closes;
                outcome.answers.push(answer);
                if !case.alone && !closes {
                    *open = Some(wire);
                    return outcome;
                }
                head = false;
            }
            Ok(None) => return outcome,
            Err(()) => {
                outcome.hung = true;
                return outcome;
            }
        }
    }
}
