//! Outages over real sockets: a neighbour is down, silent or slow. What needs it is refused before
//! anything is sent or carried on once it is back; what does not need it goes on unharmed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these in test functions; here the helpers are tests too"
)]

mod support;

#[path = "outage/authn.rs"]
mod authn;
#[path = "outage/back_end.rs"]
mod back_end;
#[allow(dead_code, reason = "shared with the tests of the sagas")]
#[path = "saga/client.rs"]
mod client;
#[path = "outage/long.rs"]
mod long;
#[path = "outage/service.rs"]
mod service;
#[path = "outage/thousand.rs"]
mod thousand;
#[path = "outage/trickle.rs"]
mod trickle;
#[allow(dead_code, reason = "shared with the tests of the sagas")]
#[path = "saga/world.rs"]
mod world;
