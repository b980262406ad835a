//! What other operations may matter to one, as the journal tells: one reading for all that ask at once, page
//! by page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::context::Halt;
use super::index::index;
use super::line::{Line, lock};
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
    lines: Mutex<HashMap<(ResourceType, Of), Arc<Readings>>>,
}

type Readings = Line<Question, Found>;

/// What a reading found.
type Found = Result<Arc<Vec<Neighbour>>, Halt>;

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
            let key = (window.resource_type.clone(), window.of);
            let mut lines = lock(&self.lines);
            Arc::clone(lines.entry(key).or_insert_with(|| Arc::new(Line::resting(0))))
        };
        let question = Arc::new(Question { own: own.clone(), window });
        let read = async |asked: Vec<Arc<Question>>| self.read(&asked).await.map(Arc::new);
        let found = line.ask(Arc::clone(&question), read).await?;
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
                after = Some(stored.id);
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
    windows.reduce(|one, other| Window { from: one.from.min(other.from), ..one })
}

#[cfg(test)]
mod tests;
