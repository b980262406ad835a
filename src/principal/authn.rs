//! The call of authn (contract auth-provider.md, `/v1/authn`).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::{AuthnConfig, Error, Metrics, Resolved};
use crate::http::{Answer, BuildError, Config as ClientConfig, JsonClient};
use crate::model::Principal;

/// Tells who is calling; what the resolver caches.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// Asks once. `credentials` are the `principal.headers` of the request, one value each.
    ///
    /// # Errors
    /// See [`Error`].
    async fn ask(&self, credentials: HeaderMap) -> Result<Resolved, Error>;
}

/// Asks authn over HTTP.
pub(super) struct Authn {
    client: JsonClient,
    timeout: Duration,
    creator: Vec<String>,
    metrics: Metrics,
}

impl Authn {
    pub(super) fn new(
        config: &AuthnConfig,
        creator: Vec<String>,
        metrics: Metrics,
    ) -> Result<Self, BuildError> {
        let bounds = ClientConfig {
            connect_timeout: config.connect_timeout.0,
            concurrency: config.max_concurrent,
            ..ClientConfig::default()
        };
        let client = JsonClient::new(config.url.clone(), bounds)?;
        Ok(Self { client, timeout: config.timeout.0, creator, metrics })
    }

    fn read(&self, answer: &Answer) -> Result<Resolved, Error> {
        let unavailable = |what| {
            let status = answer.status.as_u16();
            Error::Unavailable(format!("POST {}: status {status}{what}", self.client.url("")))
        };
        match answer.status {
            StatusCode::OK => std::str::from_utf8(&answer.body)
                .ok()
                .and_then(Principal::from_json)
                .map(|principal| self.resolved(principal))
                .ok_or_else(|| unavailable(", but the body is not a JSON object")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Unauthenticated),
            _ => Err(unavailable("")),
        }
    }

    fn resolved(&self, principal: Principal) -> Resolved {
        let fields = principal.fields();
        let is_set = |name| fields.get(name).is_some_and(|value| !value.is_null());
        Resolved { has_creator: self.creator.iter().any(is_set), principal }
    }
}

#[async_trait]
impl Ask for Authn {
    async fn ask(&self, credentials: HeaderMap) -> Result<Resolved, Error> {
        let start = Instant::now();
        let outcome = match self.client.post("", credentials, Bytes::new(), self.timeout).await {
            Ok(answer) => self.read(&answer),
            Err(error) => Err(Error::Unavailable(error.to_string())),
        };
        self.metrics.asked(start, &outcome);
        outcome
    }
}
