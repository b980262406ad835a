//! The bounds of the dual write (`bounds:` in the configuration).

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{Bounds, ByteSize, Span};

/// How often a list of several pages is read at most, until three readings in a row agree.
pub(super) const READINGS: u32 = 6;

/// Times and sizes that bound an intercepted request and what comes after it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// L: how late a request that was sent may still take effect. Default 120s.
    pub late_effect: Span,
    /// λ: how far a read of the service may lag behind its writes, as where GETs are answered by a
    /// replica of its database. Default 0s.
    pub read_lag: Span,
    /// How long the outcome of a create may stay unknown before a person is asked. Until then the
    /// journal keeps all creates of its type that were answered since. Default 30m.
    pub unresolved: Span,
    /// How long the service may take to answer an intercepted request. Default 30s.
    pub exchange: Span,
    /// How long one probe, look-up, confirm or undo may take. Default 5s.
    pub call: Span,
    /// How long the 503 of a failed create may wait for the undo. Default 5s.
    pub reply: Span,
    /// How long the answer of a delete may wait for its deregistration. Default 250ms.
    pub inline_deregister: Span,
    /// Largest answer of the service, in bytes, that is read for an id. Default 1MiB.
    pub answer: ByteSize,
    /// Most operations under way or unfinished; beyond it intercepted requests get 503.
    /// Default 10000.
    pub open_operations: usize,
    /// Most calls that unfinished operations make at once, of the service and of the back end each.
    /// Default 32.
    pub background_calls: usize,
    /// Most pages that a probe reads; a longer list fails the probe. Default 100.
    pub probe_pages: usize,
    /// Longest pause between two attempts of an unfinished operation. Default 10s.
    pub retry: Span,
}

impl Default for Config {
    fn default() -> Self {
        let span = |millis| Span(Duration::from_millis(millis));
        Self {
            late_effect: span(120_000),
            read_lag: span(0),
            unresolved: span(1_800_000),
            exchange: span(30_000),
            call: span(5_000),
            reply: span(5_000),
            inline_deregister: span(250),
            answer: ByteSize(1 << 20),
            open_operations: 10_000,
            background_calls: 32,
            probe_pages: 100,
            retry: span(10_000),
        }
    }
}

impl Config {
    /// M: how long reading a list may take, all of its pages and readings. In the time between the list
    /// and what is concluded from it nothing may be forgotten.
    #[must_use]
    pub fn list(&self) -> Duration {
        READINGS * (self.call.0 + self.read_lag.0)
    }

    /// The bounds that the pure core takes.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            late_effect: self.late_effect.0,
            read_lag: self.read_lag.0,
            unresolved: self.unresolved.0,
        }
    }
}
