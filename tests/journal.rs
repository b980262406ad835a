//! The journal's contract, run on every implementation, and what only a durable one promises.

// clippy.toml's exception for tests ends at their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail loudly")]
#![allow(clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "journal/conformance.rs"]
mod conformance;
#[path = "journal/crash.rs"]
mod crash;
#[path = "journal/fixture.rs"]
mod fixture;
#[path = "journal/forgetting.rs"]
mod forgetting;
#[path = "journal/loss.rs"]
mod loss;
#[path = "journal/memory.rs"]
mod memory;
#[path = "journal/postgres.rs"]
mod postgres;
#[path = "journal/postgres_leases.rs"]
mod postgres_leases;
#[path = "journal/replicas.rs"]
mod replicas;
#[path = "journal/retention.rs"]
mod retention;
#[path = "journal/sqlite.rs"]
mod sqlite;
mod support;
#[path = "journal/tls.rs"]
mod tls;
#[path = "journal/versions.rs"]
mod versions;
