//! When to stop calling a peer, and when to ask again. Pure: the time and the chance are arguments.
//!
//! *Closed*, every call goes out. A streak of failures opens the circuit once it is long enough
//! in number ([`Settings::failures`]) and in time ([`Settings::span`]). A share of failures would
//! be the wrong measure: callers retry within a deadline, so a peer that fails half of its calls
//! still serves nearly everybody, and one that is away for a moment serves everybody. Only where
//! nothing succeeds is a caller better off not to begin.
//!
//! *Open*, one call at a time goes out as a probe, and none sooner than the pause after the
//! one before. *Any* success closes the circuit, whoever made the call.
//!
//! Probes are taken in two lanes, of calls that are new and of calls that failed before, each
//! with a pause of its own: a peer that refuses certain calls for ever, and these are retried for
//! ever, must not keep out those that it would serve.

use std::time::{Duration, Instant};

/// What makes a circuit open, and how often an open one is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Failures in a row that open the circuit. Default 5; 0 counts as 1.
    pub failures: u32,
    /// How long they must have lasted. Default 1 s: half of what a registration may take with
    /// all its retries, so that what these survive opens nothing.
    pub span: Duration,
    /// The pause after the first failed probe, doubled after each further one. Default 100 ms.
    pub pause: Duration,
    /// The longest pause. Default 1 s: a probe a second costs a peer nothing, and work waits for
    /// it.
    pub max_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            span: Duration::from_secs(1),
            pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(1),
        }
    }
}

/// Whose call it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// One that was not made before.
    New,
    /// One that failed before.
    Again,
}

/// That a call may go out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pass {
    /// As all do.
    Free,
    /// As a probe. The lane's next waits until [`Circuit::ended`] is told how it went, or for
    /// the longest pause.
    Probe(Probe),
}

/// One probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Probe {
    lane: Lane,
    number: u64,
}

/// The circuit to one peer.
#[derive(Debug)]
pub(super) struct Circuit {
    settings: Settings,
    state: State,
    /// How many probes there were.
    probes: u64,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32, since: Option<Instant> },
    Open { since: Instant, new: Probing, again: Probing },
}

/// The probes of one lane.
#[derive(Clone, Copy, Debug)]
struct Probing {
    /// When the next may go out.
    next: Instant,
    /// How many failed.
    failed: u32,
    /// The one that is out, and since when.
    out: Option<(u64, Instant)>,
}

impl Circuit {
    /// A closed one.
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: State::Closed { failures: 0, since: None }, probes: 0 }
    }

    /// Whether calls are held back.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether a call may go out, or else how long it waits at least until it may.
    pub(super) fn ask(&mut self, lane: Lane, now: Instant) -> Result<Pass, Duration> {
        let (number, longest) = (self.probes + 1, self.settings.max_pause);
        let Some(probing) = self.lane(lane) else { return Ok(Pass::Free) };
        if now < probing.next {
            return Err(probing.next.saturating_duration_since(now));
        }
        probing.out = Some((number, now));
        // Should it hang, another may go.
        probing.next = now + longest;
        self.probes = number;
        Ok(Pass::Probe(Probe { lane, number }))
    }

    /// A probe came to its end. `tried` is false where it turned out not to need the peer: then
    /// the next may go at once. `chance` spreads the pause of many over half of it.
    pub(super) fn ended(&mut self, probe: Probe, tried: bool, now: Instant, chance: u64) {
        let settings = self.settings;
        let Some(probing) = self.lane(probe.lane) else { return };
        let Some((number, since)) = probing.out else { return };
        if number != probe.number {
            return;
        }
        probing.out = None;
        probing.next = now;
        if tried {
            // From its beginning: one that timed out has waited already.
            probing.next = since + settings.pause(probing.failed, chance);
            probing.failed = probing.failed.saturating_add(1);
        }
    }

    /// A call succeeded. Gives how long the circuit was open, where that closed it.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Duration> {
        let closed = State::Closed { failures: 0, since: None };
        match std::mem::replace(&mut self.state, closed) {
            State::Open { since, .. } => Some(now.saturating_duration_since(since)),
            State::Closed { .. } => None,
        }
    }

    /// A call failed in a way that may be gone the next time. Gives whether that opened the
    /// circuit.
    pub(super) fn failed(&mut self, now: Instant, chance: u64) -> bool {
        let State::Closed { failures, since } = &mut self.state else { return false };
        *failures = failures.saturating_add(1);
        let began = *since.get_or_insert(now);
        let lasted = now.saturating_duration_since(began);
        if *failures < self.settings.failures.max(1) || lasted < self.settings.span {
            return false;
        }
        let first = now + self.settings.pause(0, chance);
        let probing = Probing { next: first, failed: 1, out: None };
        self.state = State::Open { since: now, new: probing, again: probing };
        true
    }

    /// There is reason to believe that the peer works again: the next probe may go at once.
    pub(super) fn expect_success(&mut self, now: Instant) {
        for lane in [Lane::New, Lane::Again] {
            if let Some(probing) = self.lane(lane) {
                probing.next = now;
            }
        }
    }

    fn lane(&mut self, lane: Lane) -> Option<&mut Probing> {
        match (&mut self.state, lane) {
            (State::Closed { .. }, _) => None,
            (State::Open { new, .. }, Lane::New) => Some(new),
            (State::Open { again, .. }, Lane::Again) => Some(again),
        }
    }
}

impl Settings {
    /// The pause after `failed` probes, half of it by chance.
    fn pause(&self, failed: u32, chance: u64) -> Duration {
        let factor = 2u32.checked_pow(failed).unwrap_or(u32::MAX);
        let longest = self.pause.checked_mul(factor).unwrap_or(self.max_pause).min(self.max_pause);
        let half = longest / 2;
        let spread = half.as_nanos().saturating_mul(u128::from(chance)) / u128::from(u64::MAX);
        half + Duration::from_nanos(u64::try_from(spread).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
