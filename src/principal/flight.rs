//! One call for concurrent misses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::credentials::Key;
use super::{Error, Resolved};

type Outcome = Result<Resolved, Error>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// The calls under way, by key; no more than there are requests that wait for them.
#[derive(Clone, Default)]
pub(super) struct Flights {
    board: Arc<Mutex<Board>>,
}

#[derive(Default)]
struct Board {
    last: Ticket,
    flights: HashMap<Key, (Ticket, Flight)>,
}

/// Tells a flight from a later one of the same key.
pub(super) type Ticket = u64;

impl Flights {
    /// Joins the flight of `key`, or starts the one that `call` makes. It runs in a task of its
    /// own: a caller that goes away takes nothing from the others.
    pub(super) fn join<C, F>(&self, key: Key, call: C) -> Flight
    where
        C: FnOnce(Ticket) -> F,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut board = self.board();
        if let Some((_, flight)) = board.flights.get(&key) {
            return flight.clone();
        }
        board.last += 1;
        let ticket = board.last;
        let landing = Landing { flights: self.clone(), key, ticket };
        let call = call(ticket);
        let task = tokio::spawn(async move {
            let _landing = landing;
            call.await
        });
        let stopped = || Error::Unavailable("the call was stopped: the sidecar shuts down".into());
        let flight =
            task.map(move |joined| joined.unwrap_or_else(|_| Err(stopped()))).boxed().shared();
        board.flights.insert(key, (ticket, flight.clone()));
        flight
    }

    /// Takes the flight of `key` off the board: later callers start another, and this one's
    /// outcome is [forgotten](Self::is_forgotten).
    pub(super) fn forget(&self, key: &Key) {
        self.board().flights.remove(key);
    }

    /// Whether the flight with `ticket` was forgotten since it started.
    pub(super) fn is_forgotten(&self, key: &Key, ticket: Ticket) -> bool {
        self.board().flights.get(key).is_none_or(|(current, _)| *current != ticket)
    }

    /// No change of the board can stop half-way, so a poisoned lock guards a whole board.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board when it ends, also by a panic.
struct Landing {
    flights: Flights,
    key: Key,
    ticket: Ticket,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut board = self.flights.board();
        if board.flights.get(&self.key).is_some_and(|(ticket, _)| *ticket == self.ticket) {
            board.flights.remove(&self.key);
        }
    }
}
