//! Bounds so short that a round takes some seconds.

use std::time::Duration;

use crate::support::sidecar::Config;

/// The bounds that a lane's sidecar has.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// L.
    pub late_effect: Duration,
    /// S.
    pub clock_skew: Duration,
    /// How long the service may take to answer.
    pub exchange: Duration,
    /// How far the service's reads may be behind where they are. No setting says so yet: what reads do
    /// not show in time is a part of L.
    pub read_lag: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            late_effect: Duration::from_secs(2),
            clock_skew: Duration::from_secs(2),
            exchange: Duration::from_millis(600),
            read_lag: Duration::from_millis(400),
        }
    }
}

impl Bounds {
    /// A configuration with these bounds, and others as short.
    pub fn configure(self, config: Config) -> Config {
        config
            .late_effect(self.late_effect)
            .clock_skew(self.clock_skew)
            .set("/bounds/exchange", format!("{}ms", self.exchange.as_millis()))
            .set("/bounds/call", "500ms")
            .set("/bounds/reply", "500ms")
            .set("/bounds/inline_deregister", "100ms")
            .set("/bounds/retry", "200ms")
            .set("/authz/deadline", "500ms")
            .set("/authz/agentex/timeout", "250ms")
            .set("/principal/authn/timeout", "500ms")
    }

    /// For how long the journal keeps what ended, at least.
    pub fn kept(self) -> Duration {
        2 * (self.late_effect + 2 * self.clock_skew)
    }
}
