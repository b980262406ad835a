//! Deterministic simulation: core, runner and a model journal between models of their neighbours,
//! in simulated time. One seed is one schedule, and the same trace every time.
//!
//! ```text
//! cargo test --test simulation                                        # the fixed seeds
//! SIMULATION_SCHEDULES=100000 SIMULATION_SEED=7 cargo test --test simulation every_schedule
//! SIMULATION_SEED=1234 cargo test --test simulation replay -- --nocapture
//! ```
//!
//! Those are the narrow draws. `scripts/simulate.sh` runs the wide ones: see docs/SIMULATION.md.

// clippy.toml's exception for tests ends at their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![allow(clippy::indexing_slicing, reason = "tests may fail loudly")]
#![allow(clippy::print_stderr, reason = "a run prints what it found")]

#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/counts.rs"]
mod counts;
#[path = "simulation/coverage.rs"]
mod coverage;
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
#[path = "support/memory.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod memory;
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

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use counts::Counts;
use coverage::Pairs;
use faults::Faults;
use run::Outcome;
use schedule::{Draws, Schedule};
use shared::Bug;

const REPLAY: &str = "cargo test --test simulation replay -- --nocapture";

/// Where the models look for the journal in memory, also within other tests.
mod support {
    pub(crate) use super::memory;
}

/// How many schedules the test runs unless told.
const COUNT: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The draws that are asked for.
fn draws() -> Draws {
    match std::env::var("SIMULATION_DRAWS").as_deref() {
        Ok("wide") => Draws::Wide,
        _ => Draws::Narrow,
    }
}

/// What many schedules came to.
#[derive(Default)]
struct Sum {
    failed: BTreeMap<u64, Outcome>,
    counts: Counts,
    pairs: Pairs,
}

impl Sum {
    fn add(&mut self, seed: u64, mut outcome: Outcome) {
        self.counts += outcome.counts;
        self.pairs.extend(std::mem::take(&mut outcome.pairs));
        if !outcome.broken.is_empty() {
            self.failed.insert(seed, outcome);
        }
    }
}

/// Runs `count` schedules from `first` on, on as many threads as are asked for.
fn run_all(first: u64, count: u64) -> Sum {
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let cores = || std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let threads = number("SIMULATION_THREADS").unwrap_or_else(cores);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let seed = first + next.fetch_add(1, Relaxed);
            if seed >= first + count {
                return sum;
            }
            sum.add(seed, run::run(seed, draws(), false));
        }
    };
    let mut all = Sum::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let sum = worker.join().unwrap();
            all.failed.extend(sum.failed);
            all.counts += sum.counts;
            all.pairs.extend(sum.pairs);
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{count} schedules from {first} in {seconds:.1} s: {:?}", all.counts);
    all
}

/// Prints each broken promise with its seed, and how many of each kind there are.
fn tell(failed: &BTreeMap<u64, Outcome>) {
    let mut kinds = BTreeMap::new();
    for (seed, outcome) in failed {
        for broken in &outcome.broken {
            eprintln!("{seed}: {broken} [{}]", outcome.unusual);
            let (count, first) = kinds.entry(broken.kind).or_insert((0, *seed));
            *count += 1;
            *first = (*first).min(*seed);
        }
    }
    for (kind, (count, first)) in kinds {
        eprintln!("{kind:?}: {count} times, first with seed {first}");
    }
}

#[test]
fn p1_p2_p3_p4_hold_in_every_schedule() {
    let count = number("SIMULATION_SCHEDULES").unwrap_or(COUNT);
    let first = number("SIMULATION_SEED").unwrap_or(1);
    let sum = run_all(first, count);
    if draws() == Draws::Wide {
        eprint!("{}", sum.pairs);
    }
    tell(&sum.failed);
    if let Some(seed) = sum.failed.keys().next() {
        let all = sum.failed.len();
        let replay = match draws() {
            Draws::Narrow => format!("SIMULATION_SEED={seed} {REPLAY}"),
            Draws::Wide => format!("scripts/simulate.sh replay {seed}"),
        };
        panic!("{all} of {count} failed; replay the first with\n  {replay}");
    }
    // Few schedules may lack some of it.
    let missing = if count < 1000 { Vec::new() } else { sum.counts.missing() };
    assert!(missing.is_empty(), "what never happened was not tried: {missing:?}");
}

/// Else the schedules that hold would show nothing.
#[test]
fn p2_p9_a_shared_journal_that_breaks_its_promises_is_found_out() {
    for bug in [Bug::WritesFenced, Bug::LosesAppends] {
        let drawn = (1..).map(|seed| Schedule::new(seed, Draws::Narrow));
        let shared = drawn.filter(|schedule| schedule.replicas > 1).take(400);
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

/// Prints what happens in one schedule. Where several operations wait for the same neighbour, tokio
/// wakes them in an order of its own: so what failed is tried again until it does.
#[test]
fn replay() {
    let seed = number("SIMULATION_SEED").unwrap_or(1);
    let outcomes = (0..20).map(|_| run::run(seed, draws(), true));
    let failed = outcomes.into_iter().find(|outcome| !outcome.broken.is_empty());
    let outcome = failed.unwrap_or_else(|| run::run(seed, draws(), true));
    eprintln!("{}", outcome.trace);
    assert!(outcome.broken.is_empty(), "{:?}", outcome.broken);
}

/// Of the wide draws those whose neighbours are well: see [`replay`].
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..50 {
        let narrow = || run::run(seed, Draws::Narrow, true).trace;
        assert_eq!(narrow(), narrow());
        let well = || {
            let (service, provider) = (Faults::default(), Faults::default());
            let schedule = Schedule { service, provider, ..Schedule::new(seed, Draws::Wide) };
            run::play_out(schedule, true).trace
        };
        assert_eq!(well(), well());
    }
}
