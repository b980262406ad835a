//! What people may order (promise P9).

use tokio::sync::oneshot;

use super::board::Letter;
use super::context::{Context, Halt};
use super::explain::{ELSEWHERE, is_under_way};
use super::index::index;
use super::ledger::{Account, Ledger};
use super::operation::Operation;
use super::state::{Event, Task, next, on};
use crate::journal::{Append, Owner};
use crate::model::{Entry, OperationId, Order};

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
    #[error("the operation's request is under way; orders are taken once its client has an answer")]
    UnderWay,
    /// Nothing can be attempted.
    #[error("there is nothing to attempt: find the row by hand, then discard the operation")]
    NothingToAttempt,
    /// It was ordered too often.
    #[error("the operation was retried too often; attempts go on by themselves")]
    TooOften,
    /// This process doesn't carry it on.
    #[error("this process does not carry the operation on: {}", ELSEWHERE)]
    Elsewhere,
    /// A replica that lives carries it on.
    #[error(
        "replica {0} carries the operation on: order it at that sidecar's admin port, or, if it died, once its lease has run out"
    )]
    Of(String),
    /// Nobody attempts anything but a sidecar.
    #[error(
        "a journal alone attempts nothing: order it at the admin port of the sidecar that runs, or start it"
    )]
    NobodyRuns,
    /// The journal didn't take it.
    #[error(transparent)]
    Halt(#[from] Halt),
}

impl Ledger {
    /// Follows an order, and gives the operation as it stands then. The order is durable by then, with the name of
    /// who gave it.
    ///
    /// # Errors
    /// Where it can't be followed; nothing was changed then.
    pub async fn order(&self, id: OperationId, order: Order) -> Result<Account, Refused> {
        match &self.running {
            Some(context) => self.tell(context, id, order).await?,
            None if matches!(order, Order::Retry { .. }) => return Err(Refused::NobodyRuns),
            None => {
                self.claim(id).await?;
                self.write(self.unfinished(id).await?, order).await?;
            }
        }
        self.show(id).await?.ok_or(Refused::NoSuch)
    }

    async fn unfinished(&self, id: OperationId) -> Result<Operation, Refused> {
        let stored = self.journal.operation(id).await.map_err(Halt::from)?;
        let operation = Operation::replay(&stored.ok_or(Refused::NoSuch)?).map_err(Halt::from)?;
        if operation.is_finished() { Err(Refused::Ended) } else { Ok(operation) }
    }

    /// Hands an order to whatever carries the operation on, and waits until it is durable.
    async fn tell(&self, context: &Context, id: OperationId, order: Order) -> Result<(), Refused> {
        let operation = self.unfinished(id).await?;
        if is_under_way(&operation) {
            return Err(Refused::UnderWay);
        }
        let retries = matches!(order, Order::Retry { .. });
        let task = next(&operation, context.now(), &self.policy);
        if retries && task == Task::Nothing {
            return Err(Refused::NothingToAttempt);
        }
        let (tell, taken) = oneshot::channel();
        context.board.post(id, Letter::Order(order.clone(), tell)).await;
        match taken.await {
            Ok(Ok(())) => {}
            Ok(Err(Halt::Illegal(_))) if retries => return Err(Refused::TooOften),
            Ok(Err(halt)) => return Err(Refused::Halt(halt)),
            // Nobody reads the letter: either it has ended by now, or nobody here carries it on.
            Err(_) => return Err(self.unfinished(id).await.err().unwrap_or(Refused::Elsewhere)),
        }
        context.metrics.ordered(&order);
        tracing::warn!(operation = %id, ?order, "a person's order was followed");
        Ok(())
    }

    /// Writes an order into a journal that no sidecar has open.
    async fn write(&self, mut operation: Operation, order: Order) -> Result<(), Halt> {
        let mut entries = Vec::new();
        // What the process left under way is over: it is first brought where a recovery would.
        for event in [Event::Restarted, Event::Ordered(order)] {
            let at = self.journal.clock().now();
            if let Some(record) = on(&mut operation, event, &self.policy)? {
                let entry = Entry { at, record };
                operation.apply(&entry)?;
                entries.push(entry);
            }
        }
        let index = index(&operation);
        let append = Append { operation: operation.id, begins: false, index, entries };
        Ok(self.journal.append(append).await?)
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
}
