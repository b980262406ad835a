//! Faults: what an endpoint does instead of answering as it should.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{PATIENCE, Shared};

/// The faults that are set, by path, in the order in which they were set.
#[derive(Default)]
pub struct Faults(HashMap<String, VecDeque<(Option<usize>, Act)>>);

/// What is done instead.
#[derive(Clone)]
pub enum Act {
    /// Answers so.
    Answer { status: u16, body: String, applies: bool },
    /// Answers so what is not registered, and does as usual with what is.
    RefuseUnknown { status: u16 },
    /// Takes its time, then does as usual.
    Delay(Duration),
    /// Waits for the gate, then does as usual.
    Hold(Gate),
    /// Never answers; takes effect once the gate opens.
    LandsAfter(Gate),
    /// Does as usual, and writes the answer, or its body alone, byte by byte, each after this time.
    Trickle { body_alone: bool, pause: Duration },
    /// Writes these bytes and closes the connection.
    Raw { bytes: Vec<u8>, applies: bool },
}

impl Faults {
    /// The fault of the next call of `path`.
    pub fn next(&mut self, path: &str) -> Option<Act> {
        let queue = self.0.get_mut(path)?;
        let (remaining, act) = queue.front_mut()?;
        let act = act.clone();
        if let Some(remaining) = remaining {
            *remaining -= 1;
            if *remaining == 0 {
                queue.pop_front();
            }
        }
        Some(act)
    }
}

/// One endpoint, to set its faults. Without [`once`](Self::once) or [`times`](Self::times) a
/// fault stays until [`reset`](Self::reset). Faults set one after the other happen one after the
/// other.
#[must_use]
pub struct Endpoint<'p> {
    shared: &'p Arc<Shared>,
    path: &'static str,
    times: Option<usize>,
}

impl<'p> Endpoint<'p> {
    pub(super) fn new(shared: &'p Arc<Shared>, path: &'static str) -> Self {
        Self { shared, path, times: None }
    }

    /// The fault happens once.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// The fault happens `n` times.
    pub fn times(self, n: usize) -> Self {
        assert!(n > 0, "a fault happens at least once");
        Self { times: Some(n), ..self }
    }

    /// No faults any more.
    pub fn reset(self) {
        self.shared.state().faults.0.remove(self.path);
    }

    /// Answers `status` without effect.
    pub fn answers(self, status: u16) {
        self.answers_with(status, r#"{"message":"a fault"}"#);
    }

    /// Answers `status` and `body` without effect.
    pub fn answers_with(self, status: u16, body: &str) {
        self.set(Act::Answer { status, body: body.into(), applies: false });
    }

    /// Answers `status` to a deregistration of what is not registered.
    pub fn refuses_unknown(self, status: u16) {
        self.set(Act::RefuseUnknown { status });
    }

    /// Takes effect, and answers `status` all the same.
    pub fn applies_and_answers(self, status: u16) {
        self.set(Act::Answer { status, body: "{}".into(), applies: true });
    }

    /// Takes effect, and answers 200 with a body that is not JSON.
    pub fn garbage_body(self) {
        self.set(Act::Answer { status: 200, body: "\u{0}not JSON".into(), applies: true });
    }

    /// Takes effect, and answers with what is not HTTP.
    pub fn garbage_http(self) {
        self.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", true);
    }

    /// Takes effect, and closes the connection in the middle of the answer's body.
    pub fn cuts_body(self) {
        self.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"succ", true);
    }

    /// Closes the connection without an effect or an answer.
    pub fn closes_before(self) {
        self.raw(b"", false);
    }

    /// Takes effect, then closes the connection without an answer.
    pub fn closes_after(self) {
        self.raw(b"", true);
    }

    /// Writes `bytes` as they are and closes the connection.
    pub fn raw(self, bytes: &[u8], applies: bool) {
        self.set(Act::Raw { bytes: bytes.into(), applies });
    }

    /// Takes `delay` before it does as usual.
    pub fn delays(self, delay: Duration) {
        self.set(Act::Delay(delay));
    }

    /// Takes effect at once, and answers a byte at a time, with `pause` before each.
    pub fn trickles(self, pause: Duration) {
        self.set(Act::Trickle { body_alone: false, pause });
    }

    /// As [`trickles`](Self::trickles), but the answer's head comes at once.
    pub fn trickles_body(self, pause: Duration) {
        self.set(Act::Trickle { body_alone: true, pause });
    }

    /// Does as usual only once the gate is released.
    pub fn holds(self) -> Gate {
        let gate = Gate::default();
        self.set(Act::Hold(gate.clone()));
        gate
    }

    /// Never answers; the effect comes once the gate is released, long after the client has
    /// given up.
    pub fn lands_after(self) -> Gate {
        let gate = Gate::default();
        self.set(Act::LandsAfter(gate.clone()));
        gate
    }

    fn set(self, act: Act) {
        let mut state = self.shared.state();
        state.faults.0.entry(self.path.into()).or_default().push_back((self.times, act));
    }
}

/// Holds calls back until it is released. Dropping it releases nothing.
#[derive(Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    arrivals: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(watch::channel(false).0), arrivals: Arc::new(watch::channel(0).0) }
    }
}

impl Gate {
    /// Lets all calls go on, those that come later too.
    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// How many calls have come to the gate.
    pub fn arrivals(&self) -> usize {
        *self.arrivals.borrow()
    }

    /// Waits until `n` calls have come to the gate; fails the test after [`PATIENCE`].
    pub async fn arrived(&self, n: usize) {
        let mut arrivals = self.arrivals.subscribe();
        let reached = tokio::time::timeout(PATIENCE, arrivals.wait_for(|count| *count >= n)).await;
        assert!(reached.is_ok(), "{n} calls were to come, {} came", self.arrivals());
    }

    pub(super) fn arrive(&self) {
        self.arrivals.send_modify(|count| *count += 1);
    }

    pub(super) async fn opened(&self) {
        let mut open = self.open.subscribe();
        // The sender lives in `self`, so this can't fail.
        let _ = open.wait_for(|open| *open).await;
    }
}
