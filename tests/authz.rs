//! The conformance suite of the authorization back ends, and what is `agentex`'s own.
#![allow(missing_docs, reason = "tests are named by what they prove")]

#[path = "authz/agentex.rs"]
mod agentex;
#[path = "authz/conformance.rs"]
mod conformance;
#[path = "authz/http.rs"]
mod http_client;
mod support;
