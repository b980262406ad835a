//! Kills the sidecar, thousands of times, at named places and at random instants, under clients
//! that create and delete, and looks after each recovery whether anything is lost (P2, P3, P4).
//!
//! Run by `scripts/crash.sh`, which tells what it takes from the environment. A program rather
//! than a test: it goes on over many runs, and its last line is the result.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program of the tests fails as loudly as they, and its output is its result"
)]

#[path = "crash/modules.rs"]
mod crash;
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authz_sidecar::failpoint;

use crash::bounds::Bounds;
use crash::check::Kind;
use crash::journal::Journal;
use crash::lane::Lane;
use crash::plan::Plan;
use crash::plant::Plant;
use crash::quirks::Faults;
use crash::run::{Run, from_environment, named, tell};
use crash::tally::{Line, Tally};
use support::service::{Options, Service};

/// What lanes share.
struct Shared {
    run: Run,
    service: Arc<Service>,
    next: AtomicU64,
    /// How many lanes there were, those that were given up included.
    lanes: AtomicU64,
    tally: Mutex<Tally>,
    until: Instant,
}

fn main() -> ExitCode {
    let directory: PathBuf = from_environment("CRASH_DIRECTORY").expect("run scripts/crash.sh");
    std::fs::create_dir_all(&directory).unwrap();
    if std::env::var_os("CRASH_TOTAL").is_some() {
        return total(&directory);
    }
    let run = Run::from_environment(directory);
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    match named("PLANT") {
        Some(plant) => runtime.block_on(raise(plant)),
        None => runtime.block_on(kill(run)),
    }
}

