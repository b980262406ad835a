//! What this process is trying right now for unfinished operations: attempts, the last failure,
//! the next try. Memory only; the journal holds what matters.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::model::{OperationId, Timestamp};

/// The notes on all unfinished operations that this process drives.
#[derive(Debug, Default)]
pub(super) struct Board {
    notes: Mutex<HashMap<OperationId, Note>>,
}

/// The note on one operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Note {
    /// Failed attempts since the last success.
    pub(super) attempts: u32,
    /// Why the last one failed.
    pub(super) failure: Option<String>,
    /// When the next is due.
    pub(super) next: Option<Timestamp>,
    /// What was tried last.
    pub(super) task: Option<&'static str>,
}

impl Board {
    /// Notes a failure and gives the number of failures since the last success.
    pub(super) fn failed(&self, id: OperationId, failure: String) -> u32 {
        self.with(id, |note| {
            note.attempts = note.attempts.saturating_add(1);
            note.failure = Some(failure);
            note.attempts
        })
    }

    /// Notes what is tried.
    pub(super) fn does(&self, id: OperationId, task: &'static str) {
        self.with(id, |note| note.task = Some(task));
    }

    /// Notes that something succeeded.
    pub(super) fn succeeded(&self, id: OperationId) {
        self.with(id, |note| *note = Note { task: note.task, ..Note::default() });
    }

    /// Notes when the next attempt is due.
    pub(super) fn sleeps_until(&self, id: OperationId, next: Timestamp) {
        self.with(id, |note| note.next = Some(next));
    }

    /// Forgets an operation that this process no longer drives.
    pub(super) fn remove(&self, id: OperationId) {
        self.lock().remove(&id);
    }

    /// The note on an operation, if there is one.
    pub(super) fn note(&self, id: OperationId) -> Option<Note> {
        self.lock().get(&id).cloned()
    }

    /// Failed attempts of an operation since its last success.
    pub(super) fn attempts(&self, id: OperationId) -> u32 {
        self.lock().get(&id).map_or(0, |note| note.attempts)
    }

    /// How many operations failed at least `attempts` times in a row.
    pub(super) fn stuck(&self, attempts: u32) -> usize {
        self.lock().values().filter(|note| note.attempts >= attempts).count()
    }

    fn with<R>(&self, id: OperationId, change: impl FnOnce(&mut Note) -> R) -> R {
        change(self.lock().entry(id).or_default())
    }

    // A panic of another holder leaves whole notes behind: each change is one assignment.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
