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
use super::index::{index, place};
use super::operation::Operation;
use super::overlap::matters;
use crate::journal::{Index, Journal, Of, Window};
use crate::model::ResourceType;

/// Operations read at once (promise P8).
const PAGE: usize = 256;

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
#[derive(Default)]
struct Reading {
    asked: Mutex<Vec<Arc<Question>>>,
    found: OnceCell<Result<Vec<Neighbour>, Halt>>,
}

/// What one wants.
struct Question {
    own: Operation,
    window: Window,
}

struct Neighbour {
    index: Index,
    operation: Arc<Operation>,
}

impl Question {
    fn wants(&self, other: &Neighbour) -> bool {
        let Neighbour { index, operation } = other;
        operation.id != self.own.id && index.meets(&self.window) && matters(&self.own, operation)
    }
}

impl Neighbours {
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal, lines: Mutex::default() }
    }

    /// The other operations that meet the window and matter to `own`, as of now or later.
    pub(super) async fn of(
        &self,
        own: &Operation,
        window: Window,
    ) -> Result<Vec<Arc<Operation>>, Halt> {
        let line = {
            let mut lines = lock(&self.lines);
            Arc::clone(lines.entry((window.resource_type.clone(), window.of)).or_default())
        };
        let question = Arc::new(Question { own: own.clone(), window });
        let reading = line.join(Arc::clone(&question));
        let read = reading.found.get_or_init(|| async {
            let _turn = line.turn.lock().await;
            self.read(&line.begin(&reading)).await
        });
        let found = read.await.as_ref().map_err(Clone::clone)?;
        let mine = found.iter().filter(|neighbour| question.wants(neighbour));
        Ok(mine.map(|neighbour| Arc::clone(&neighbour.operation)).collect())
    }

    /// What any of them wants. The rest of each page is dropped before the next is read.
    async fn read(&self, asked: &[Arc<Question>]) -> Result<Vec<Neighbour>, Halt> {
        let (mut found, mut after) = (Vec::new(), None);
        let Some(window) = union(asked) else { return Ok(found) };
        loop {
            let page = self.journal.overlapping(&window, after, PAGE).await?;
            for stored in &page {
                let operation = Operation::replay(stored)?;
                after = Some(place(&operation));
                let index = index(&operation);
                let neighbour = Neighbour { index, operation: Arc::new(operation) };
                if asked.iter().any(|question| question.wants(&neighbour)) {
                    found.push(neighbour);
                }
            }
            if page.len() < PAGE {
                return Ok(found);
            }
        }
    }
}

/// The window in which all are that any of them wants.
fn union(asked: &[Arc<Question>]) -> Option<Window> {
    let windows = asked.iter().map(|question| question.window.clone());
    windows.reduce(|one, other| Window {
        from: one.from.min(other.from),
        to: one.to.max(other.to),
        ..one
    })
}

impl Line {
    /// The reading that begins next, which answers this question too.
    fn join(&self, question: Arc<Question>) -> Arc<Reading> {
        let mut next = lock(&self.next);
        let reading = Arc::clone(next.get_or_insert_default());
        lock(&reading.asked).push(question);
        reading
    }

    /// `reading` begins: nobody joins it from here on. Gives what it has to answer. (It may begin
    /// again, if the task that read for all was dropped meanwhile.)
    fn begin(&self, reading: &Arc<Reading>) -> Vec<Arc<Question>> {
        let mut next = lock(&self.next);
        if next.as_ref().is_some_and(|next| Arc::ptr_eq(next, reading)) {
            *next = None;
        }
        lock(&reading.asked).clone()
    }
}

// A panic of another holder leaves a whole value behind: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
