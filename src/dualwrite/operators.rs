//! What the running process tells of operations, and the orders it takes (promise P9).

use tokio::sync::oneshot;

use super::DualWrite;
use super::board::Letter;
use super::context::Halt;
use super::explain::{Explanation, Teller, explain};
use super::ledger::{self, Account, Listing, Page, Refused};
use super::operation::{Operation, Phase};
use super::state::{Task, next};
use crate::model::{OperationId, Order};

impl DualWrite {
    /// Unfinished operations, oldest first.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn list(&self, page: &Page) -> Result<Listing, Halt> {
        ledger::list(&*self.context.journal, page, |operation| self.explained(operation)).await
    }

    /// One operation, finished or not, as long as it is kept.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn show(&self, id: OperationId) -> Result<Option<Account>, Halt> {
        ledger::show(&*self.context.journal, id, |operation| self.explained(operation)).await
    }

    /// Hands an order to whatever carries the operation on, and waits until it is durable. It is
    /// written into the operation's records with the name of who gave it, and logged.
    ///
    /// # Errors
    /// Where it can't be followed; nothing was changed then.
    pub async fn order(&self, id: OperationId, order: Order) -> Result<Account, Refused> {
        let operation = self.operation(id).await?;
        if matches!(operation.phase, Phase::Prepared | Phase::Committed) {
            return Err(Refused::UnderWay);
        }
        let retries = matches!(order, Order::Retry { .. });
        let task = next(&operation, self.context.now(), &self.context.policy);
        if retries && task == Task::Nothing {
            return Err(Refused::NothingToAttempt);
        }
        let told = order.clone();
        let (tell, taken) = oneshot::channel();
        if !self.context.board.post(id, Letter::Order(order, tell)).await {
            return Err(self.why_not(id).await);
        }
        match taken.await {
            Ok(Ok(())) => {}
            Ok(Err(Halt::Illegal(_))) if retries => return Err(Refused::TooOften),
            Ok(Err(halt)) => return Err(Refused::Halt(halt)),
            // It ended before it read the letter.
            Err(_) => return Err(self.why_not(id).await),
        }
        self.context.metrics.ordered(&told);
        log(id, &told);
        self.show(id).await?.ok_or(Refused::NoSuch)
    }

    async fn operation(&self, id: OperationId) -> Result<Operation, Refused> {
        let stored = self.context.journal.operation(id).await.map_err(Halt::from)?;
        let operation = Operation::replay(&stored.ok_or(Refused::NoSuch)?).map_err(Halt::from)?;
        if operation.is_finished() { Err(Refused::Ended) } else { Ok(operation) }
    }

    /// Why nobody read an order.
    async fn why_not(&self, id: OperationId) -> Refused {
        match self.operation(id).await {
            Ok(_) => Refused::Elsewhere,
            Err(refused) => refused,
        }
    }

    fn explained(&self, operation: &Operation) -> Explanation {
        let note = self.context.board.note(operation.id);
        explain(operation, note.as_ref(), &self.context.policy, Teller::Sidecar)
    }
}

fn log(operation: OperationId, order: &Order) {
    match order {
        Order::Retry { by, reason } => {
            let reason = reason.as_ref().map(|reason| reason.as_str().to_owned());
            tracing::info!(%operation, %by, reason, "a person ordered an attempt");
        }
        Order::Discard { by, reason } => {
            tracing::warn!(%operation, %by, %reason, "a person discarded the operation");
        }
    }
}
