//! Whether a journal still takes anything from this process; once it does not, it never does again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Error;

/// The standing of an open journal.
#[derive(Debug, Default)]
pub(super) struct Standing {
    broken: OnceLock<String>,
    fenced: AtomicBool,
    unreachable: AtomicBool,
}

impl Standing {
    /// Whether entries are accepted.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(why) = self.broken.get() {
            return Err(Error::Broken(why.clone()));
        }
        if self.fenced.load(Ordering::Acquire) { Err(Error::Fenced) } else { Ok(()) }
    }

    /// Whether somebody who waits for an answer may queue. Others wait until the journal can be reached.
    pub(super) fn check_reachable(&self) -> Result<(), Error> {
        if self.unreachable.load(Ordering::Acquire) {
            return Err(Error::Unavailable("there is no connection".into()));
        }
        Ok(())
    }

    /// Notes whether the journal can be reached. Gives whether that was known.
    pub(super) fn set_unreachable(&self, unreachable: bool) -> bool {
        self.unreachable.swap(unreachable, Ordering::AcqRel) == unreachable
    }

    /// Whether what is read means anything. A process that was taken over may still read.
    pub(super) fn check_read(&self) -> Result<(), Error> {
        match self.check() {
            Err(Error::Fenced) => Ok(()),
            checked => checked,
        }
    }

    /// Breaks the journal. The first reason stands: later ones follow from it.
    pub(super) fn broken(&self, why: String) -> Error {
        if self.broken.set(why.clone()).is_ok() {
            tracing::error!(reason = %why, "the journal is broken until a restart");
        }
        Error::Broken(why)
    }

    /// Breaks the journal by a write of which nobody knows whether it is durable.
    pub(super) fn unknown(&self, why: String) -> Error {
        self.broken(why.clone());
        Error::Unknown(why)
    }

    /// Another process has taken over. Gives whether that is news.
    pub(super) fn fence(&self) -> bool {
        !self.fenced.swap(true, Ordering::AcqRel)
    }
}
