//! The proxy over real sockets: both ends are written byte by byte, so that what passes, and what
//! doesn't, can be seen as it is on the wire.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these in test functions; here the helpers are tests too"
)]

#[path = "proxy/cors.rs"]
mod cors;
#[path = "proxy/early.rs"]
mod early;
#[path = "proxy/expect.rs"]
mod expect;
#[path = "proxy/failures.rs"]
mod failures;
#[path = "proxy/hostile.rs"]
mod hostile;
#[path = "proxy/http2.rs"]
mod http2;
#[path = "support/http2.rs"]
mod http2_frames;
#[path = "proxy/http2_wire.rs"]
mod http2_wire;
#[path = "proxy/intercept.rs"]
mod intercept;
#[path = "proxy/limits.rs"]
mod limits;
#[path = "proxy/linger.rs"]
mod linger;
#[path = "proxy/support.rs"]
mod support;
#[path = "proxy/transparency.rs"]
mod transparency;
#[path = "proxy/unread.rs"]
mod unread;
#[path = "proxy/upgrade.rs"]
mod upgrade;
