//! A back end whose failures show in `/readyz` as degradation.

use std::sync::Arc;

use async_trait::async_trait;

use crate::admin::Health;
use crate::authz::{Authorizer, Circuits, Error};
use crate::model::{Principal, Resource};

/// What `/readyz` calls the back end.
const COMPONENT: &str = "authz";

/// Tells [`Health`] whether the back end within works. It degrades, it does not unready: to
/// send clients elsewhere would not help them.
pub(super) struct Watched {
    inner: Arc<dyn Authorizer>,
    circuits: Circuits,
    health: Arc<Health>,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Authorizer>, circuits: Circuits, health: Arc<Health>) -> Self {
        Self { inner, circuits, health }
    }

    fn saw(&self, result: &Result<(), Error>) {
        match (result, self.circuits.open()) {
            (Err(error), Some(open)) if error.kind.retry() => {
                self.health.degrade(COMPONENT, format!("{open} ({error})"));
            }
            (Err(error), None) if error.kind.retry() => {
                self.health.degrade(COMPONENT, error.to_string());
            }
            // The other kind of call still fails.
            (_, Some(open)) => self.health.degrade(COMPONENT, open),
            (_, None) => self.health.restore(COMPONENT),
        }
    }
}

#[async_trait]
impl Authorizer for Watched {
    async fn register(
        &self,
        principal: &Principal,
        resource: &Resource,
        parent: Option<&Resource>,
    ) -> Result<(), Error> {
        let result = self.inner.register(principal, resource, parent).await;
        self.saw(&result);
        result
    }

    async fn deregister(&self, principal: &Principal, resource: &Resource) -> Result<(), Error> {
        let result = self.inner.deregister(principal, resource).await;
        self.saw(&result);
        result
    }
}
