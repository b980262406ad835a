//! A circuit breaker: callers of a peer that is down stop calling it, and learn at once when it
//! is back.
//!
//! Whoever calls the peer tells how that went ([`Breaker::succeeded`], [`Breaker::failed`]).
//! Whoever could do without the call asks first: [`Breaker::try_enter`] answers at once,
//! [`Breaker::enter`] waits for its turn. When to open and to probe is `circuit`'s, pure.

mod circuit;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::circuit::{Circuit, Pass, Probe};
pub use self::circuit::{Lane, Settings};

/// A circuit breaker. Clones share it.
#[derive(Clone, Debug)]
pub struct Breaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What it leads to, as logs and metrics call it.
    name: &'static str,
    circuit: Mutex<Circuit>,
    /// How often it closed.
    closings: watch::Sender<u64>,
    /// Wakes the heads of the lines when a probe may go out earlier than it seemed.
    moved: Notify,
    /// The two lines: only their heads look at the time, so that thousands that wait cost nothing.
    new: tokio::sync::Mutex<()>,
    again: tokio::sync::Mutex<()>,
    metrics: Metrics,
}

/// That a call may go out. It is to be kept until the call's end is told: dropped without
/// [`Entry::tried`], it makes way for another probe.
#[derive(Debug)]
pub struct Entry {
    breaker: Breaker,
    probe: Option<Probe>,
    tried: bool,
}

