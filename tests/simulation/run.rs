//! Runs one schedule to its end.

use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::dualwrite::operation::{Operation, Phase};
use authz_sidecar::model::Stored;

use crate::clients::{self, Client};
use crate::counts::Counts;
use crate::coverage::Pairs;
use crate::faults::millis;
use crate::invariants::{Broken, Kind};
use crate::provider::Edge;
use crate::replica::{Replica, Store};
use crate::schedule::{Draws, Schedule, Times};
use crate::service::rows::{DOCUMENT, Row};
use crate::wire::Whose;
use crate::world::{State, World, wall};

/// What became of a schedule.
pub(crate) struct Outcome {
    /// Promises that were broken; empty where all held.
    pub(crate) broken: Vec<Broken>,
    /// What happened, where that was asked for.
    pub(crate) trace: String,
    /// What went wrong on the way.
    pub(crate) counts: Counts,
    /// Which events of different requests overlapped.
    pub(crate) pairs: Pairs,
    /// What is unusual about the schedule.
    pub(crate) unusual: String,
}

/// Within what time after the last fault everything must be quiet.
fn patience(schedule: &Schedule) -> Duration {
    let Times { late_effect, read_lag, lease, .. } = schedule.times;
    // A clock that is set back makes everything later that waits for a time on it.
    let back = schedule.steps.iter().map(|step| Duration::from_micros(step.by.unsigned_abs()));
    20 * (late_effect + read_lag) + 4 * lease + back.sum::<Duration>()
}

/// Runs the schedule of `seed`.
pub(crate) fn run(seed: u64, draws: Draws, traced: bool) -> Outcome {
    play_out(Schedule::new(seed, draws), traced)
}

/// Runs a schedule.
pub(crate) fn play_out(schedule: Schedule, traced: bool) -> Outcome {
    fastrand::seed(schedule.seed);
    let head = if traced { schedule.to_string() } else { String::new() };
    let unusual = schedule.unusual();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let (broken, trace, counts, pairs) = runtime.block_on(async {
        let world = World::new(schedule, traced);
        play(&world).await;
        world.with(|state| {
            let pairs = Pairs::of(state);
            let (broken, trace) = (&mut state.broken, &mut state.trace);
            (std::mem::take(broken), std::mem::take(trace), state.counts, pairs)
        })
    });
    Outcome { broken, trace: head + &trace.text(), counts, pairs, unusual }
}

async fn play(world: &Arc<World>) {
    world.with(State::furnish);
    let count = world.with(|state| state.schedule.replicas);
    let store = if count == 1 { Store::Own(Arc::default()) } else { Store::Shared(Arc::default()) };
    let replicas: Vec<_> =
        (0..count).map(|number| Replica::new(number, world, store.clone())).collect();
    for replica in &replicas {
        tokio::spawn(Arc::clone(replica).supervise());
    }
    let clients = world.with(|state| state.clients.len());
    let clients: Vec<_> = (0..clients)
        .map(|number| tokio::spawn(clients::run(number, Arc::clone(world), replicas.clone())))
        .collect();
    for client in clients {
        if let Err(error) = client.await {
            world.with(|state| state.breaks(Kind::Other, format!("a client panicked: {error}")));
        }
    }
    let stay = world.with(|state| {
        let longest = 2 * state.schedule.times.late_effect;
        millis(&mut state.rng, 0, longest.as_millis())
    });
    tokio::time::sleep(stay).await;
    world.with(|state| {
        state.say("world", "", |_| "all faults are over".into());
        state.calm = true;
    });
    let left = quiet(world, &replicas).await;
    world.with(|state| state.judge(&left));
}

/// Waits until nothing is on its way and nothing unfinished but what is reported, and gives that.
async fn quiet(world: &World, replicas: &[Arc<Replica>]) -> Vec<Stored> {
    let (deadline, pause) = world.with(|state| {
        let schedule = &state.schedule;
        (state.now + patience(schedule), schedule.times.late_effect / 10)
    });
    loop {
        let running: Vec<_> = replicas.iter().filter_map(|replica| replica.running()).collect();
        let left = running.first().map(|running| running.journal.left());
        let settled = running.iter().all(|running| running.journal.is_still());
        let still = settled && world.with(|state| state.is_still());
        if let Some(left) = left {
            let ended = running.len() == replicas.len() && left.iter().all(is_reported);
            if still && ended || world.elapsed() > deadline {
                return left;
            }
        } else if world.elapsed() > deadline {
            world.with(|state| state.breaks(Kind::Stuck, "no replica serves".into()));
            return Vec::new();
        }
        tokio::time::sleep(pause).await;
    }
}

fn is_reported(stored: &Stored) -> bool {
    let operation = Operation::replay(stored);
    operation.is_ok_and(|operation| matches!(operation.phase, Phase::Reported(_)))
}

impl State {
    /// What is there before, and what outsiders will do.
    fn furnish(&mut self) {
        let schedule = Arc::clone(&self.schedule);
        self.clients = schedule.wishes.iter().cloned().map(Client::new).collect();
        // Older than any create of this schedule can be.
        let old = wall(Duration::ZERO, 0).minus(5 * schedule.times.late_effect);
        for _ in 0..schedule.given {
            self.own_row(Whose::Given, |row| row.created_at = old);
        }
        for at in &schedule.outsiders {
            self.after(*at, |state| {
                let own = |row: &&Row| row.maker == Whose::Outsider;
                let rows: Vec<_> = state.service.there.values().filter(own).cloned().collect();
                match state.rng.choice(rows).filter(|_| state.rng.bool()) {
                    Some(row) => {
                        state.remove(&row.id, row.made, Whose::Outsider);
                        state.provider.edges.remove(&row.id);
                    }
                    None => state.own_row(Whose::Outsider, |_| ()),
                }
            });
        }
    }

    /// A row that was made, and registered, past the sidecar.
    fn own_row(&mut self, maker: Whose, change: impl Fn(&mut Row)) {
        let wishes = &self.schedule.wishes;
        let documents = wishes.iter().filter(|planned| planned.wish.is_of_document()).count();
        let is_document = documents > 0 && self.rng.usize(0..wishes.len()) < documents;
        let agent = format!("a{}", self.rng.u8(1..=2));
        let name = format!("n{}", self.rng.u8(1..=3));
        let (id, kind) = if is_document {
            (format!("d{}", self.rng.u8(1..=2)), DOCUMENT)
        } else {
            (self.service.next_id(), "external")
        };
        if self.service.there.contains_key(&id) || self.service.pending.contains(&id) {
            return;
        }
        let edge = Edge { owner: "outsider".into(), parent: agent.clone() };
        self.provider.edges.insert(id.clone(), edge);
        let (kind, user) = (kind.to_owned(), "outsider".to_owned());
        let (created_at, made) = (self.service_clock(), self.now);
        let mut row = Row { id, agent, name, kind, created_at, made, maker, user };
        change(&mut row);
        self.insert(row);
    }
}
