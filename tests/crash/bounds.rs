//! Bounds so short that a round takes some seconds.

use std::time::Duration;

use crate::support::sidecar::Config;

/// How long a call may take.
const CALL: Duration = Duration::from_millis(500);

/// The bounds that a lane's sidecar has.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// L.
    pub late_effect: Duration,
    /// How long the service may take to answer.
    pub exchange: Duration,
    /// How far the service's reads may be behind where they are.
    pub read_lag: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            late_effect: Duration::from_secs(2),
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
            .set("/bounds/read_lag", format!("{}ms", self.read_lag.as_millis()))
            .set("/bounds/exchange", format!("{}ms", self.exchange.as_millis()))
            .set("/bounds/call", format!("{}ms", CALL.as_millis()))
            .set("/bounds/reply", "2500ms")
            .set("/bounds/inline_deregister", "100ms")
            .set("/bounds/retry", "200ms")
            .set("/authz/deadline", "500ms")
            .set("/authz/agentex/timeout", "250ms")
            .set("/principal/authn/timeout", "500ms")
    }

    /// For how long the journal keeps what ended, at least.
    pub fn kept(self) -> Duration {
        2 * self.late_effect + self.read_lag + 6 * (CALL + self.read_lag)
    }
}
