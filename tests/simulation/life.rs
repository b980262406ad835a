//! The life of one process. Whatever it does to the world goes through [`Life::cross`], which is
//! where it may die or stand still: a process that is killed between two such places has done just
//! the same. What is left of a dead one waits for ever at the next, and so does nothing more.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::faults::millis;
use crate::world::World;

/// One process, from its start to its death.
pub(crate) struct Life {
    pub(crate) name: String,
    /// The number of its replica.
    pub(crate) replica: usize,
    pub(crate) world: Arc<World>,
    dead: AtomicBool,
    died: Notify,
    vital: Mutex<Vital>,
}

struct Vital {
    /// How many more crossings it survives, where that is limited.
    fuse: Option<u32>,
    /// Until when it stands still.
    paused: Duration,
}

impl Life {
    /// A process that starts.
    pub(crate) fn begin(name: &str, replica: usize, world: &Arc<World>) -> Arc<Self> {
        let fuse = world.with(|state| {
            let may = !state.calm && state.crashes > 0 && state.rng.u8(..) < 200;
            may.then(|| {
                state.crashes -= 1;
                let far = *state.rng.choice(&state.schedule.fuses).expect("there are some");
                state.rng.u32(1..far)
            })
        });
        let vital = Mutex::new(Vital { fuse, paused: Duration::ZERO });
        let (name, world) = (name.to_owned(), Arc::clone(world));
        let dead = AtomicBool::new(false);
        Arc::new(Self { name, replica, world, dead, died: Notify::new(), vital })
    }

    /// A place where the process may die, or stand still for a while.
    pub(crate) async fn cross(&self) {
        // Who stands still comes to no other such place before it goes on.
        self.runs().await;
        if self.burns() && !self.is_dead() {
            self.world.with(|state| state.counts.crashes += 1);
            self.die("is killed");
        }
        self.runs().await;
    }

    /// Waits while it stands still; for ever once it is dead.
    async fn runs(&self) {
        loop {
            if self.is_dead() {
                return pending().await;
            }
            let until = self.vital().paused;
            let now = self.world.elapsed();
            if until <= now {
                return;
            }
            tokio::time::sleep(until.saturating_sub(now)).await;
        }
    }

    /// The time as the process knows it: what runs in it while it stands still runs, in truth, when
    /// it goes on.
    pub(crate) fn now(&self) -> Duration {
        self.world.elapsed().max(self.vital().paused)
    }

    fn burns(&self) -> bool {
        let (calm, pause) = self.world.with(|state| {
            let likely = state.schedule.pauses;
            let pause = !state.calm && likely > 0.0 && state.rng.f64() < likely;
            let longest = 2 * state.schedule.times.late_effect.as_millis();
            (state.calm, pause.then(|| state.now + millis(&mut state.rng, 1, longest)))
        });
        if let Some(until) = pause {
            let still = until.saturating_sub(self.world.elapsed());
            self.say("process", || format!("stands still for {} ms", still.as_millis()));
            self.vital().paused = until;
        }
        let mut vital = self.vital();
        match &mut vital.fuse {
            Some(fuse) if !calm => {
                *fuse = fuse.saturating_sub(1);
                *fuse == 0
            }
            _ => false,
        }
    }

    /// A neighbour answered: the process may die within the next steps.
    pub(crate) fn hears(&self) {
        let fuse = self.world.with(|state| {
            let likely = state.schedule.strikes;
            let may = !state.calm && state.crashes > 0 && likely > 0.0;
            (may && state.rng.f64() < likely).then(|| {
                state.crashes -= 1;
                state.rng.u32(1..=4)
            })
        });
        if fuse.is_some() {
            self.vital().fuse = fuse;
        }
    }

    /// The process dies.
    pub(crate) fn die(&self, how: &str) {
        if !self.dead.swap(true, Relaxed) {
            self.say("process", || how.to_owned());
            self.died.notify_waiters();
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Waits for its death.
    pub(crate) async fn death(&self) {
        let died = self.died.notified();
        if !self.is_dead() {
            died.await;
        }
    }

    pub(crate) fn say(&self, what: &str, text: impl FnOnce() -> String) {
        self.world.say(&self.name, what, |_| text());
    }

    fn vital(&self) -> std::sync::MutexGuard<'_, Vital> {
        self.vital.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stands_still_does_so_with_all_its_tasks() {
    use crate::schedule::{Draws, Schedule};

    let schedule = Schedule { pauses: 1.0, crashes: 0, ..Schedule::new(1, Draws::Narrow) };
    let life = Life::begin("A", 0, &World::new(schedule, false));
    for _ in 0..20 {
        let until = tokio::select! {
            biased;
            () = life.cross() => panic!("it stands still at each place"),
            () = std::future::ready(()) => life.vital().paused,
        };
        life.cross().await;
        assert!(life.world.elapsed() >= until, "another task went on before");
    }
}
