//! Who is calling: principal resolution through authn, cached.

use http::HeaderMap;

use crate::model::Principal;

/// Resolves principals. Cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct Resolver {}

impl Resolver {
    /// The principal that `headers` (as they go to the service) speak for.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resolve(&self, _headers: &HeaderMap) -> Result<Resolved, Error> {
        todo!()
    }

    /// Whether the request carries a `principal.bypass` header.
    #[must_use]
    pub fn bypassed(&self, _headers: &HeaderMap) -> bool {
        todo!()
    }

    /// Forgets what is cached for `headers`: the service answered them 401 or 403.
    pub async fn forget(&self, _headers: &HeaderMap) {
        todo!()
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
    /// A credential header occurs twice (DESIGN §4): the client gets a 400.
    #[error("the header \"{0}\" occurs more than once")]
    Duplicate(String),
    /// authn is down, slow, or speaks another contract: the client gets a 503.
    #[error("the authentication service is unavailable: {0}")]
    Unavailable(String),
}
