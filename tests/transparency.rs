//! Promise P6, as clients see it: what they get through the sidecar is what they get without it.
//!
//! Each test runs a client twice against one service, straight and through the sidecar's own
//! binary, and compares what that client saw. Clients and services are real ones: curl, Python's
//! httpx and websockets, Node's fetch; uvicorn with both of its parsers, and hypercorn for HTTP/2.
//! What no client shows is written and read byte by byte. No authorization back end listens: what
//! no rule matches needs none. What differs after all stands in docs/DEVIATIONS.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these in test functions; here the helpers are tests too"
)]

mod support;

#[path = "transparency/answers.rs"]
mod answers;
#[path = "transparency/bulk.rs"]
mod bulk;
#[path = "transparency/clients.rs"]
mod clients;
#[path = "transparency/connections.rs"]
mod connections;
#[path = "transparency/intercepted.rs"]
mod intercepted;
#[path = "transparency/ways.rs"]
mod ways;
#[path = "transparency/websockets.rs"]
mod websockets;
#[path = "transparency/wire.rs"]
mod wire;
