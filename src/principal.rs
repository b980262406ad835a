//! Who is calling: principal resolution through authn, cached.
//!
//! What decides the answer is `Credentials`, a selection of the
//! request's headers: authn sees these (and the trace context) and the cache key is made of
//! these, so no cached answer depends on anything that is not in its key.

mod authn;
mod bypass;
mod cache;
mod config;
mod credentials;
mod flight;
mod metrics;

use std::sync::Arc;

use http::HeaderMap;

pub use self::authn::Ask;
use self::authn::Authn;
use self::bypass::Bypass;
use self::cache::Cache;
pub use self::config::{
    AuthnConfig, BuildError, CacheConfig, Config, HeaderPattern, Identity, Name,
};
use self::credentials::Selector;
use self::flight::Flights;
pub use self::metrics::Metrics;
use crate::http::TraceContext;
use crate::model::{Clock, Principal, StoredPrincipal};

/// Resolves principals. Cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    selector: Selector,
    cache: Cache,
    flights: Flights,
    authn: Arc<dyn Ask>,
    bypass: Bypass,
    store: Vec<String>,
    deregister_as: Principal,
    metrics: Metrics,
}

impl Resolver {
    /// A resolver with an empty cache. Nothing is sent yet.
    ///
    /// `clock` is only compared with the `exp` of bearer tokens.
    ///
    /// # Errors
    /// Where the configuration contradicts itself or TLS can't be set up.
    pub fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, BuildError> {
        let authn = Authn::new(&config.authn, config.creator.clone(), metrics.clone())?;
        Self::asking(Arc::new(authn), config, clock, metrics)
    }

    /// The same, with something else to ask than authn over HTTP.
    ///
    /// # Errors
    /// Where the configuration contradicts itself.
    pub fn asking(
        authn: Arc<dyn Ask>,
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, BuildError> {
        config.validate()?;
        let inner = Inner {
            selector: Selector::new(config.headers.clone())?,
            cache: Cache::new(&config.cache, config.secret_fields.clone(), clock),
            flights: Flights::default(),
            authn,
            bypass: Bypass::new(&config.bypass),
            store: config.store.clone(),
            deregister_as: config.deregister_as.0.clone(),
            metrics,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The principal that `headers` (as they go to the service) speak for.
    ///
    /// Concurrent calls for the same credentials share one call of authn, which goes on, and
    /// fills the cache, also when every one of them is dropped.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resolve(&self, headers: &HeaderMap) -> Result<Resolved, Error> {
        let inner = &self.inner;
        let credentials = inner.selector.select(headers)?;
        let key = inner.selector.key(&credentials);
        if let Some(outcome) = inner.cache.get(&key).await {
            inner.metrics.lookup(if outcome.is_ok() { "hit" } else { "hit_rejected" });
            return outcome;
        }
        let trace = TraceContext::of(headers);
        let shared = Arc::clone(inner);
        let mut lookup = "joined";
        let flight = inner.flights.join(key, |ticket| {
            lookup = "miss";
            trace.scope(async move {
                // An earlier flight may have landed since the look above.
                if let Some(outcome) = shared.cache.get(&key).await {
                    return outcome;
                }
                let outcome = shared.authn.ask(credentials.to_headers()).await;
                shared.cache.put(key, &credentials, &outcome).await;
                if shared.flights.is_forgotten(&key, ticket) {
                    shared.cache.remove(&key).await;
                }
                outcome
            })
        });
        inner.metrics.lookup(lookup);
        flight.await
    }

    /// Whether the request carries a `principal.bypass` header, and not with an empty value.
    ///
    /// # Errors
    /// Where a header is one of these to some services only.
    pub fn bypassed(&self, headers: &HeaderMap) -> Result<bool, Error> {
        self.inner.bypass.marks(headers)
    }

    /// Forgets what is cached for `headers`, and what a call under way would cache: the service
    /// answered them 401 or 403.
    pub async fn forget(&self, headers: &HeaderMap) {
        if let Ok(credentials) = self.inner.selector.select(headers) {
            let key = self.inner.selector.key(&credentials);
            // In this order: a flight that is still known puts before this removes.
            self.inner.flights.forget(&key);
            self.inner.cache.remove(&key).await;
        }
    }

    /// The fields of `principal` that the journal may keep (`principal.store`).
    #[must_use]
    pub fn stored(&self, principal: &Principal) -> StoredPrincipal {
        StoredPrincipal::keep(principal, &self.inner.store)
    }

    /// The principal that deregisters where the caller's is not known (any more).
    #[must_use]
    pub fn deregister_as(&self) -> &Principal {
        &self.inner.deregister_as
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// A principal and what the saga needs to know of it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The context as authn gave it.
    pub principal: Principal,
    /// Whether it has one of the `principal.creator` fields.
    pub has_creator: bool,
}

/// Why there is no principal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// authn answered 401 or 403: the client gets a 401.
    #[error("the authentication service does not accept the request's credentials")]
    Unauthenticated,
    /// A credential header occurs twice: the client gets a 400.
    #[error("the header \"{0}\" occurs more than once")]
    Duplicate(String),
    /// A header is a credential, or a bypass, to some services only: the client gets a 400.
    #[error(
        "the header \"{0}\" could be taken for a credential, whose name differs by \"-\" or \"_\" only"
    )]
    Lookalike(String),
    /// authn is down, slow, or speaks another contract: the client gets a 503.
    #[error("the authentication service is unavailable: {0}")]
    Unavailable(String),
}