/// Plants a wrong, and looks whether its column rises, and no other.
async fn raise(plant: Plant) -> ExitCode {
    let service = Arc::new(Service::start(Options::default()).await);
    let (kinds, tally) = plant.raise(service).await;
    println!("planted {plant:?}, found {kinds:?}");
    println!("{tally}");
    let found = kinds == BTreeSet::from([plant.kind()]);
    if found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Adds up all logs.
fn total(directory: &std::path::Path) -> ExitCode {
    let mut total = Tally::default();
    let (mut postgres, mut quirks) = (Tally::default(), Tally::default());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let tally = Tally::read(&path);
            let (rounds, void) = (tally.rounds.len(), tally.void);
            println!("{}: rounds={rounds} void={void} {tally}", path.display());
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if name.contains("-postgres") {
                postgres.join(tally.clone());
            }
            if name.rsplit('-').next().is_some_and(|last| last.parse::<Faults>().is_ok()) {
                quirks.join(tally.clone());
            }
            total.join(tally);
        }
    }
    println!("of these with the journal in PostgreSQL: {postgres}");
    println!("of these with new faults: {quirks}");
    println!("{total}");
    if total.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn kill(run: Run) -> ExitCode {
    let log = run.log();
    let tally = if run.round.is_some() { Tally::default() } else { Tally::read(&log) };
    let bounds = Bounds::default();
    println!(
        "seed={} faults={} lanes={} L={:?} lag={:?} exchange={:?}; {} rounds and {} kills are in {}",
        run.seed,
        run.faults,
        run.lanes,
        bounds.late_effect,
        bounds.read_lag,
        bounds.exchange,
        tally.rounds.len(),
        tally.kills,
        log.display()
    );
    let service = Arc::new(Service::start(Options::default()).await);
    fail_now_and_then(&service).await;
    let next = tally.rounds.last().map_or(0, |last| last + 1);
    let until = Instant::now() + Duration::from_secs(run.seconds.min(1 << 30));
    let lanes = run.lanes;
    let shared = Arc::new(Shared {
        run,
        service,
        next: AtomicU64::new(next),
        lanes: AtomicU64::new(0),
        tally: Mutex::new(tally),
        until,
    });
    let began = Instant::now();
    let lanes: Vec<_> = (0..lanes).map(|_| tokio::spawn(lane(Arc::clone(&shared)))).collect();
    for lane in lanes {
        if let Err(error) = lane.await {
            println!("a lane broke: {error}");
            shared.tally.lock().unwrap().stuck += 1;
        }
    }
    let tally = shared.tally.lock().unwrap().clone();
    let missing = report(&tally, began.elapsed());
    println!("{tally}");
    // Fewer kills can't be expected to come by everything.
    let run = &shared.run;
    let everything = missing == 0 && tally.is_full();
    let everything = everything || tally.kills < 200 || run.round.is_some() || run.control;
    let good = tally.is_clean() && everything && !tally.is_blind();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The service fails in all that the sidecar asks it, not only where clients want it to.
async fn fail_now_and_then(service: &Service) {
    let often = 0.02;
    for route in ["GET /agent_api_keys", "GET /agent_api_keys/{id}", "DELETE /agent_api_keys/{id}"]
    {
        service.fault(route).before(500).probability(often).arm().await;
        service.fault(route).close_before().probability(often).arm().await;
        service.fault(route).delay_before(0.2).probability(often).arm().await;
    }
    // Undos are fewer than questions, and one that failed may have had its effect.
    let undo = service.fault("DELETE /agent_api_keys/{id}").close_after();
    undo.probability(4.0 * often).arm().await;
    service.fault("DELETE /agent_api_keys/{id}").delay_commit(0.2).probability(often).arm().await;
    service.fault("POST /agent_api_keys").delay_commit(0.1).probability(often).arm().await;
}

/// Runs rounds in one lane until there are kills enough, then looks at all of it once more.
async fn lane(shared: Arc<Shared>) {
    let run = &shared.run;
    let mut broken = false;
    let mut lane: Option<Lane> = None;
    let mut void = None;
    while !(enough(&shared) || (broken && run.round.is_some())) {
        let number = void.take().unwrap_or_else(|| shared.next.fetch_add(1, Ordering::Relaxed));
        let at = match &mut lane {
            Some(lane) => lane,
            None => lane.insert(fresh(&shared).await),
        };
        let plan = Plan::new(run.seed, run.round.unwrap_or(number), !run.control);
        let mut plan = plan.with(&run.faults);
        plan.number = number;
        let outcome = at.round(&plan).await;
        if outcome.void.is_some() {
            void = Some(number);
        } else if !outcome.violations.is_empty() {
            broken = true;
        }
        tell(run, &plan, &outcome, at);
        let stuck = outcome.violations.iter().any(|violation| violation.kind == Kind::Stuck);
        add(&shared, &Line::new(number, &outcome));
        if number.is_multiple_of(32) {
            shared.service.forget().await;
        }
        if (stuck || void.is_some())
            && let Some(lane) = lane.take()
        {
            // What does not end would be found in every round from now on.
            end(&shared, lane).await;
        }
        if void.is_some() {
            calm(&shared).await;
        }
    }
    if let Some(lane) = lane {
        end(&shared, lane).await;
    }
}

/// Looks for what came later than each round of a lane looked, and ends it.
async fn end(shared: &Shared, lane: Lane) {
    let violations = lane.whole().await;
    for violation in &violations {
        println!("FAILED in the end: {violation}");
    }
    shared.tally.lock().unwrap().orphans += violations.len();
}

/// Waits until the service is quick again. It also does, one after the other, what nobody waits for
/// any more; who asks for more at once keeps it from ever catching up.
async fn calm(shared: &Shared) {
    let bound = Bounds::default().late_effect / 2;
    while Instant::now() < shared.until {
        if shared.service.late(Duration::ZERO, bound).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Whether no further round is to begin.
fn enough(shared: &Shared) -> bool {
    let tally = shared.tally.lock().unwrap();
    tally.kills >= shared.run.kills || tally.is_blind() || Instant::now() >= shared.until
}

async fn fresh(shared: &Shared) -> Lane {
    let name = format!("{}x{}", shared.lanes.fetch_add(1, Ordering::Relaxed), shared.run.seed);
    if shared.run.control {
        return Lane::in_process(&name, Arc::clone(&shared.service)).await;
    }
    let journal = Journal::new(shared.run.postgres).await;
    let (service, run) = (Arc::clone(&shared.service), &shared.run);
    Lane::sidecar(&name, service, journal, run.exclusive, &run.faults).await
}

fn add(shared: &Shared, line: &Line) {
    if shared.run.round.is_none() {
        line.append(&shared.run.log());
    }
    let mut tally = shared.tally.lock().unwrap();
    let before = tally.kills / 100;
    tally.add(line);
    if tally.kills / 100 > before {
        println!("{tally}");
    }
}

/// Tells what the last line has no room for; gives how many places no process came to.
fn report(tally: &Tally, took: Duration) -> usize {
    let missing = |seen: &BTreeSet<String>| {
        let missing = failpoint::ALL.iter().filter(|place| !seen.contains(**place));
        missing.copied().collect::<Vec<_>>()
    };
    let unseen = missing(&tally.places);
    println!(
        "{} s; rounds={} void={} reported={} undone={} orders={} discards={}; not come to: [{}]; not killed at: [{}]",
        took.as_secs(),
        tally.rounds.len(),
        tally.void,
        tally.reported,
        tally.undone,
        tally.orders,
        tally.discards,
        unseen.join(" "),
        missing(&tally.killed).join(" ")
    );
    if tally.is_blind() {
        println!("one round in ten was void: the service can't keep L here with so many lanes");
    }
    unseen.len()
}
