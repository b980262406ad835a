//! `demo`: the embedded default.

use std::io::Write;

use super::Failure;

/// Runs the demonstration, or one story of it.
pub(super) fn demo(_once: bool, _out: &mut dyn Write) -> Result<(), Failure> {
    Err(Failure::Other("demo is not wired".into()))
}
