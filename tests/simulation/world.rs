//! The world around the replicas: its time, what is on its way, and what is where.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authz_sidecar::model::Timestamp;
use fastrand::Rng;
use tokio::time::Instant;

use crate::clients::Client;
use crate::counts::Counts;
use crate::coverage;
use crate::faults::Manner;
use crate::invariants::{Broken, Kind};
use crate::provider::Provider;
use crate::schedule::Schedule;
use crate::service::rows::Rows;
use crate::trace::Trace;

/// The world. One thread and one paused clock run all of it, so one seed gives one history.
pub(crate) struct World {
    start: Instant,
    state: Mutex<State>,
}

/// What is where.
pub(crate) struct State {
    pub(crate) schedule: Arc<Schedule>,
    /// The time that is told: of the event that is being handled, or now.
    pub(crate) now: Duration,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) service: Rows,
    pub(crate) provider: Provider,
    pub(crate) clients: Vec<Client>,
    /// Whether all faults are over.
    pub(crate) calm: bool,
    /// Processes that another took over, and that have not been restarted yet.
    pub(crate) fenced: usize,
    /// Crashes that may still happen.
    pub(crate) crashes: u32,
    /// Promises that were seen broken.
    pub(crate) broken: Vec<Broken>,
    /// What went wrong.
    pub(crate) counts: Counts,
    /// What happened to the requests of clients, in order.
    pub(crate) happened: Vec<(usize, coverage::Event)>,
    events: BinaryHeap<Reverse<Event>>,
    told: u64,
}

/// Something that will happen to the neighbours, whatever becomes of who caused it.
struct Event {
    at: Duration,
    order: u64,
    happens: Box<dyn FnOnce(&mut State) + Send>,
}

/// Which neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Neighbour {
    Service,
    Provider,
    Authn,
}

impl World {
    pub(crate) fn new(schedule: Schedule, traced: bool) -> Arc<Self> {
        let schedule = Arc::new(schedule);
        let state = State {
            now: Duration::ZERO,
            rng: Rng::with_seed(schedule.seed ^ 0x5eed),
            trace: Trace::new(traced),
            service: Rows::default(),
            provider: Provider::default(),
            clients: Vec::new(),
            calm: false,
            fenced: 0,
            crashes: schedule.crashes,
            broken: Vec::new(),
            counts: Counts::default(),
            happened: Vec::new(),
            events: BinaryHeap::new(),
            told: 0,
            schedule,
        };
        Arc::new(Self { start: Instant::now(), state: Mutex::new(state) })
    }

    /// The simulated time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now() - self.start
    }

    /// Looks at the world, or changes it, once all that is due has happened.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(self.elapsed());
        look(&mut state)
    }

    /// Tells the trace.
    pub(crate) fn say(&self, who: &str, what: &str, text: impl FnOnce(&mut Trace) -> String) {
        self.with(|state| state.trace.say(state.now, who, what, text));
    }
}

impl State {
    fn catch_up(&mut self, now: Duration) {
        while self.events.peek().is_some_and(|Reverse(event)| event.at <= now) {
            if let Some(Reverse(event)) = self.events.pop() {
                self.now = event.at;
                (event.happens)(self);
            }
        }
        self.now = now;
    }

    /// Lets something happen after a time.
    pub(crate) fn after(
        &mut self,
        time: Duration,
        happens: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.told += 1;
        let event = Event { at: self.now + time, order: self.told, happens: Box::new(happens) };
        self.events.push(Reverse(event));
    }

    /// Whether nothing is on its way, and nobody may have evidence yet.
    pub(crate) fn is_still(&self) -> bool {
        self.events.is_empty() && self.fenced == 0
    }

    /// How the next call of a neighbour goes.
    pub(crate) fn manner(&mut self, of: Neighbour) -> Manner {
        if self.calm {
            return Manner::fine(&mut self.rng);
        }
        let schedule = Arc::clone(&self.schedule);
        let faults = match of {
            Neighbour::Service => &schedule.service,
            Neighbour::Provider => &schedule.provider,
            Neighbour::Authn => &schedule.authn,
        };
        faults.draw(&mut self.rng, self.now, schedule.latest)
    }

    /// What the neighbours' clock shows.
    pub(crate) fn service_clock(&self) -> Timestamp {
        wall(self.now, self.schedule.clock_of_service(self.now))
    }

    /// A promise was broken.
    pub(crate) fn breaks(&mut self, kind: Kind, what: String) {
        let broken = Broken { kind, what };
        self.trace.say(self.now, "invariant", "BROKEN", |_| broken.to_string());
        self.broken.push(broken);
    }

    pub(crate) fn say(&mut self, who: &str, what: &str, text: impl FnOnce(&mut Trace) -> String) {
        self.trace.say(self.now, who, what, text);
    }
}

/// A wall clock that is `off` by some microseconds.
pub(crate) fn wall(now: Duration, off: i64) -> Timestamp {
    // The day on which the simulated time begins.
    let start = Timestamp::from_micros(1_795_514_400_000_000 + off);
    start.plus(now)
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
