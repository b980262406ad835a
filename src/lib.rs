//! A sidecar reverse proxy that keeps an HTTP service and an authorization back end in step.
//!
//! Clients talk to the sidecar as if it were the service. For every create that a rule matches
//! the sidecar *registers* the new resource, with its owner and its parent edge, in the
//! authorization back end, and fails closed; for every delete it *deregisters* the resource, at
//! least once. Everything else passes through untouched.
//!
//! # The house
//!
//! Imports only point down this list; `tests/tidy.rs` holds it. ARCHITECTURE.md walks through
//! the rooms and names the invariants.
//!
//! | room | what happens there |
//! |---|---|
//! | [`cli`] | the commands: `run`, `check`, `demo` |
//! | [`app`] | wiring: a [`config`] becomes a running application, and drains |
//! | [`config`] | the YAML file and its environment overrides |
//! | [`admin`], [`telemetry`] | health, metrics, operations |
//! | [`proxy`] | the stack a request walks through: listener, path, forward, intercept, respond |
//! | [`dualwrite`] | the saga: a pure state machine, what answers mean, whose a row is; the runner around them |
//! | [`principal`], [`upstream`] | who is calling (cached); the client of the service |
//! | [`authz`], [`journal`], [`rules`] | back ends, the durable record, the compiled rules |
//! | [`http`], [`error`] | the JSON client that back ends and authn share; problems |
//! | [`model`], [`failpoint`] | ids, records, plans; where tests may kill the process |

pub mod admin;
pub mod app;
pub mod authz;
pub mod cli;
pub mod config;
pub mod dualwrite;
pub mod error;
pub mod failpoint;
pub mod http;
pub mod journal;
pub mod model;
pub mod principal;
pub mod proxy;
pub mod rules;
pub mod telemetry;
pub mod upstream;
