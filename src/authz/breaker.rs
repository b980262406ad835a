//! The circuits to the back end: what its calls come to opens and closes them.
//!
//! There are two, because a back end may fail at one thing only. A resource that it can't
//! deregister must keep no create out; and one create that it can't register, no other's
//! deregistration.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Authorizer, Error};
use crate::http::breaker::{Breaker, Metrics, Settings};
use crate::model::{Principal, Resource, Span};

/// When creates are refused because the back end does not answer, and how often it is asked then.
///
/// No failure counts that comes from an answer below 500.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Failed calls in a row, none of any caller succeeding between them, after which the circuit opens.
    /// Default 5; 0 counts as 1.
    pub failures: u32,
    /// How long these must have lasted: what is shorter is left to the retries within
    /// `authz.deadline`. Default 1s.
    pub span: Span,
    /// The pause before the first probe of an open circuit, doubled with each that fails. Default 100ms.
    pub pause: Span,
    /// The longest such pause. Default 1s.
    pub max_pause: Span,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        let Settings { failures, span, pause, max_pause } = Settings::default();
        Self { failures, span: Span(span), pause: Span(pause), max_pause: Span(max_pause) }
    }
}

impl BreakerConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.pause.0.is_zero() {
            return Err("breaker.pause must be longer than 0s: it keeps a dead back end from \
                        being called all the time");
        }
        if self.max_pause.0 < self.pause.0 {
            return Err("breaker.max_pause must not be shorter than breaker.pause");
        }
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings {
            failures: self.failures,
            span: self.span.0,
            pause: self.pause.0,
            max_pause: self.max_pause.0,
        }
    }
}

/// The circuits to the back end. Clones share them.
#[derive(Clone, Debug)]
pub struct Circuits {
    /// For creates, which ask it before they are sent.
    pub register: Breaker,
    /// For the deregistrations of unfinished operations, which wait for it.
    pub deregister: Breaker,
}

impl Circuits {
    /// Closed ones.
    #[must_use]
    pub fn new(config: &BreakerConfig, metrics: &Metrics) -> Self {
        let breaker = |name| Breaker::new(name, config.settings(), metrics.clone());
        Self { register: breaker("register"), deregister: breaker("deregister") }
    }

    /// Whether one is open, and what follows.
    #[must_use]
    pub fn open(&self) -> Option<&'static str> {
        if self.register.is_open() {
            return Some("its circuit is open: creates are refused before they are sent");
        }
        let waits = "its circuit is open: deregistrations wait until it answers";
        self.deregister.is_open().then_some(waits)
    }
}

/// A back end whose answers open and close its circuits. It holds no call back: that is for
/// whoever could do without it.
pub struct Guarded {
    inner: Arc<dyn Authorizer>,
    circuits: Circuits,
}

impl Guarded {
    /// Tells `circuits` how the calls of `inner` end.
    #[must_use]
    pub fn new(inner: Arc<dyn Authorizer>, circuits: Circuits) -> Self {
        Self { inner, circuits }
    }
}

/// Tells `breaker` how a call ended. Where that closed it, the `other` need not wait longer.
fn tell(breaker: &Breaker, other: &Breaker, result: &Result<(), Error>) {
    match result {
        Err(error) if error.kind.retry() => breaker.failed(),
        // A refusal is an answer too.
        Ok(()) | Err(_) => {
            let was_open = breaker.is_open();
            breaker.succeeded();
            if was_open {
                other.expect_success();
            }
        }
    }
}

/// Tells that a call failed whose future was dropped before it ended: its caller's patience did.
struct Unanswered<'a>(Option<&'a Breaker>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0 {
            breaker.failed();
        }
    }
}

#[async_trait]
impl Authorizer for Guarded {
    async fn register(
        &self,
        principal: &Principal,
        resource: &Resource,
        parent: Option<&Resource>,
    ) -> Result<(), Error> {
        let Circuits { register, deregister } = &self.circuits;
        let mut unanswered = Unanswered(Some(register));
        let result = self.inner.register(principal, resource, parent).await;
        unanswered.0 = None;
        tell(register, deregister, &result);
        result
    }

    async fn deregister(&self, principal: &Principal, resource: &Resource) -> Result<(), Error> {
        let Circuits { register, deregister } = &self.circuits;
        let result = self.inner.deregister(principal, resource).await;
        tell(deregister, register, &result);
        result
    }
}
