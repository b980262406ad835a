//! What end-to-end tests stand on: the keys service, the sidecar's own binary, and clients.
//!
//! Everything listens on port 0 of loopback, and ends with the value that stands for it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy excuses test functions, not what they share; a fixture fails loudly"
)]
#![allow(
    clippy::needless_pass_by_value,
    clippy::format_push_string,
    clippy::zombie_processes,
    reason = "fixtures read well before they run fast; PostgreSQL's keeper outlives its starter"
)]

pub mod client;
pub mod database;
pub mod http2;
pub mod keys;
pub mod memory;
pub mod postgres;
pub mod provider;
pub mod service;
pub mod sidecar;

use std::future::Future;
use std::time::Duration;

/// Nothing in a test takes longer, unless it is broken or waits for a bound of its own.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `probe` gives something; panics with `what` after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let polled = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, polled).await {
        Ok(found) => found,
        Err(elapsed) => panic!("{what}: not within {PATIENCE:?}: {elapsed}"),
    }
}

/// A path inside the repository.
pub fn repository(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
