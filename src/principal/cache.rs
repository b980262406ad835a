//! What authn said, for a while: principals, and apart from them refusals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache as Moka;

use super::credentials::{Credentials, Key};
use super::{CacheConfig, Error, Resolved};
use crate::model::{Clock, Timestamp};

/// A flood of refused credentials can't push out principals: they are kept apart.
pub(super) struct Cache {
    principals: Moka<Key, Entry>,
    rejected: Moka<Key, ()>,
    ttl: Duration,
    secret_fields: Vec<String>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry {
    resolved: Resolved,
    ttl: Duration,
    /// The bearer token's `exp`. Compared with the wall clock at each use, because the cache's
    /// own clock stands still while the machine is suspended.
    expires: Option<Timestamp>,
}

struct OwnTtl;

impl Expiry<Key, Entry> for OwnTtl {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

impl Cache {
    pub(super) fn new(
        config: &CacheConfig,
        secret_fields: Vec<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            principals: Moka::builder().max_capacity(config.capacity).expire_after(OwnTtl).build(),
            rejected: Moka::builder()
                .max_capacity(config.rejected_capacity)
                .time_to_live(config.rejected_ttl.0)
                .build(),
            ttl: config.ttl.0,
            secret_fields,
            clock,
        }
    }

    pub(super) async fn get(&self, key: &Key) -> Option<Result<Resolved, Error>> {
        if let Some(entry) = self.principals.get(key).await
            && entry.expires.is_none_or(|expires| self.clock.now() < expires)
        {
            return Some(Ok(entry.resolved));
        }
        self.rejected.get(key).await.map(|()| Err(Error::Unauthenticated))
    }

    /// Keeps what may be kept: a principal without a secret, or a refusal. Anything else says
    /// nothing about the credentials.
    pub(super) async fn put(
        &self,
        key: Key,
        credentials: &Credentials,
        outcome: &Result<Resolved, Error>,
    ) {
        match outcome {
            Ok(resolved) if !self.is_secret(resolved) => {
                let expires = credentials.bearer_expiry();
                let ttl = self.ttl.mul_f64(1.0 - JITTER * fastrand::f64());
                let entry = Entry { resolved: resolved.clone(), ttl, expires };
                self.principals.insert(key, entry).await;
            }
            Err(Error::Unauthenticated) => self.rejected.insert(key, ()).await,
            Ok(_) | Err(Error::Duplicate(_) | Error::Lookalike(_) | Error::Unavailable(_)) => {}
        }
    }

    pub(super) async fn remove(&self, key: &Key) {
        self.principals.invalidate(key).await;
        self.rejected.invalidate(key).await;
    }

    fn is_secret(&self, resolved: &Resolved) -> bool {
        let fields = resolved.principal.fields();
        let is_set = |name: &String| fields.get(name).is_some_and(|value| !value.is_null());
        self.secret_fields.iter().any(is_set)
    }
}

/// The share of the time to live that chance may take off, so that principals cached at one
/// time do not all expire at one time.
const JITTER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Principal, SystemClock};
    use crate::principal::credentials::Selector;

    #[tokio::test]
    async fn successes_are_cached_with_a_jittered_ttl_of_80_to_100_percent() {
        let config = CacheConfig {
            ttl: crate::model::Span(Duration::from_mins(1)),
            ..CacheConfig::default()
        };
        let cache = Cache::new(&config, Vec::new(), Arc::new(SystemClock));
        let selector = Selector::new(Vec::new()).unwrap();
        let credentials = selector.select(&http::HeaderMap::new()).unwrap();
        let principal = Principal::from_json("{}").unwrap();
        let resolved = Resolved { principal, has_creator: false };
        let mut seen = Vec::new();
        for n in 0..100 {
            let key = [n; 32];
            cache.put(key, &credentials, &Ok(resolved.clone())).await;
            seen.push(cache.principals.get(&key).await.unwrap().ttl);
        }
        assert!(seen.iter().all(|ttl| (48..=60).contains(&ttl.as_secs())));
        assert!(seen.iter().max() > seen.iter().min(), "no jitter");
    }
}
