//! Operations as people see them (promise P9): over the journal, with or without a process that carries
//! them on.

use std::sync::Arc;

use serde::Serialize;

use super::context::{Context, Halt, policy};
use super::explain::{Explanation, Happening, Teller, explain, history};
use super::operation::Operation;
use super::state::Policy;
use crate::journal::Journal;
use crate::model::{Bounds, OperationId};

/// Which unfinished operations are to be told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Those behind this one.
    pub after: Option<OperationId>,
    /// At most so many.
    pub limit: usize,
    /// Only those that don't get on by themselves: their attempts all fail, or only a person can
    /// decide.
    pub stuck: bool,
}

/// Unfinished operations, oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Listing {
    /// At most as many as were wanted.
    pub operations: Vec<Explanation>,
    /// Where to go on, if there are more.
    pub after: Option<OperationId>,
}

/// One operation with its history.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Account {
    /// What it comes to.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Its records, oldest first.
    pub history: Vec<Happening>,
}

/// The operations in a journal, for people.
pub struct Ledger {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) policy: Policy,
    /// What carries them on in this process; `None` where no sidecar has the journal open.
    pub(super) running: Option<Arc<Context>>,
}

/// Operations read at once (promise P8).
const STEP: usize = 256;

impl Ledger {
    /// Over `journal`, which no sidecar has open, with the bounds that the sidecar is configured with.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, bounds: Bounds) -> Self {
        let policy = policy(bounds, &*journal);
        Self { journal, policy, running: None }
    }

    /// Of the process that carries operations on.
    pub(super) fn of(context: &Arc<Context>) -> Self {
        let journal = Arc::clone(&context.journal);
        Self { journal, policy: context.policy, running: Some(Arc::clone(context)) }
    }

    /// Unfinished operations, oldest first.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn list(&self, page: &Page) -> Result<Listing, Halt> {
        let mut listing = Listing { operations: Vec::new(), after: None };
        let (mut last, mut read) = (page.after, page.after);
        loop {
            let found = self.journal.unfinished_page(read, STEP).await?;
            let more = found.len() == STEP;
            for stored in found {
                let operation = Operation::replay(&stored)?;
                read = Some(operation.id);
                let explanation = self.explained(&operation);
                if page.stuck && !(explanation.stuck || explanation.needs_a_person) {
                    continue;
                }
                // One more than the page holds tells that there is more.
                if listing.operations.len() >= page.limit {
                    listing.after = last;
                    return Ok(listing);
                }
                last = read;
                listing.operations.push(explanation);
            }
            if !more {
                return Ok(listing);
            }
        }
    }

    /// One operation, finished or not, as long as it is kept.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn show(&self, id: OperationId) -> Result<Option<Account>, Halt> {
        let Some(stored) = self.journal.operation(id).await? else { return Ok(None) };
        let explanation = self.explained(&Operation::replay(&stored)?);
        Ok(Some(Account { explanation, history: history(&stored) }))
    }

    fn explained(&self, operation: &Operation) -> Explanation {
        let Some(context) = &self.running else {
            return explain(operation, None, &self.policy, Teller::Journal);
        };
        let note = context.board.note(operation.id);
        explain(operation, note.as_ref(), &self.policy, Teller::Sidecar)
    }
}
