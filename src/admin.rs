//! The ports for those who run the sidecar: health and metrics for the machine, operations for
//! people. Neither is for clients of the service, and neither changes anything.

mod health;
mod operations;
mod probes;
mod reply;
mod server;

pub use self::health::Health;
pub use self::operations::{Operations, serve_operations};
pub use self::probes::serve_health;
pub use self::server::Limits;
