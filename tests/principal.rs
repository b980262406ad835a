//! Principal resolution: what counts as credentials, and what is cached, over real sockets.
#![allow(missing_docs, reason = "tests are named by what they prove")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly; clippy.toml reaches no helper outside of a #[test]"
)]

#[path = "principal/cache.rs"]
mod cache;
#[path = "principal/credentials.rs"]
mod credentials;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use authz_sidecar::model::{Clock, Timestamp};
use authz_sidecar::principal::{Config, Metrics, Resolver};
use http::{HeaderMap, HeaderName, HeaderValue};
use support::provider::Provider;

/// A wall clock that stands where the test puts it.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicI64>);

impl TestClock {
    fn set(&self, seconds: i64) {
        self.0.store(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A provider and a resolver in front of it.
struct World {
    provider: Provider,
    resolver: Resolver,
    clock: TestClock,
}

impl World {
    fn new() -> Self {
        Self::with("", "")
    }

    /// With more settings of `principal.authn` and of `principal`.
    fn with(authn: &str, principal: &str) -> Self {
        let provider = Provider::start();
        let config = config(&provider, authn, principal);
        let clock = TestClock::default();
        let resolver = Resolver::new(&config, Arc::new(clock.clone()), Metrics::default()).unwrap();
        Self { provider, resolver, clock }
    }

    fn calls(&self) -> usize {
        self.provider.calls(support::provider::AUTHN).len()
    }

    /// The JSON of the principal of a request with these headers.
    async fn who(&self, pairs: &[(&str, &str)]) -> String {
        let resolved = self.resolver.resolve(&headers(pairs)).await.unwrap();
        resolved.principal.json().get().to_owned()
    }
}

fn config(provider: &Provider, authn: &str, principal: &str) -> Config {
    let yaml = format!(
        "{{ authn: {{ url: '{}', {authn} }}, deregister_as: {{ user_id: sidecar }}, {principal} }}",
        provider.authn_url()
    );
    serde_saphyr::from_str(&yaml).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}
