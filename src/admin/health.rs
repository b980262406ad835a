//! The state of the process, as `/livez` and `/readyz` tell it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::Serialize;

use crate::journal::Journal;

/// What the process can do at the moment; the wiring sets it, the health port shows it.
#[derive(Default)]
pub struct Health {
    configured: AtomicBool,
    listening: AtomicBool,
    // Weak: a journal is closed when its last user drops it, and looking is no use of it.
    journal: OnceLock<Weak<dyn Journal>>,
    degraded: Mutex<BTreeMap<&'static str, String>>,
}

impl Health {
    /// The state at the start: alive, ready for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The configuration is loaded.
    pub fn configured(&self) {
        self.configured.store(true, Ordering::Release);
    }

    /// The journal is open and replayed; from now on its health counts. The first one stays.
    pub fn opened(&self, journal: &Arc<dyn Journal>) {
        // A second call has nothing to tell that the first did not.
        let _first = self.journal.set(Arc::downgrade(journal));
    }

    /// Whether clients are accepted. Set back to false at the beginning of the drain, so that
    /// no more are sent here.
    pub fn listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Release);
    }

    /// A component, such as `authz`, fails, without which unmatched traffic still flows: the
    /// process stays ready, and says what is missing. `reason` must hold no secret.
    pub fn degrade(&self, component: &'static str, reason: impl Into<String>) {
        self.degradations().insert(component, reason.into());
    }

    /// A component works again.
    pub fn restore(&self, component: &'static str) {
        self.degradations().remove(component);
    }

    /// Whether a restart would not help; else why it would. A journal not yet open is no
    /// reason: opening a long one takes its time, and a restart would start it over.
    pub(super) fn alive(&self) -> Result<(), String> {
        match self.journal.get().and_then(Weak::upgrade) {
            Some(journal) => journal.health().map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        let mut missing = Vec::new();
        if !self.configured.load(Ordering::Acquire) {
            missing.push("the configuration is not loaded".into());
        }
        match self.journal.get().map(Weak::upgrade) {
            None => missing.push("the journal is not open yet".into()),
            Some(None) => missing.push("the journal is closed".into()),
            Some(Some(journal)) => {
                missing.extend(journal.health().err().map(|error| error.to_string()));
            }
        }
        if !self.listening.load(Ordering::Acquire) {
            missing.push("not listening for clients".into());
        }
        let degraded = self.degradations().clone();
        let degraded = degraded
            .into_iter()
            .map(|(component, reason)| Degradation { component, reason })
            .collect();
        Readiness { ready: missing.is_empty(), missing, degraded }
    }

    fn degradations(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        // The map is whole between any two of its operations.
        self.degraded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    missing: Vec<String>,
    degraded: Vec<Degradation>,
}

#[derive(Debug, Serialize)]
struct Degradation {
    component: &'static str,
    reason: String,
}
