//! The wide draws: any service that the rules allow, every delay up to its declared bound, clocks
//! that step, and clients that ask again where they failed.

use std::time::Duration;

use fastrand::Rng;

use super::{Agent, Clocks, Draws, Habits, Observes, Planned, Schedule, Step, Times, Wish};
use crate::faults::{Faults, log_uniform, millis, strength};

/// The longest pause between two clients: what finished before it is forgotten after it.
const LONG: Duration = Duration::from_secs(70);

impl Schedule {
    pub(super) fn wide(seed: u64) -> Self {
        // Neighbouring seeds of the narrow draws begin alike otherwise.
        let rng = &mut Rng::with_seed(seed ^ 0x77_1d_e0_00_00);
        let times = Times::drawn(rng);
        let longest = times.late_effect;
        let exclusive = rng.u8(..) < 200;
        let wishes = Wishes::drawn(rng).planned(rng, longest);
        let during = wishes.last().map_or(longest, |planned| planned.at);
        let outsiders = if exclusive { 0 } else { rng.usize(0..=4) };
        let outsiders = (0..outsiders).map(|_| millis(rng, 0, during.as_millis())).collect();
        let replicas = *rng.choice(&[1, 1, 1, 2, 2, 3]).expect("some");
        let crashes = if rng.bool() { 0 } else { rng.u32(1..=4) };
        let pauses = seldom(rng, if replicas > 1 { 60 } else { 20 }).min(0.01);
        let beyond = rng.u8(..) < 10;
        let commits_late = rng.bool();
        let observes = observes(rng);
        // What passes unrecorded does so where it is observed and the journal takes nothing.
        let full = if observes == [Observes::Nothing; 3] { 20 } else { 128 };
        Self {
            seed,
            draws: Draws::Wide,
            times,
            habits: Habits::drawn(rng),
            replicas,
            observes,
            exclusive,
            given: rng.usize(0..=2),
            wishes,
            outsiders,
            service: Faults { commits_late, ..faults(rng, during) },
            provider: faults(rng, during).delivered_once(),
            authn: if rng.u8(..) < 20 { faults(rng, during) } else { Faults::default() },
            // What a process learnt while it was taken over is lost if it dies before it tells.
            crashes: if replicas > 1 && pauses > 0.0 { 0 } else { crashes },
            fuses: vec![6, 20, 60, 200, 600],
            strikes: seldom(rng, 128).min(0.3),
            pauses,
            sync_fails: seldom(rng, 15).min(0.05),
            full: seldom(rng, full),
            cuts: seldom(rng, 60).min(0.1),
            service_clock: off(rng, longest),
            replica_clocks: [off(rng, longest / 4), off(rng, longest / 4), off(rng, longest / 4)],
            steps: steps(rng, longest, during),
            latest: if beyond { 3 * longest } else { longest },
            lies: false,
            beyond,
            holds: seldom(rng, 40),
            bug: None,
        }
    }
}

impl Times {
    fn drawn(rng: &mut Rng) -> Self {
        let between = |rng: &mut Rng, from: Duration, to: Duration| {
            let spread = (to.as_secs_f64() / from.as_secs_f64()).ln();
            let drawn = from.mul_f64((rng.f64() * spread).exp());
            Duration::from_millis(u64::try_from(drawn.as_millis()).expect("a short time"))
        };
        let late_effect = between(rng, Duration::from_millis(200), Duration::from_secs(8));
        let lags = rng.u8(..) < 80;
        Self {
            late_effect,
            read_lag: if lags { log_uniform(rng, late_effect) } else { Duration::ZERO },
            exchange: between(rng, late_effect / 20, late_effect),
            lease: between(rng, Duration::from_millis(150), Duration::from_secs(3)),
        }
    }
}

impl Habits {
    fn drawn(rng: &mut Rng) -> Self {
        let seldom = |rng: &mut Rng, of: u8| rng.u8(..) < of;
        Self {
            unique_names: seldom(rng, 80),
            absent: if rng.bool() { 200 } else { 404 },
            delete_reads_replica: rng.bool(),
            empty_is_404: seldom(rng, 12),
            hides: seldom(rng, 25),
            trims: seldom(rng, 25),
            upserts: seldom(rng, 100),
            replays: rng.bool(),
            keeps_owner: seldom(rng, 60),
            documents_probed: rng.bool(),
        }
    }
}

/// A likelihood, mostly none.
fn seldom(rng: &mut Rng, of: u8) -> f64 {
    if rng.u8(..) < of { strength(rng) } else { 0.0 }
}

fn faults(rng: &mut Rng, during: Duration) -> Faults {
    let some = if rng.u8(..) < 100 { Faults::default() } else { Faults::any(rng, during) };
    let slow = if rng.u8(..) < 150 { strength(rng) } else { 0.0 };
    Faults { slow, lazy: 0.0, ..some }
}

