//! `run`: the sidecar itself.

use super::Failure;
use crate::config::Config;

/// Runs until the process is told to stop.
pub(super) fn run(_config: Config) -> Result<(), Failure> {
    Err(Failure::Other("run is not wired".into()))
}
