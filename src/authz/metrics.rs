//! What the back end's calls cost and how they end.

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Authorizer, Error};
use crate::model::{Principal, Resource};

/// Counts and times the calls of the back end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    calls: Family<Labels, Counter>,
    seconds: Family<Operation, Histogram, fn() -> Histogram>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            // 1 ms to 4 s: from a provider next door to one beyond every deadline.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 13))
            }),
        }
    }
}

impl Metrics {
    /// Metrics that `registry` exposes.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "authz_calls",
            "Calls of the authorization back end, one for each attempt, by how they ended",
            metrics.calls.clone(),
        );
        registry.register(
            "authz_call_seconds",
            "How long calls of the authorization back end take",
            metrics.seconds.clone(),
        );
        metrics
    }

    fn record(&self, operation: &'static str, start: Instant, result: &Result<(), Error>) {
        let result = result.as_ref().map_or_else(|error| error.kind.as_str(), |()| "ok");
        self.calls.get_or_create(&Labels { operation, result }).inc();
        let seconds = start.elapsed().as_secs_f64();
        self.seconds.get_or_create(&Operation { operation }).observe(seconds);
    }
}

/// A back end whose calls are counted and timed.
#[derive(Clone, Debug)]
pub struct Metered<A> {
    inner: A,
    metrics: Metrics,
}

impl<A> Metered<A> {
    /// Meters `inner`.
    pub fn new(inner: A, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl<A: Authorizer> Authorizer for Metered<A> {
    async fn register(
        &self,
        principal: &Principal,
        resource: &Resource,
        parent: Option<&Resource>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let result = self.inner.register(principal, resource, parent).await;
        self.metrics.record("register", start, &result);
        result
    }

    async fn deregister(&self, principal: &Principal, resource: &Resource) -> Result<(), Error> {
        let start = Instant::now();
        let result = self.inner.deregister(principal, resource).await;
        self.metrics.record("deregister", start, &result);
        result
    }
}
