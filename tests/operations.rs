//! People and operations (promise P9): the sidecar's own process, real neighbours, and the command
//! line as an operator types it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these in test functions; here the helpers are tests too"
)]

mod support;

#[path = "operations/alerts.rs"]
mod alerts;
#[path = "operations/offline.rs"]
mod offline;
#[path = "operations/orders.rs"]
mod orders;
#[path = "operations/shared.rs"]
mod shared;
#[path = "operations/token.rs"]
mod token;
#[path = "operations/world.rs"]
mod world;