impl Breaker {
    /// A closed one; `name` says what it leads to.
    #[must_use]
    pub fn new(name: &'static str, settings: Settings, metrics: Metrics) -> Self {
        metrics.open(name).set(0);
        let shared = Shared {
            name,
            circuit: Mutex::new(Circuit::new(settings)),
            closings: watch::channel(0).0,
            moved: Notify::new(),
            new: tokio::sync::Mutex::default(),
            again: tokio::sync::Mutex::default(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether calls are held back.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.circuit().is_open()
    }

    /// Lets a new call through, or tells after what time it is worth asking again.
    ///
    /// # Errors
    /// With that time.
    pub fn try_enter(&self) -> Result<Entry, Duration> {
        self.ask(Lane::New)
    }

    /// Waits until a call may go out.
    pub async fn enter(&self, lane: Lane) -> Entry {
        let queue = match lane {
            Lane::New => &self.shared.new,
            Lane::Again => &self.shared.again,
        };
        let _head = queue.lock().await;
        loop {
            // Before it asks: what moves between the two is not missed.
            let moved = self.shared.moved.notified();
            match self.ask(lane) {
                Ok(entry) => return entry,
                Err(wait) => {
                    // Whichever comes first, it asks again.
                    let _ = tokio::time::timeout(wait, moved).await;
                }
            }
        }
    }

    /// A call succeeded.
    pub fn succeeded(&self) {
        let closed = self.circuit().succeeded(now());
        if let Some(open) = closed {
            let Shared { name, metrics, closings, moved, .. } = &*self.shared;
            tracing::info!(circuit = name, open_for = ?open, "a circuit closed: calls go out again");
            metrics.open(name).set(0);
            closings.send_modify(|closings| *closings += 1);
            moved.notify_waiters();
        }
    }

    /// A call failed in a way that may be gone the next time: no answer, or one that says so.
    pub fn failed(&self) {
        let opened = self.circuit().failed(now(), fastrand::u64(..));
        if opened {
            let Shared { name, metrics, .. } = &*self.shared;
            tracing::warn!(
                circuit = name,
                "a circuit opened: calls are held back, but for probes, until one succeeds"
            );
            metrics.open(name).set(1);
            metrics.openings.get_or_create(&Labels { circuit: name }).inc();
        }
    }

    /// There is reason to believe that the peer works again: the next probe need not wait.
    pub fn expect_success(&self) {
        self.circuit().expect_success(now());
        self.shared.moved.notify_waiters();
    }

    /// Changes whenever the circuit closes.
    #[must_use]
    pub fn closings(&self) -> watch::Receiver<u64> {
        self.shared.closings.subscribe()
    }

    fn ask(&self, lane: Lane) -> Result<Entry, Duration> {
        let probe = match self.circuit().ask(lane, now())? {
            Pass::Free => None,
            Pass::Probe(probe) => Some(probe),
        };
        if probe.is_some() {
            let labels = Labels { circuit: self.shared.name };
            self.shared.metrics.probes.get_or_create(&labels).inc();
        }
        Ok(Entry { breaker: self.clone(), probe, tried: false })
    }

    // A panic of another holder leaves a whole circuit behind: each change is one assignment.
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.shared.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// tokio's clock, which tests can hold still.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Entry {
    /// Whether the circuit is open and this call is to find out about the peer.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The call is made: a failure counts.
    pub fn tried(&mut self) {
        self.tried = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(probe) = self.probe {
            self.breaker.circuit().ended(probe, self.tried, now(), fastrand::u64(..));
            self.breaker.shared.moved.notify_waiters();
        }
    }
}

/// What circuits count. Clones share it; a default one counts where nobody sees it.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    open: Family<Labels, Gauge>,
    openings: Family<Labels, Counter>,
    probes: Family<Labels, Counter>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    circuit: &'static str,
}

impl Metrics {
    /// Metrics that `registry` exposes.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "circuit_open",
            "1 while calls of a peer are held back because nothing there succeeded",
            metrics.open.clone(),
        );
        registry.register(
            "circuit_openings",
            "How often the circuit to a peer opened",
            metrics.openings.clone(),
        );
        registry.register(
            "circuit_probes",
            "Calls that went out through an open circuit, to find out about the peer",
            metrics.probes.clone(),
        );
        metrics
    }

    fn open(&self, circuit: &'static str) -> Gauge {
        self.open.get_or_create_owned(&Labels { circuit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let settings = Settings {
            failures: 2,
            span: Duration::ZERO,
            pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(8),
        };
        Breaker::new("peer", settings, Metrics::default())
    }

    fn opened() -> Breaker {
        let breaker = breaker();
        breaker.failed();
        breaker.failed();
        assert!(breaker.is_open());
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_as_soon_as_it_closes() {
        let breaker = opened();
        let began = Instant::now();
        let waiting: Vec<_> = (0..1000)
            .map(|number| {
                let breaker = breaker.clone();
                let lane = if number % 2 == 0 { Lane::New } else { Lane::Again };
                tokio::spawn(async move { breaker.enter(lane).await.is_probe() })
            })
            .collect();
        tokio::task::yield_now().await;
        breaker.succeeded();
        for waits in waiting {
            assert!(!waits.await.unwrap(), "the circuit is closed");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_wait_one_at_a_time_probes() {
        let breaker = opened();
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let breaker = breaker.clone();
                tokio::spawn(async move {
                    let mut entry = breaker.enter(Lane::Again).await;
                    entry.tried();
                    breaker.failed();
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let ended = waiting.iter().filter(|waits| waits.is_finished()).count();
        assert!((12..=28).contains(&ended), "{ended} probes in 100 s, with pauses of 4 s to 8 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_untried_makes_way() {
        let breaker = opened();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let entry = breaker.try_enter().unwrap();
        assert!(entry.is_probe());
        assert!(breaker.try_enter().is_err(), "one is out");
        let next = tokio::spawn({
            let breaker = breaker.clone();
            async move { breaker.enter(Lane::New).await }
        });
        tokio::task::yield_now().await;
        let began = Instant::now();
        drop(entry);
        assert!(next.await.unwrap().is_probe());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_sleeps_is_told_of_the_closing() {
        let breaker = opened();
        let mut closings = breaker.closings();
        breaker.succeeded();
        closings.changed().await.unwrap();
        breaker.succeeded();
        assert!(!closings.has_changed().unwrap(), "it was closed already");
    }
}
