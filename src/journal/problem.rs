//! Why a journal can't be used.

use std::fmt::Display;

use super::encoded::FORMAT;

/// Which journal can't be used, why, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("journal {place}: {problem}")]
pub struct OpenError {
    /// Its file or its URL, which holds no password.
    pub place: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a journal, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
    /// Whether it is only that another process has it open.
    pub is_locked: bool,
}

impl Problem {
    pub(super) fn new(what: impl Display, remedy: &'static str) -> Self {
        Self { what: what.to_string(), remedy, is_locked: false }
    }

    /// Refuses what another release wrote, in another form; `found` is 0 for releases that had no number.
    pub(super) fn check_format(found: u32, remedy: &'static str) -> Result<(), Self> {
        if found == FORMAT {
            return Ok(());
        }
        let what = format!(
            "another release wrote it (format {found}; this release has {FORMAT}); run that release until \
             `authz-sidecar operations list` shows nothing"
        );
        Err(Self::new(what, remedy))
    }
}
