//! One schedule: what is configured, what clients want, and what can go wrong. Made from a seed
//! alone, and printed at the head of a trace.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::faults::{Faults, millis};
use crate::settings::{L, S};
use crate::shared::Bug;

/// A schedule.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    /// How many replicas; several share a journal.
    pub(crate) replicas: usize,
    /// `journal.exclusive_writer`.
    pub(crate) exclusive: bool,
    /// Whether the service refuses a name that it sees taken.
    pub(crate) unique_names: bool,
    /// Rows that are there before.
    pub(crate) given: usize,
    pub(crate) wishes: Vec<Planned>,
    /// What somebody does past the sidecar, and when. Empty where writing is exclusive.
    pub(crate) outsiders: Vec<Duration>,
    pub(crate) service: Faults,
    pub(crate) provider: Faults,
    pub(crate) authn: Faults,
    /// How often processes may die.
    pub(crate) crashes: u32,
    /// How likely a process stands still wherever it could.
    pub(crate) pauses: f64,
    /// How likely a sync fails.
    pub(crate) sync_fails: f64,
    /// How likely the disk is full for a new operation.
    pub(crate) full: f64,
    /// How likely a connection to the shared journal breaks.
    pub(crate) cuts: f64,
    /// How far the service's clock is off, in microseconds.
    pub(crate) service_clock: i64,
    /// How far the replicas' clocks are off, and from when on that of the first by how much more.
    pub(crate) replica_clocks: [i64; 3],
    pub(crate) step: Option<(Duration, i64)>,
    /// How late a request may take effect, after it was sent.
    pub(crate) latest: Duration,
    /// Beyond the limits: syncs are not what they say.
    pub(crate) lies: bool,
    /// Beyond the limits: clocks are further apart than S.
    pub(crate) skewed: bool,
    /// What the model of a shared journal does wrong, so that it is seen that this is found.
    pub(crate) bug: Option<Bug>,
}

/// What a client wants, and when.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) user: String,
    pub(crate) wish: Wish,
    /// After what time it hangs up.
    pub(crate) patience: Option<Duration>,
}

/// What a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    Create {
        agent: String,
        name: String,
        kind: Option<&'static str>,
    },
    /// A create that tells the agent by its name, so that the parent is looked up.
    Webhook {
        agent: String,
        name: String,
    },
    /// A create by an agent itself, which nothing is registered for.
    Own {
        agent: String,
        name: String,
    },
    /// A delete of some row that is there, or was.
    Delete(usize),
    DeleteByName {
        agent: String,
        name: String,
        kind: Option<&'static str>,
    },
}

