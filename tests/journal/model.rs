//! The simulation's model of a journal, on a disk and in a process of which nothing fails: it must
//! keep the contract too, else simulations would show nothing.

use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::journal::Error;
use authz_sidecar::model::{Entry, OperationId};
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

    fn broke(&self) {}

    fn refused(&self, _: &Error) {}

    fn durable(&self, _: OperationId, _: &[Entry]) {}
}
