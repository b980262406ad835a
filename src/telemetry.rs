//! What the process tells about itself: logs and metrics.
//!
//! Nothing here, and nothing that is handed to it, holds a header's value, a body or a
//! credential (promise P7).

mod logs;
mod metrics;

pub use self::logs::{LogError, init_logs};
pub use self::metrics::registry;
