//! The narrow draws: the keys service as it is shipped for, answers within milliseconds unless a
//! fault strikes, and clocks that are within S of each other.

use std::time::Duration;

use fastrand::Rng;

use super::{Agent, Clocks, Draws, Habits, Observes, Planned, Schedule, Step, Times, Wish};
use crate::faults::{Faults, millis};
use crate::settings::skew;

impl Times {
    /// Those of the narrow draws.
    const NARROW: Self = Self {
        late_effect: Duration::from_secs(1),
        read_lag: Duration::ZERO,
        exchange: Duration::from_millis(200),
        lease: Duration::from_millis(300),
    };
}

impl Habits {
    /// Those of the keys service.
    pub(super) const KEYS: Self = Self {
        unique_names: false,
        absent: 200,
        delete_reads_replica: false,
        empty_is_404: false,
        hides: false,
        trims: false,
        upserts: false,
        replays: false,
        keeps_owner: false,
        documents_probed: true,
    };
}

/// How long clients keep coming.
const DURING: Duration = Times::NARROW.late_effect;

impl Schedule {
    pub(super) fn narrow(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let exclusive = rng.u8(..) < 200;
        let (names, agents) = (rng.usize(1..=3), rng.usize(1..=2));
        let own = rng.u8(..) < 40;
        let count = rng.usize(1..=7);
        let wishes = (0..count).map(|_| planned(rng, names, agents, own)).collect();
        let outsiders = if exclusive { 0 } else { rng.usize(0..=3) };
        let limits = skew(&Times::NARROW);
        let half = i64::try_from(limits.as_micros()).expect("short") / 2;
        let skewed = rng.u8(..) < 10;
        let off = |rng: &mut Rng| if rng.bool() { 0 } else { rng.i64(-half..=half) };
        let step = (rng.u8(..) < 50).then(|| millis(rng, 0, 2 * DURING.as_millis()));
        let replica_clocks = [off(rng), off(rng), off(rng)];
        // It may end anywhere within the limits.
        let step = step.map(|at| {
            let by = rng.i64(-half..=half) - replica_clocks[0];
            Step { at, whose: Clocks::Replica(0), by }
        });
        let service_clock = off(rng) + if skewed { rng.i64(-10 * half..=10 * half) } else { 0 };
        let rare = |rng: &mut Rng, of: u8, likely: f64| if rng.u8(..) < of { likely } else { 0.0 };
        let replicas = *rng.choice(&[1, 1, 1, 2, 2, 3]).expect("some");
        let crashes = if rng.bool() { 0 } else { rng.u32(1..=3) };
        let pauses = rare(rng, if replicas > 1 { 90 } else { 30 }, 0.01);
        // A step of our clock is taken for time that passed.
        let early = if step.is_some() { limits } else { Duration::ZERO };
        Self {
            seed,
            draws: Draws::Narrow,
            times: Times::NARROW,
            replicas,
            observes: [Observes::Nothing; 3],
            exclusive,
            habits: Habits { unique_names: rng.bool(), ..Habits::KEYS },
            given: rng.usize(0..=2),
            wishes,
            outsiders: (0..outsiders).map(|_| millis(rng, 0, DURING.as_millis())).collect(),
            service: some(rng),
            provider: some(rng).delivered_once(),
            authn: if rng.u8(..) < 40 { some(rng) } else { Faults::default() },
            // What a process learnt while it was taken over is lost if it dies before it tells.
            crashes: if replicas > 1 && pauses > 0.0 { 0 } else { crashes },
            fuses: vec![6, 20, 60, 200],
            strikes: 0.0,
            pauses,
            sync_fails: rare(rng, 25, 0.05),
            full: rare(rng, 15, 0.1),
            service_clock,
            replica_clocks,
            latest: Times::NARROW.late_effect.saturating_sub(early),
            steps: step.into_iter().collect(),
            lies: rng.u8(..) < 8,
            cuts: rare(rng, 80, 0.05),
            beyond: false,
            holds: 0.0,
            bug: None,
        }
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
        0..8 => Wish::Create { agent: Agent::Id(agent), name, kind },
        8..10 => Wish::Webhook { agent, name },
        10 if own => Wish::Own { agent, name },
        10..14 => Wish::Delete(rng.usize(..)),
        _ => Wish::DeleteByName { agent: Agent::Id(agent), name, kind },
    };
    let patience = (rng.u8(..) < 40).then(|| millis(rng, 0, 200));
    Planned { at, user: format!("u{}", rng.usize(1..=3)), wish, patience, retries: 0 }
}
