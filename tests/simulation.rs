//! Deterministic simulation: core, runner and a model journal between models of their neighbours,
//! in simulated time. One seed is one schedule, and the same trace every time.
//!
//! ```text
//! cargo test --test simulation                                        # the fixed seeds
//! SIMULATION_SCHEDULES=100000 SIMULATION_SEED=7 cargo test --test simulation every_schedule
//! SIMULATION_SEED=1234 cargo test --test simulation replay -- --nocapture
//! ```

// clippy.toml's exception for tests ends at their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![allow(clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/counts.rs"]
mod counts;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/invariants.rs"]
mod invariants;
#[path = "simulation/journal.rs"]
mod journal;
#[path = "simulation/life.rs"]
mod life;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/provider.rs"]
mod provider;
#[path = "simulation/replica.rs"]
mod replica;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/schedule.rs"]
mod schedule;
#[path = "simulation/service.rs"]
mod service;
#[path = "simulation/settings.rs"]
mod settings;
#[path = "simulation/shared.rs"]
mod shared;
#[path = "simulation/trace.rs"]
mod trace;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use counts::Counts;
use schedule::Schedule;
use shared::Bug;

const REPLAY: &str = "cargo test --test simulation replay -- --nocapture";

/// How many schedules the test runs unless told.
const COUNT: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn p1_p2_p3_p4_hold_in_every_schedule() {
    let count = number("SIMULATION_SCHEDULES").unwrap_or(COUNT);
    let first = number("SIMULATION_SEED").unwrap_or(1);
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let ended: Vec<_> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let (mut failed, mut counts) = (Vec::new(), Counts::default());
                    loop {
                        let nth = next.fetch_add(1, Relaxed);
                        if nth >= count {
                            return (failed, counts);
                        }
                        let outcome = run::run(first + nth, false);
                        counts += outcome.counts;
                        if !outcome.broken.is_empty() {
                            failed.push((first + nth, outcome.broken));
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let (mut failed, mut counts) = (Vec::new(), Counts::default());
    for (some, counted) in ended {
        failed.extend(some);
        counts += counted;
    }
    eprintln!("{count} schedules from {first} in {seconds:.1} s: {counts:?}");
    for (seed, broken) in &failed {
        eprintln!("{seed}: {broken:?}");
    }
    if let Some((seed, _)) = failed.iter().min() {
        eprintln!("{}", run::run(*seed, true).trace);
        let all = failed.len();
        panic!("{all} of {count} failed; replay the first with\n  SIMULATION_SEED={seed} {REPLAY}");
    }
    // Few schedules may lack some of it.
    let missing = if count < 1000 { Vec::new() } else { counts.missing() };
    assert!(missing.is_empty(), "what never happened was not tried: {missing:?}");
}

/// Else the schedules that hold would show nothing.
#[test]
fn p2_p9_a_shared_journal_that_breaks_its_promises_is_found_out() {
    for bug in [Bug::WritesFenced, Bug::LosesAppends] {
        let shared = (1..).map(Schedule::new).filter(|schedule| schedule.replicas > 1).take(400);
        let planted = shared.map(|schedule| Schedule { bug: Some(bug), ..schedule });
        let failed = planted.filter(|schedule| {
            let outcome = run::play_out(schedule.clone(), false);
            !outcome.broken.is_empty()
        });
        let failed = failed.count();
        eprintln!("{bug:?}: {failed} of 400 schedules fail");
        assert!(failed > 0, "{bug:?} goes unseen");
    }
}

/// Prints what happens in one schedule.
#[test]
fn replay() {
    let seed = number("SIMULATION_SEED").unwrap_or(1);
    let outcome = run::run(seed, true);
    eprintln!("{}", outcome.trace);
    assert!(outcome.broken.is_empty(), "{:?}", outcome.broken);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..50 {
        assert_eq!(run::run(seed, true).trace, run::run(seed, true).trace);
    }
}
