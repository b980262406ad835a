//! What the journal counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The journal's metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Calls whose entries were kept.
    pub appends: Counter,
    /// Calls that were refused: an id taken, no room, a misplaced record.
    pub refusals: Counter,
    /// Transactions committed, each of which waits for the disk once.
    pub commits: Counter,
    /// Calls in one transaction.
    pub batch_size: Histogram,
    /// How long a transaction took, the disk's share included.
    pub commit_latency: Histogram,
    /// Calls that wait for the writer.
    pub queue_depth: Gauge,
    /// Bytes in use, which `journal.max_bytes` bounds.
    pub bytes: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Registers the metrics as `journal_…`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("journal");
        registry.register("appends", "Calls whose entries were kept", metrics.appends.clone());
        registry.register(
            "refusals",
            "Calls refused: an id taken, no room, a misplaced record",
            metrics.refusals.clone(),
        );
        registry.register("commits", "Transactions committed", metrics.commits.clone());
        registry.register("batch_size", "Calls in one transaction", metrics.batch_size.clone());
        registry.register_with_unit(
            "commit_latency",
            "Time of one transaction, the disk's share included",
            Unit::Seconds,
            metrics.commit_latency.clone(),
        );
        registry.register(
            "queue_depth",
            "Calls that wait for the writer",
            metrics.queue_depth.clone(),
        );
        registry.register_with_unit(
            "used",
            "Bytes in use, which journal.max_bytes bounds",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        metrics
    }
}

impl Default for Metrics {
    /// Metrics that no registry shows.
    fn default() -> Self {
        Self {
            appends: Counter::default(),
            refusals: Counter::default(),
            commits: Counter::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            // 100 µs, an NVMe disk with a write cache, to 1.6 s, a disk in trouble.
            commit_latency: Histogram::new(exponential_buckets(0.000_1, 2.0, 15)),
            queue_depth: Gauge::default(),
            bytes: Gauge::default(),
        }
    }
}
