//! Authorization back ends: where resources are registered.

mod agentex;
mod breaker;
mod config;
mod memory;
mod metrics;

use async_trait::async_trait;

pub use self::agentex::{Agentex, AgentexConfig};
pub use self::breaker::{BreakerConfig, Circuits, Guarded};
pub use self::config::{BackEnd, Config, Register};
pub use self::memory::{MemoryAuthorizer, MemoryConfig, Registration};
pub use self::metrics::{Metered, Metrics};
use crate::model::{Principal, Resource};

/// The back end's contract; every implementation passes `tests/authz.rs`.
///
/// Both calls are idempotent: repeating one, or one that was ambiguous, leaves what doing it once
/// leaves. A call makes one attempt; retries and deadlines are the caller's.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Makes `principal` the owner of `resource` and writes its parent edge, in one step.
    ///
    /// # Errors
    /// Where the back end did not acknowledge.
    async fn register(
        &self,
        principal: &Principal,
        resource: &Resource,
        parent: Option<&Resource>,
    ) -> Result<(), Error>;

    /// Removes `resource` and all its relationships. Of one that is not there: success.
    ///
    /// # Errors
    /// Where the back end did not acknowledge.
    async fn deregister(&self, principal: &Principal, resource: &Resource) -> Result<(), Error>;
}

/// Why a call was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// The class of failure.
    pub kind: ErrorKind,
    /// For the operator: endpoint, status, transport error. Never a credential or a body.
    pub detail: String,
    /// Whether the call may have taken effect, or may still do so.
    pub ambiguous: bool,
}

/// Classes of failure (contract auth-provider.md: only 200 is success).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ErrorKind {
    /// 401: the back end does not accept the principal.
    Unauthenticated,
    /// 403: it refuses the principal.
    Refused,
    /// 5xx, network, time-out: it may work later.
    Unavailable,
    /// Any other answer: it speaks another contract.
    Unexpected,
}

impl ErrorKind {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retry(self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// The kind as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
        }
    }
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unauthenticated => "the authorization back end does not accept the principal",
            Self::Refused => "the authorization back end refused",
            Self::Unavailable => "the authorization back end is unavailable",
            Self::Unexpected => "the authorization back end gave an unexpected answer",
        })
    }
}
