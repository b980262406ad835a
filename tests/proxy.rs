//! The proxy over real sockets: both ends are written byte by byte, so that what passes, and what
//! doesn't, can be seen as it is on the wire.

#[path = "proxy/failures.rs"]
mod failures;
#[path = "proxy/hostile.rs"]
mod hostile;
#[path = "proxy/intercept.rs"]
mod intercept;
#[path = "proxy/limits.rs"]
mod limits;
#[path = "proxy/support.rs"]
mod support;
#[path = "proxy/transparency.rs"]
mod transparency;
