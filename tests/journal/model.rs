//! The simulation's models of journals, on a disk and in processes of which nothing fails: they must
//! keep the contract too, else simulations would show nothing.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use authz_sidecar::journal::{Arrival, Deposit, Error};
use authz_sidecar::model::{Clock, Entry, OperationId, SystemClock};
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::journal::{Host, ModelJournal};

#[path = "../simulation/disk.rs"]
#[allow(dead_code, reason = "only the simulation lets it fail")]
mod disk;
#[path = "../simulation/journal.rs"]
#[allow(dead_code, reason = "only the simulation needs all of it")]
mod journal;
#[path = "../simulation/shared.rs"]
#[allow(dead_code, reason = "only the simulation needs all of it")]
mod shared;

pub(crate) use self::shared::{Database, Way};

/// A new one.
pub(crate) fn model() -> ModelJournal {
    ModelJournal::open(Arc::default(), Calm)
}

struct Calm;

impl Host for Calm {
    fn cross(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn sync_fails(&self) -> bool {
        false
    }

    fn is_full(&self) -> bool {
        false
    }

    fn lies(&self) -> bool {
        false
    }

    fn pace(&self) -> (Duration, Duration) {
        (Duration::ZERO, Duration::from_millis(1))
    }

    fn rng(&self) -> Rng {
        Rng::with_seed(1)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn broke(&self) {}

    fn refused(&self, _: &Error) {}

    fn durable(&self, _: OperationId, _: &[Entry]) {}
}

/// A way to `database` of a process whose lease is that long.
pub(crate) fn way(database: &Arc<Database>, lease: Duration) -> Way {
    Way::open(database, Leased(lease))
}

struct Leased(Duration);

impl shared::Host for Leased {
    fn clock_error(&self) -> (Duration, i64) {
        (Duration::ZERO, 0)
    }

    fn cross(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn distance(&self) -> Duration {
        Duration::ZERO
    }

    fn cut(&self) -> Option<Duration> {
        None
    }

    fn lease(&self) -> Duration {
        self.0
    }

    fn now(&self) -> Duration {
        self.time()
    }

    fn time(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        // Not nought, at which an expired lease ends.
        START.elapsed() + Duration::from_secs(1)
    }

    fn took_over(&self, _: usize) {}

    fn fences(&self) {}

    fn bug(&self) -> Option<shared::Bug> {
        None
    }

    fn fenced(&self) {}

    fn durable(&self, _: OperationId, _: &[Entry]) {}

    fn arrives(&self, _: &Arrival) {}

    fn keeps(&self, _: i64, _: &Deposit) {}
}
