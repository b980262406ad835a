//! The conformance suite of the authorization back ends, and what is `agentex`'s own.
#![allow(missing_docs, reason = "tests are named by what they prove")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly; clippy.toml reaches no helper outside of a #[test]"
)]

#[path = "authz/agentex.rs"]
mod agentex;
#[path = "authz/conformance.rs"]
mod conformance;
#[path = "authz/http.rs"]
mod http_client;
mod support;
