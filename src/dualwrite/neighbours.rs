//! What other operations may matter to one, as the journal tells.
//!
//! Many ask at once: after an outage every unfinished operation looks at all others, and each
//! reading replays them all. So whoever asks while a reading is under way waits for the next, which
//! then serves all that wait. It begins after each of them asked, and therefore shows everything
//! that was durable when they did.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::context::Halt;
use super::operation::Operation;
use crate::journal::{Journal, Life, Of};
use crate::model::{ResourceType, Timestamp};

/// Reads for many at once.
pub(super) struct Neighbours {
    journal: Arc<dyn Journal>,
    /// As many as there are types in the configuration, twice.
    lines: Mutex<HashMap<(ResourceType, Of), Arc<Line>>>,
}

/// Those who want the same.
#[derive(Default)]
struct Line {
    /// The reading that has not begun.
    next: Mutex<Option<Arc<Reading>>>,
    /// Held by the reading that is under way.
    turn: tokio::sync::Mutex<()>,
}

/// One reading, for all who joined it.
struct Reading {
    /// From the earliest to the latest that anybody wants.
    window: Mutex<(Timestamp, Timestamp)>,
    found: OnceCell<Result<Vec<Neighbour>, Halt>>,
}

struct Neighbour {
    life: Life,
    operation: Arc<Operation>,
}

impl Neighbours {
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal, lines: Mutex::default() }
    }

    /// The creates, or deletes, on `resource_type` whose life meets the window
    /// ([`Journal::overlapping`]), as of now or later.
    pub(super) async fn of(
        &self,
        resource_type: &ResourceType,
        of: Of,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Arc<Operation>>, Halt> {
        let line = {
            let mut lines = lock(&self.lines);
            Arc::clone(lines.entry((resource_type.clone(), of)).or_default())
        };
        let reading = line.join(from, to);
        let read = reading.found.get_or_init(|| async {
            let _turn = line.turn.lock().await;
            let (from, to) = line.begin(&reading);
            self.read(resource_type, of, from, to).await
        });
        let found = read.await.as_ref().map_err(Clone::clone)?;
        let mine = found.iter().filter(|neighbour| neighbour.life.meets(from, to));
        Ok(mine.map(|neighbour| Arc::clone(&neighbour.operation)).collect())
    }

    async fn read(
        &self,
        resource_type: &ResourceType,
        of: Of,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Neighbour>, Halt> {
        let found = self.journal.overlapping(resource_type, of, from, to).await?;
        let replay = |stored| {
            let (life, operation) = (Life::of(stored)?, Operation::replay(stored)?);
            Ok(Neighbour { life, operation: Arc::new(operation) })
        };
        found.iter().map(replay).collect()
    }
}

impl Line {
    /// The reading that begins next, which shows this window too.
    fn join(&self, from: Timestamp, to: Timestamp) -> Arc<Reading> {
        let mut next = lock(&self.next);
        let reading = next.get_or_insert_with(|| {
            let window = Mutex::new((from, to));
            Arc::new(Reading { window, found: OnceCell::new() })
        });
        let mut window = lock(&reading.window);
        *window = (window.0.min(from), window.1.max(to));
        drop(window);
        Arc::clone(reading)
    }

    /// `reading` begins: nobody joins it from here on. Gives its window. (It may begin again, where
    /// whoever read for all was dropped meanwhile.)
    fn begin(&self, reading: &Arc<Reading>) -> (Timestamp, Timestamp) {
        let mut next = lock(&self.next);
        if next.as_ref().is_some_and(|next| Arc::ptr_eq(next, reading)) {
            *next = None;
        }
        *lock(&reading.window)
    }
}

// A panic of another holder leaves a whole value behind: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