fn observes(rng: &mut Rng) -> [Observes; 3] {
    let all = *rng.choice(&[Observes::Webhooks, Observes::Everything]).expect("some");
    match rng.u8(..) {
        0..30 => [all; 3],
        // Some replicas run with another configuration than the others.
        30..50 => [all, Observes::Nothing, Observes::Nothing],
        _ => [Observes::Nothing; 3],
    }
}

/// How far a clock is off, in microseconds: mostly a little, seldom as far as `longest`.
fn off(rng: &mut Rng, longest: Duration) -> i64 {
    let longest = if rng.u8(..) < 30 { longest } else { longest / 50 };
    if rng.bool() { 0 } else { signed(rng, longest) }
}

fn signed(rng: &mut Rng, longest: Duration) -> i64 {
    let by = i64::try_from(log_uniform(rng, longest).as_micros()).expect("a short time");
    if rng.bool() { by } else { -by }
}

fn steps(rng: &mut Rng, longest: Duration, during: Duration) -> Vec<Step> {
    let count = if rng.u8(..) < 50 { rng.usize(1..=2) } else { 0 };
    let whose = [Clocks::All, Clocks::All, Clocks::Service, Clocks::Replica(0)];
    let step = |rng: &mut Rng| Step {
        at: millis(rng, 0, (during + longest).as_millis()),
        whose: *rng.choice(&whose).expect("some"),
        by: signed(rng, 4 * longest),
    };
    (0..count).map(|_| step(rng)).collect()
}

/// What the clients of one schedule want.
struct Wishes {
    names: usize,
    agents: usize,
    users: usize,
    own: bool,
    aside: bool,
    spaces: bool,
    /// How many of them are about documents, of 256.
    documents: u8,
}

impl Wishes {
    fn drawn(rng: &mut Rng) -> Self {
        Self {
            names: rng.usize(1..=2),
            agents: rng.usize(1..=2),
            users: rng.usize(1..=2),
            own: rng.u8(..) < 30,
            aside: rng.u8(..) < 40,
            spaces: rng.u8(..) < 60,
            documents: *rng.choice(&[0, 0, 0, 255, 128]).expect("some"),
        }
    }

    /// Clients that come one after the other, mostly while the one before is served.
    fn planned(&self, rng: &mut Rng, longest: Duration) -> Vec<Planned> {
        let count = rng.usize(1..=8);
        let mut at = Duration::ZERO;
        let mut planned = Vec::new();
        for _ in 0..count {
            at += if rng.u8(..) < 4 { LONG } else { log_uniform(rng, 2 * longest) };
            let patience = (rng.u8(..) < 30).then(|| log_uniform(rng, longest));
            let retries = if rng.u8(..) < 180 { rng.u32(1..=3) } else { 0 };
            let user = format!("u{}", rng.usize(1..=self.users));
            let is_document = rng.u8(..) < self.documents;
            let wish = if is_document { self.document(rng) } else { self.key(rng) };
            planned.push(Planned { at, user, wish, patience, retries });
        }
        planned
    }

    fn agent(&self, rng: &mut Rng) -> String {
        format!("a{}", rng.usize(1..=self.agents))
    }

    fn name(&self, rng: &mut Rng) -> String {
        let space = if self.spaces && rng.u8(..) < 80 { " " } else { "" };
        format!("n{}{space}", rng.usize(1..=self.names))
    }

    fn key(&self, rng: &mut Rng) -> Wish {
        let (id, name) = (self.agent(rng), self.name(rng));
        let spelled = |id: String, rng: &mut Rng| {
            if rng.u8(..) < 80 { Agent::Name(id) } else { Agent::Id(id) }
        };
        let kind = *rng.choice(&[None, None, Some("external"), Some("github")]).expect("some");
        match rng.u8(0..20) {
            0..9 => Wish::Create { agent: spelled(id, rng), name, kind },
            9..12 => Wish::Webhook { agent: id, name },
            12 if self.own => Wish::Own { agent: id, name },
            12..14 if self.aside => Wish::Aside { agent: id, name },
            12..14 => Wish::Delete(rng.usize(..)),
            14..17 => Wish::DeleteNewest,
            _ => {
                let name = name.trim().to_owned();
                Wish::DeleteByName { agent: spelled(id, rng), name, kind }
            }
        }
    }

    fn document(&self, rng: &mut Rng) -> Wish {
        let (folder, name) = (self.agent(rng), self.name(rng));
        let id = format!("d{}", rng.u8(1..=2));
        match rng.u8(0..20) {
            0..8 => Wish::Put { id, folder, name },
            8..14 => {
                let key = rng.bool().then(|| format!("key-{}", rng.u8(1..=2)));
                Wish::Post { folder, name, key }
            }
            14..17 => Wish::DeleteDocument { id },
            _ => Wish::DeleteNewest,
        }
    }
}
