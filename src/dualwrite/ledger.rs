//! Operations as people see them, and what they may order (promise P9): over the journal, with or
//! without a process that carries them on.

use std::sync::Arc;

use serde::Serialize;

use super::context::{Halt, policy};
use super::explain::{Explanation, Happening, Teller, explain, history};
use super::index::index;
use super::operation::Operation;
use super::state::{Event, Policy, on};
use crate::journal::{Append, Journal, Owner};
use crate::model::{Bounds, Entry, OperationId, Order, Stored};

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

/// Why an order was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such operation.
    #[error("no such operation: it never was, or it ended and was forgotten")]
    NoSuch,
    /// It ended.
    #[error("the operation has ended; there is nothing more to order")]
    Ended,
    /// Its request is under way, and a client waits for the answer.
    #[error(
        "the operation's request is under way and a client waits for its answer; orders are taken \
         once that is decided, within bounds.exchange and authz.deadline"
    )]
    UnderWay,
    /// Nothing can be attempted.
    #[error(
        "there is nothing to attempt: the sidecar can't look for the row; find it by hand, then \
         discard the operation"
    )]
    NothingToAttempt,
    /// It was ordered too often.
    #[error("the operation was retried too often; attempts go on by themselves")]
    TooOften,
    /// This process doesn't carry it on.
    #[error(
        "this process does not carry the operation on: on a shared journal ask the replica that \
         owns it; else look into the log, and restart the sidecar to recover it"
    )]
    Elsewhere,
    /// A replica that lives carries it on.
    #[error(
        "replica {0} carries the operation on: order it at that sidecar's admin port, or, if it \
         died, once its lease has run out (journal.postgres.lease)"
    )]
    Of(String),
    /// Nobody attempts anything but a sidecar.
    #[error(
        "a journal alone attempts nothing: order it at the admin port of the sidecar that runs, or \
         start it: it carries on every unfinished operation at once"
    )]
    NobodyRuns,
    /// The journal didn't take it.
    #[error(transparent)]
    Halt(#[from] Halt),
}

/// A journal that no sidecar has open, for people.
pub struct Ledger {
    journal: Arc<dyn Journal>,
    policy: Policy,
}

impl Ledger {
    /// Over `journal`, with the bounds that the sidecar is configured with.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, bounds: Bounds) -> Self {
        let policy = policy(bounds, &*journal);
        Self { journal, policy }
    }

    /// Unfinished operations.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn list(&self, page: &Page) -> Result<Listing, Halt> {
        list(&*self.journal, page, |operation| self.explained(operation)).await
    }

    /// One operation, finished or not, as long as it is kept.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn show(&self, id: OperationId) -> Result<Option<Account>, Halt> {
        show(&*self.journal, id, |operation| self.explained(operation)).await
    }

    /// Follows an order, as far as that is possible without a sidecar.
    ///
    /// # Errors
    /// Where it can't be followed, and where the journal can't be read or written.
    pub async fn order(&self, id: OperationId, order: Order) -> Result<Account, Refused> {
        if matches!(order, Order::Retry { .. }) {
            return Err(Refused::NobodyRuns);
        }
        self.claim(id).await?;
        let stored = self.journal.operation(id).await.map_err(Halt::from)?;
        let mut operation =
            Operation::replay(&stored.ok_or(Refused::NoSuch)?).map_err(Halt::from)?;
        if operation.is_finished() {
            return Err(Refused::Ended);
        }
        let mut entries = Vec::new();
        // What the process left under way is over: it is first brought where a recovery would.
        for event in [Event::Restarted, Event::Ordered(order)] {
            let at = self.journal.clock().now();
            let made = on(&mut operation, event, &self.policy).map_err(Halt::from)?;
            if let Some(record) = made {
                let entry = Entry { at, record };
                operation.apply(&entry).map_err(Halt::from)?;
                entries.push(entry);
            }
        }
        let index = index(&operation);
        let append = Append { operation: id, begins: false, index, entries };
        self.journal.append(append).await.map_err(Halt::from)?;
        self.show(id).await?.ok_or(Refused::NoSuch)
    }

    /// On a journal that replicas share, nothing is decided on what one of them carries on.
    async fn claim(&self, id: OperationId) -> Result<(), Refused> {
        let Some(shared) = self.journal.shared() else { return Ok(()) };
        match shared.claim(id).await.map_err(Halt::from)? {
            Some(Owner::Other(replica)) => Err(Refused::Of(replica)),
            Some(Owner::This) => Ok(()),
            None => Err(Refused::NoSuch),
        }
    }

    fn explained(&self, operation: &Operation) -> Explanation {
        explain(operation, None, &self.policy, Teller::Journal)
    }
}

/// Operations read at once (promise P8).
const STEP: usize = 256;

/// The page of `journal`'s unfinished operations.
pub(super) async fn list(
    journal: &dyn Journal,
    page: &Page,
    explained: impl Fn(&Operation) -> Explanation,
) -> Result<Listing, Halt> {
    let mut listing = Listing { operations: Vec::new(), after: None };
    let (mut last, mut read) = (page.after, page.after);
    loop {
        // One more than the page holds tells whether there is more. How many of them are stuck only
        // a look at each tells.
        let left = page.limit.saturating_sub(listing.operations.len()).saturating_add(1);
        let step = if page.stuck { STEP } else { left.min(STEP) };
        let found = journal.unfinished_page(read, step).await?;
        let more = found.len() >= step;
        for stored in found {
            let operation = Operation::replay(&stored)?;
            read = Some(operation.id);
            let explanation = explained(&operation);
            if page.stuck && !(explanation.stuck || explanation.needs_a_person) {
                continue;
            }
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

/// One operation and its history.
pub(super) async fn show(
    journal: &dyn Journal,
    id: OperationId,
    explained: impl Fn(&Operation) -> Explanation,
) -> Result<Option<Account>, Halt> {
    let account = |stored: &Stored| -> Result<Account, Halt> {
        let explanation = explained(&Operation::replay(stored)?);
        Ok(Account { explanation, history: history(stored) })
    };
    journal.operation(id).await?.as_ref().map(account).transpose()
}
