//! What the process tells about itself: logs, metrics, and whose request it is working on.
//!
//! Nothing here, and nothing that is handed to it, holds a header's value, a body or a
//! credential (promise P7). Trace ids are the one thing taken from a header: they are 32
//! hexadecimal digits and nothing else.

mod logs;
mod metrics;
mod trace;

pub use self::logs::{LogError, init_logs};
pub use self::metrics::{CONTENT_TYPE, encode, registry};
pub use self::trace::{TraceContext, TraceId};
