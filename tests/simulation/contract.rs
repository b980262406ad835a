//! What a way to the shared journal promises: the contract of `journal.rs` and that of replicas.

use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use authz_sidecar::journal::{Arrival, Deposit, Error, Journal, Owner, Receipt, Shared, Window};
use authz_sidecar::model::{Clock, OperationId, Resource, Stored, Timestamp};

use super::*;

#[async_trait]
impl Journal for Way {
    async fn append(&self, append: Append) -> Result<(), Error> {
        if append.begins && self.inner.down.load(Relaxed) {
            return Err(Error::Unavailable("there is no connection".into()));
        }
        let (done, told) = oneshot::channel();
        self.send(Call { append, done })?;
        let stopped = || Error::Unknown("the writer has stopped".into());
        let answer = told.await.unwrap_or_else(|_| Err(stopped()));
        self.inner.host.cross().await;
        answer
    }

    async fn unfinished_page(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.read(|journal| now(journal.unfinished_page(after, limit))).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        self.read(|journal| now(journal.operation(id))).await
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        self.read(|journal| now(journal.holder(resource))).await
    }

    async fn overlapping(
        &self,
        window: &Window,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.read(|journal| now(journal.overlapping(window, after, limit))).await
    }

    async fn prune(&self, at: Timestamp, before: Timestamp) -> Result<usize, Error> {
        self.health()?;
        self.inner.travel().await;
        lock(&self.inner.database.kept).prune(at, before)
    }

    fn health(&self) -> Result<(), Error> {
        if self.inner.fenced.load(Relaxed) { Err(Error::Fenced) } else { Ok(()) }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<Inner>::clone(&self.inner)
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

/// The database's time, as a process knows it that measured it wrongly.
impl Clock for Inner {
    fn now(&self) -> Timestamp {
        let (_, off) = self.host.clock_error();
        Timestamp::from_micros(START + off).plus(self.host.now())
    }
}

/// What the database's clock shows when a run begins.
const START: i64 = 1_795_514_400_000_000;

#[async_trait]
impl Shared for Way {
    fn may_act(&self) -> Result<(), Error> {
        self.health()?;
        let certain = *lock(&self.inner.certain);
        let late = || Error::Unavailable("the lease may have run out".into());
        if self.inner.host.now() < certain { Ok(()) } else { Err(late()) }
    }

    fn clock_error(&self) -> Duration {
        self.inner.host.clock_error().0
    }

    async fn recover(&self) -> Result<Vec<OperationId>, Error> {
        self.inner.travel().await;
        self.inner.holds()?;
        let time = self.inner.host.time();
        let mut kept = lock(&self.inner.database.kept);
        if kept.epochs[self.inner.epoch].dead {
            return Err(Error::Fenced);
        }
        self.inner.host.took_over(kept.take_over(time, None));
        let mut arrived = lock(&self.inner.arrived);
        arrived.recovered = true;
        let mut recovered = Vec::new();
        for arrival in kept.adopt(self.inner.epoch, &*self.inner.host, &mut arrived) {
            match arrival {
                Arrival::Adopted(operation) => recovered.push(operation),
                evidence @ Arrival::Evidence { .. } => arrived.waiting.push(evidence),
            }
        }
        Ok(recovered)
    }

    async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        loop {
            self.inner.host.cross().await;
            self.health()?;
            let waiting = std::mem::take(&mut lock(&self.inner.arrived).waiting);
            if !waiting.is_empty() {
                for arrival in &waiting {
                    self.inner.host.arrives(arrival);
                }
                return Ok(waiting);
            }
            self.inner.came.notified().await;
        }
    }

    async fn deposit(&self, deposit: Deposit) -> Result<(), Error> {
        self.inner.travel().await;
        let receipt = {
            let mut kept = lock(&self.inner.database.kept);
            kept.receipts += 1;
            let receipt = kept.receipts;
            kept.evidence.insert(receipt, deposit.clone());
            receipt
        };
        self.inner.host.keeps(receipt, &deposit);
        self.inner.travel().await;
        self.inner.holds()
    }

    async fn settle(&self, receipt: Receipt) -> Result<(), Error> {
        self.inner.travel().await;
        lock(&self.inner.database.kept).evidence.remove(&receipt.0);
        self.inner.holds()
    }

    async fn claim(&self, operation: OperationId) -> Result<Option<Owner>, Error> {
        self.inner.travel().await;
        let claimed = {
            let mut kept = lock(&self.inner.database.kept);
            let time = self.inner.host.time();
            self.inner.host.took_over(kept.take_over(time, Some(operation)));
            kept.claim(self.inner.epoch, operation)
        };
        self.inner.travel().await;
        self.inner.holds().map(|()| claimed)
    }

    async fn release(&self) {
        lock(&self.inner.database.kept).epochs[self.inner.epoch].dead = true;
        self.inner.lost();
    }
}
