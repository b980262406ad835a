//! The counters of the dual write. Every exception to promise P1 is one (promise P9).

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::board::Board;
use super::operation::Operation;
use crate::model::Order;

/// The counters of the dual write. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    results: Family<Labels, Counter>,
    exceptions: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    orders: Family<Labels, Counter>,
    /// Operations under way or unfinished in this process.
    pub(super) open: Gauge,
    /// What is carried on, counted when the metrics are read.
    pub(super) board: Arc<Board>,
    /// Seconds from a matched request to the answer the client gets.
    pub(super) answer_seconds: Histogram,
}

/// The names and values of a counter's labels.
type Labels = Vec<(&'static str, String)>;

impl Metrics {
    /// Registers the counters.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let mut family = |name, help| {
            let family = Family::<Labels, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let metrics = Self {
            results: family("operations", "Operations that came to stand in a phase"),
            exceptions: family(
                "exceptions",
                "Intercepted requests that promise P1 was not kept for, by configured exception",
            ),
            refused: family(
                "intercepted_refused",
                "Intercepted requests that were refused before they were sent",
            ),
            failures: family(
                "attempts_failed",
                "Failed attempts of unfinished operations, by call",
            ),
            orders: family("operator_orders", "Orders of people that were followed"),
            open: Gauge::default(),
            board: Arc::default(),
            answer_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        };
        registry.register(
            "operations_open",
            "Operations under way or unfinished",
            metrics.open.clone(),
        );
        registry.register(
            "intercepted_seconds",
            "Time from a matched request to its answer",
            metrics.answer_seconds.clone(),
        );
        // Shown before the first, so that an alert sees it come.
        for order in ["retry", "discard"] {
            drop(metrics.orders.get_or_create(&vec![("order", order.into())]));
        }
        registry.register_collector(Box::new(Arc::clone(&metrics.board)));
        metrics
    }

    /// Counts that `operation` came to stand in its phase.
    pub(super) fn stands(&self, operation: &Operation) {
        let rule = operation.plan.rule.clone();
        count(&self.results, &vec![("rule", rule), ("phase", operation.phase.name().into())]);
    }

    /// Counts an exception to promise P1.
    pub(super) fn exception(&self, rule: &str, exception: &str) {
        count(&self.exceptions, &vec![("rule", rule.into()), ("exception", exception.into())]);
    }

    /// Counts a request that was refused before it was sent.
    pub(super) fn refused(&self, rule: &str, reason: &str) {
        count(&self.refused, &vec![("rule", rule.into()), ("reason", reason.into())]);
    }

    /// Counts a failed attempt.
    pub(super) fn failed(&self, call: &str) {
        count(&self.failures, &vec![("call", call.into())]);
    }

    /// Counts an order that was followed.
    pub(super) fn ordered(&self, order: &Order) {
        let order = match order {
            Order::Retry { .. } => "retry",
            Order::Discard { .. } => "discard",
        };
        count(&self.orders, &vec![("order", order.into())]);
    }
}

fn count(family: &Family<Labels, Counter>, labels: &Labels) {
    family.get_or_create(labels).inc();
}
