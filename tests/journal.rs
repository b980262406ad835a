//! The journal's contract, run on every implementation, and what only a durable one promises.

#[path = "journal/conformance.rs"]
mod conformance;
#[path = "journal/crash.rs"]
mod crash;
#[path = "journal/fixture.rs"]
mod fixture;
#[path = "journal/memory.rs"]
mod memory;
#[path = "journal/sqlite.rs"]
mod sqlite;
