//! The ports for those who run the sidecar: health and metrics for the machine, operations for
//! people. Neither is for clients of the service. All that changes anything are people's orders,
//! which need a token.

mod health;
mod operations;
mod orders;
mod probes;
mod reply;
mod server;
mod token;

pub use self::health::Health;
pub use self::operations::{Operations, serve_operations};
pub use self::probes::serve_health;
pub use self::server::Limits;
pub use self::token::Token;