/// How long clients keep coming.
const DURING: Duration = L;

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let exclusive = rng.u8(..) < 200;
        let (names, agents) = (rng.usize(1..=3), rng.usize(1..=2));
        let own = rng.u8(..) < 40;
        let count = rng.usize(1..=7);
        let wishes = (0..count).map(|_| planned(rng, names, agents, own)).collect();
        let outsiders = if exclusive { 0 } else { rng.usize(0..=3) };
        let half = i64::try_from(S.as_micros()).expect("short") / 2;
        let skewed = rng.u8(..) < 10;
        let off = |rng: &mut Rng| if rng.bool() { 0 } else { rng.i64(-half..=half) };
        let step = (rng.u8(..) < 50).then(|| (millis(rng, 0, 2 * DURING.as_millis()), 0));
        let replica_clocks = [off(rng), off(rng), off(rng)];
        // It may end anywhere within the limits.
        let step = step.map(|(at, _)| (at, rng.i64(-half..=half) - replica_clocks[0]));
        let service_clock = off(rng) + if skewed { rng.i64(-10 * half..=10 * half) } else { 0 };
        let rare = |rng: &mut Rng, of: u8, likely: f64| if rng.u8(..) < of { likely } else { 0.0 };
        let replicas = *rng.choice(&[1, 1, 1, 2, 2, 3]).expect("some");
        let crashes = if rng.bool() { 0 } else { rng.u32(1..=3) };
        let pauses = rare(rng, if replicas > 1 { 90 } else { 30 }, 0.01);
        Self {
            seed,
            replicas,
            exclusive,
            unique_names: rng.bool(),
            given: rng.usize(0..=2),
            wishes,
            outsiders: (0..outsiders).map(|_| millis(rng, 0, DURING.as_millis())).collect(),
            service: some(rng),
            provider: some(rng),
            authn: if rng.u8(..) < 40 { some(rng) } else { Faults::default() },
            // What a process learnt while it was taken over is lost if it dies before it tells.
            crashes: if replicas > 1 && pauses > 0.0 { 0 } else { crashes },
            pauses,
            sync_fails: rare(rng, 25, 0.05),
            full: rare(rng, 15, 0.1),
            service_clock,
            replica_clocks,
            // A step of our clock is taken for time that passed.
            latest: if step.is_some() { L.saturating_sub(S) } else { L },
            step,
            lies: rng.u8(..) < 8,
            cuts: rare(rng, 80, 0.05),
            skewed,
            bug: None,
        }
    }

    /// How far the clock of `replica` is off at `now`.
    pub(crate) fn clock_of(&self, replica: &str, now: Duration) -> i64 {
        let [first, second, third] = self.replica_clocks;
        let step = self.step.filter(|(at, _)| now >= *at).map_or(0, |(_, by)| by);
        match replica {
            "replica A" => first + step,
            "replica B" => second,
            _ => third,
        }
    }

    /// Whether the promises hold for it at all.
    pub(crate) fn is_within_limits(&self) -> bool {
        !self.lies && !self.skewed
    }
}

fn some(rng: &mut Rng) -> Faults {
    if rng.u8(..) < 70 { Faults::default() } else { Faults::any(rng, DURING) }
}

fn planned(rng: &mut Rng, names: usize, agents: usize, own: bool) -> Planned {
    let at = millis(rng, 0, DURING.as_millis());
    let agent = format!("a{}", rng.usize(1..=agents));
    let name = format!("n{}", rng.usize(1..=names));
    let kind = *rng.choice(&[None, None, Some("external"), Some("github")]).expect("some");
    let wish = match rng.u8(0..20) {
        0..8 => Wish::Create { agent, name, kind },
        8..10 => Wish::Webhook { agent, name },
        10 if own => Wish::Own { agent, name },
        10..14 => Wish::Delete(rng.usize(..)),
        _ => Wish::DeleteByName { agent, name, kind },
    };
    let patience = (rng.u8(..) < 40).then(|| millis(rng, 0, 200));
    Planned { at, user: format!("u{}", rng.usize(1..=3)), wish, patience }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "schedule {}: {} replicas", self.seed, self.replicas)?;
        if !self.is_within_limits() {
            writeln!(f, "  BEYOND THE LIMITS: lying syncs {}, skew {}", self.lies, self.skewed)?;
        }
        let Self { exclusive, unique_names, given, crashes, pauses, .. } = self;
        let Self { sync_fails, full, cuts, service_clock, replica_clocks, step, latest, .. } = self;
        writeln!(f, "  exclusive_writer {exclusive}, unique names {unique_names}, given {given}")?;
        writeln!(
            f,
            "  crashes {crashes}, pauses {pauses}, failing syncs {sync_fails}, full {full}, cuts {cuts}"
        )?;
        writeln!(
            f,
            "  clocks off by µs: service {service_clock}, replicas {replica_clocks:?}, step {step:?}"
        )?;
        writeln!(f, "  effects come within {latest:?}; outsiders at {:?}", self.outsiders)?;
        for (who, faults) in
            [("service", &self.service), ("back end", &self.provider), ("authn", &self.authn)]
        {
            writeln!(f, "  {who}: {faults:?}")?;
        }
        for (number, planned) in self.wishes.iter().enumerate() {
            let Planned { at, user, wish, patience } = planned;
            writeln!(f, "  client {number}, {user}, at {at:?}: {wish:?}, patience {patience:?}")?;
        }
        Ok(())
    }
}
