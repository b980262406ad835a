//! Runs one schedule to its end.

use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::dualwrite::operation::{Operation, Phase};
use authz_sidecar::model::Stored;

use crate::clients::{self, Client};
use crate::counts::Counts;
use crate::faults::millis;
use crate::provider::Edge;
use crate::replica::{Replica, Store};
use crate::schedule::Schedule;
use crate::service::Row;
use crate::settings::{L, S};
use crate::wire::Whose;
use crate::world::{State, World, wall};

/// What became of a schedule.
pub(crate) struct Outcome {
    /// Promises that were broken; empty where all held.
    pub(crate) broken: Vec<String>,
    /// What happened, where that was asked for.
    pub(crate) trace: String,
    /// What went wrong on the way.
    pub(crate) counts: Counts,
}

/// Within what time after the last fault everything must be quiet.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the schedule of `seed`.
pub(crate) fn run(seed: u64, traced: bool) -> Outcome {
    play_out(Schedule::new(seed), traced)
}

/// Runs a schedule.
pub(crate) fn play_out(schedule: Schedule, traced: bool) -> Outcome {
    fastrand::seed(schedule.seed);
    let head = if traced { schedule.to_string() } else { String::new() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let (broken, trace, counts) = runtime.block_on(async {
        let world = World::new(schedule, traced);
        play(&world).await;
        world.with(|state| {
            let (broken, trace) = (&mut state.broken, &mut state.trace);
            (std::mem::take(broken), std::mem::take(trace), state.counts)
        })
    });
    Outcome { broken, trace: head + &trace.text(), counts }
}

async fn play(world: &Arc<World>) {
    world.with(State::furnish);
    let count = world.with(|state| state.schedule.replicas);
    let store = if count == 1 { Store::Own(Arc::default()) } else { Store::Shared(Arc::default()) };
    let names = ["replica A", "replica B", "replica C"];
    let replicas: Vec<_> =
        names.iter().take(count).map(|name| Replica::new(name, world, store.clone())).collect();
    for replica in &replicas {
        tokio::spawn(Arc::clone(replica).supervise());
    }
    let clients = world.with(|state| state.clients.len());
    let clients: Vec<_> = (0..clients)
        .map(|number| tokio::spawn(clients::run(number, Arc::clone(world), replicas.clone())))
        .collect();
    for client in clients {
        if let Err(error) = client.await {
            world.with(|state| state.breaks(format!("a client panicked: {error}")));
        }
    }
    let stay = world.with(|state| millis(&mut state.rng, 0, 2 * L.as_millis()));
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
    let deadline = world.elapsed() + PATIENCE;
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
            world.with(|state| state.breaks("no replica serves".into()));
            return Vec::new();
        }
        tokio::time::sleep(L / 10).await;
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
        self.clients = vec![Client::default(); schedule.wishes.len()];
        // Older than any create of this schedule can be.
        let old = wall(Duration::ZERO, 0).minus(4 * (L + S));
        for _ in 0..schedule.given {
            self.own_row(Whose::Given, |row| row.created_at = old);
        }
        for at in &schedule.outsiders {
            self.after(*at, |state| {
                let own = |row: &&Row| row.maker == Whose::Outsider;
                let rows: Vec<_> = state.service.rows.values().filter(own).cloned().collect();
                match state.rng.choice(rows).filter(|_| state.rng.bool()) {
                    Some(row) => {
                        state.remove(&row.id, Whose::Outsider);
                        state.provider.edges.remove(&row.id);
                    }
                    None => state.own_row(Whose::Outsider, |_| ()),
                }
            });
        }
    }

    /// A row that was made, and registered, past the sidecar.
    fn own_row(&mut self, maker: Whose, change: impl Fn(&mut Row)) {
        let (id, agent) = (self.service.next_id(), format!("a{}", self.rng.u8(1..=2)));
        let (name, kind) = (format!("n{}", self.rng.u8(1..=3)), "external".to_owned());
        let edge = Edge { owner: "outsider".into(), parent: agent.clone() };
        self.provider.edges.insert(id.clone(), edge);
        let mut row = Row { id, agent, name, kind, created_at: self.service_clock(), maker };
        change(&mut row);
        self.insert(row);
    }
}
