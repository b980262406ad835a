//! What a replica does besides, on the connection that reads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use super::super::Error;
use super::super::clock;
use super::super::database::Reads;
use super::super::shared::{Arrival, Deposit, Owner, Receipt, Shared};
use super::super::sql::Value;
use super::adopt::{adopt, adopted, owner, take_over};
use super::lease::{Identity, Lease};
use super::mailbox;
use super::read::PostgresReads;
use crate::model::OperationId;

/// Arrivals that may wait until they are taken.
pub(super) const ARRIVALS: usize = 1024;

/// This process, as one of those that share the journal.
pub(super) struct Replica {
    pub(super) reads: Arc<PostgresReads>,
    pub(super) lease: Arc<Lease>,
    /// Whether the start has asked for what was left before.
    pub(super) recovered: Arc<AtomicBool>,
    pub(super) arrivals: Mutex<mpsc::Receiver<Arrival>>,
}

#[async_trait]
impl Shared for Replica {
    fn may_act(&self) -> Result<(), Error> {
        self.lease.may_act()
    }

    fn clock_error(&self) -> Duration {
        clock::ERROR
    }

    async fn recover(&self) -> Result<Vec<OperationId>, Error> {
        let link = self.reads.link().await?;
        let (client, identity) = (&link.client, self.lease.identity);
        take_over(client, identity, None).await?;
        while !adopt(client, identity, None).await?.is_empty() {}
        let adopted = adopted(client, identity).await?;
        self.recovered.store(true, Ordering::Release);
        Ok(adopted)
    }

    async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        let mut arrivals = self.arrivals.lock().await;
        let mut arrived = Vec::new();
        if arrivals.recv_many(&mut arrived, ARRIVALS).await > 0 {
            return Ok(arrived);
        }
        self.lease.standing.check()?;
        Err(Error::Unknown("the task that keeps the lease has stopped".into()))
    }

    async fn deposit(&self, deposit: Deposit) -> Result<(), Error> {
        let unwritable =
            |error| self.lease.standing.broken(format!("evidence can't be written: {error}"));
        let values = mailbox::encode(&deposit).map_err(unwritable)?;
        self.reads.rows(mailbox::DEPOSIT, values).await.map(drop)
    }

    async fn settle(&self, receipt: Receipt) -> Result<(), Error> {
        self.reads.rows(mailbox::SETTLE, vec![Value::Number(receipt.0)]).await.map(drop)
    }

    async fn claim(&self, operation: OperationId) -> Result<Option<Owner>, Error> {
        let link = self.reads.link().await?;
        let (client, identity) = (&link.client, self.lease.identity);
        // What others own whose leases ran out is for replicas that go on with it.
        take_over(client, identity, Some(operation)).await?;
        adopt(client, identity, Some(operation)).await?;
        Ok(owner(client, identity, operation).await?)
    }

    async fn release(&self) {
        let Identity { epoch, token } = self.lease.identity;
        if let Err(error) =
            self.reads.rows(RELEASE, vec![Value::Number(epoch), Value::Id(token)]).await
        {
            tracing::warn!(%error, "the lease could not be given up; it runs out by itself");
        }
        self.lease.lost();
    }
}

/// Waits, as a take-over does, for a write that is under way.
const RELEASE: &str = "UPDATE replicas SET dead = true WHERE epoch IN \
     (SELECT epoch FROM replicas WHERE epoch = $1 AND token = $2 FOR UPDATE)";
