//! How often the cache helps, and what authn's calls cost.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Error, Resolved};

/// Counts look-ups and calls of authn. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    lookups: Family<Labels, Counter>,
    calls: Family<Labels, Counter>,
    seconds: Histogram,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            lookups: Family::default(),
            calls: Family::default(),
            // 1 ms to 4 s: from an authn next door to one beyond its time-out.
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 13)),
        }
    }
}

impl Metrics {
    /// Metrics that `registry` exposes.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "principal_lookups",
            "Principals looked up: hit, hit_rejected, joined (another's call), miss (own call)",
            metrics.lookups.clone(),
        );
        registry.register(
            "authn_calls",
            "Calls of the authentication service, by how they ended",
            metrics.calls.clone(),
        );
        registry.register(
            "authn_call_seconds",
            "How long calls of the authentication service take",
            metrics.seconds.clone(),
        );
        metrics
    }

    pub(super) fn lookup(&self, result: &'static str) {
        self.lookups.get_or_create(&Labels { result }).inc();
    }

    pub(super) fn asked(&self, start: Instant, outcome: &Result<Resolved, Error>) {
        let result = match outcome {
            Ok(_) => "ok",
            Err(Error::Unauthenticated) => "rejected",
            Err(Error::Duplicate(_) | Error::Lookalike(_) | Error::Unavailable(_)) => "unavailable",
        };
        self.calls.get_or_create(&Labels { result }).inc();
        self.seconds.observe(start.elapsed().as_secs_f64());
    }
}
