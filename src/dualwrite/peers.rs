//! The neighbours that unfinished operations call: whether each is there, and how many calls it
//! gets at once.
//!
//! While one is down, whoever needs it waits at its circuit and makes no attempt: thousands that
//! wait cost it one probe at a time, and all go on as soon as it answers. Each has places of its
//! own, so that calls that hang at one keep nobody from the other.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::breaker::{Breaker, Entry, Lane, Metrics, Settings};

/// The longest pause between two probes of a service that is down. It is beside us: to ask costs
/// little, and everything unfinished waits for the answer.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// The circuit to the service, closed.
#[must_use]
pub fn service_circuit(metrics: Metrics) -> Breaker {
    let settings = Settings { max_pause: MAX_PAUSE, ..Settings::default() };
    Breaker::new("service", settings, metrics)
}

/// Both neighbours.
pub(super) struct Peers {
    pub(super) service: Peer,
    pub(super) back_end: Peer,
}

/// One neighbour.
pub(super) struct Peer {
    /// What operators call it.
    pub(super) name: &'static str,
    pub(super) circuit: Breaker,
    places: Semaphore,
}

/// That a call may be made, for as long as this lives.
pub(super) struct Turn<'a> {
    _entry: Entry,
    /// A probe needs none: it would queue behind the very calls that hang.
    _place: Option<SemaphorePermit<'a>>,
}

impl Peers {
    /// Both with `places` calls at once (`bounds.background_calls`).
    pub(super) fn new(service: Breaker, back_end: Breaker, places: usize) -> Self {
        let peer = |name, circuit| Peer { name, circuit, places: Semaphore::new(places) };
        Self { service: peer("service", service), back_end: peer("back end", back_end) }
    }
}

impl Peer {
    /// Waits until a call may go out. `again` is for who failed before. `waits` is told whether
    /// it is the neighbour's return that is waited for.
    pub(super) async fn turn(&self, again: bool, waits: impl Fn(bool)) -> Turn<'_> {
        let lane = if again { Lane::Again } else { Lane::New };
        loop {
            // A closed circuit lets it through as soon as its line is free, that is at once.
            waits(self.circuit.is_open());
            let mut entry = self.circuit.enter(lane).await;
            waits(false);
            if entry.is_probe() {
                entry.tried();
                return Turn { _entry: entry, _place: None };
            }
            // The semaphore is never closed; without it, going on unbounded is the lesser evil.
            let place = self.places.acquire().await.ok();
            // It may have opened while this waited for a place.
            if !self.circuit.is_open() {
                return Turn { _entry: entry, _place: place };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn circuit(name: &'static str) -> Breaker {
        let settings = Settings { failures: 1, span: Duration::ZERO, pause: LONG, max_pause: LONG };
        Breaker::new(name, settings, Metrics::default())
    }

    #[tokio::test(start_paused = true)]
    async fn p3_calls_that_hang_at_one_keep_nobody_from_the_other() {
        let peers = Peers::new(circuit("a"), circuit("b"), 1);
        let hangs = peers.back_end.turn(false, |_| {}).await;
        let soon = Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, peers.back_end.turn(false, |_| {})).await.is_err());
        assert!(tokio::time::timeout(soon, peers.service.turn(false, |_| {})).await.is_ok());
        drop(hangs);
        assert!(tokio::time::timeout(soon, peers.back_end.turn(false, |_| {})).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_place_while_the_circuit_opened_makes_no_call() {
        let (service, back_end) = (circuit("a"), circuit("b"));
        let peers = Peers::new(service, back_end.clone(), 1);
        let hangs = peers.back_end.turn(false, |_| {}).await;
        let soon = Duration::from_secs(1);
        let queued =
            async { tokio::time::timeout(soon, peers.back_end.turn(false, |_| {})).await.is_ok() };
        let fails = async {
            tokio::task::yield_now().await;
            back_end.failed();
            drop(hangs);
        };
        let (called, ()) = tokio::join!(queued, fails);
        assert!(!called, "the circuit is open");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_goes_out_although_all_places_hang() {
        let (service, back_end) = (circuit("a"), circuit("b"));
        let peers = Peers::new(service, back_end.clone(), 1);
        let _hangs = peers.back_end.turn(false, |_| {}).await;
        back_end.failed();
        let probe = tokio::time::timeout(2 * LONG, peers.back_end.turn(true, |_| {})).await;
        assert!(probe.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn p9_who_waits_for_its_return_says_so_also_where_a_place_was_waited_for_before() {
        let (service, back_end) = (circuit("a"), circuit("b"));
        let peers = Peers::new(service, back_end.clone(), 1);
        let hangs = peers.back_end.turn(false, |_| {}).await;
        let told = Cell::new(None);
        let mut queued = pin!(peers.back_end.turn(false, |down| told.set(Some(down))));
        let soon = Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, &mut queued).await.is_err());
        assert_eq!(told.get(), Some(false), "it waits for a place");
        back_end.failed();
        drop(hangs);
        assert!(tokio::time::timeout(soon, &mut queued).await.is_err());
        assert_eq!(told.get(), Some(true));
        back_end.succeeded();
        assert!(tokio::time::timeout(soon, &mut queued).await.is_ok());
        assert_eq!(told.get(), Some(false));
    }
}
