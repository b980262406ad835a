//! What the proxy counts. Every label value has its counter from the start, so that counting is
//! one atomic addition.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::Kind;

/// The proxy's counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: Family<Outcome, Counter>,
    unmatched: Counter,
    intercepted: Counter,
    refused: Family<Reason, Counter>,
    connections: Gauge,
    tunnels: Gauge,
    connection_errors: Family<Reason, Counter>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Default for Inner {
    fn default() -> Self {
        let requests = Family::<Outcome, Counter>::default();
        let of = |outcome| requests.get_or_create(&Outcome { outcome }).clone();
        Self {
            unmatched: of("unmatched"),
            intercepted: of("intercepted"),
            requests,
            refused: Family::default(),
            connections: Gauge::default(),
            tunnels: Gauge::default(),
            connection_errors: Family::default(),
        }
    }
}

/// An open connection, or tunnel; also one that is cut when a worker ends.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let inner = &metrics.0;
        registry.register(
            "requests",
            "Requests by what the rules made of them",
            inner.requests.clone(),
        );
        registry.register(
            "refused",
            "Requests that the proxy answered itself, by problem type",
            inner.refused.clone(),
        );
        registry.register("connections", "Open client connections", inner.connections.clone());
        registry.register(
            "tunnels",
            "Those of them that were upgraded to a WebSocket",
            inner.tunnels.clone(),
        );
        registry.register(
            "connection_errors",
            "Client connections, and HTTP/2 streams, that ended in an error, which no request shows",
            inner.connection_errors.clone(),
        );
        metrics
    }

    pub(super) fn unmatched(&self) {
        self.0.unmatched.inc();
    }

    pub(super) fn intercepted(&self) {
        self.0.intercepted.inc();
    }

    pub(super) fn refused(&self, kind: Kind) {
        self.0.refused.get_or_create(&Reason { reason: kind.slug() }).inc();
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn opened(&self) -> Open {
        self.0.connections.inc();
        Open(self.0.connections.clone())
    }

    /// Counts an upgraded connection for as long as the guard lives.
    pub(super) fn tunnelled(&self) -> Open {
        self.0.tunnels.inc();
        Open(self.0.tunnels.clone())
    }

    /// A connection on which nothing came.
    pub(super) fn silent(&self) {
        self.0.connection_errors.get_or_create(&Reason { reason: "head-timeout" }).inc();
    }

    /// An answer that its client did not take in time.
    pub(super) fn unread(&self) {
        self.0.connection_errors.get_or_create(&Reason { reason: "answer-unread" }).inc();
    }

    /// hyper answers malformed heads with an empty 400 or 431 that no handler sees.
    pub(super) fn failed(&self, error: &hyper::Error) {
        let reason = if error.is_parse_too_large() {
            "head-too-large"
        } else if error.is_parse() {
            "malformed"
        } else if error.is_timeout() {
            "head-timeout"
        } else if error.is_user() {
            "answer-cut"
        } else if is_unread(error) {
            "answer-unread"
        } else {
            "client-cut"
        };
        self.0.connection_errors.get_or_create(&Reason { reason }).inc();
    }
}

/// Whether the kernel gave the connection up: see `unread::bound`.
fn is_unread(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}
