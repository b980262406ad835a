//! A shared journal in memory, which answers, fails and hands over what a test wants.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use authz_sidecar::journal::{
    Append, Arrival, Deposit, Error, Journal, Owner, Receipt, Shared, Window,
};
use authz_sidecar::model::{Clock, Late, OperationId, Resource, Stored, Timestamp};
use tokio::sync::mpsc;

use crate::support::eventually;
use crate::support::memory::MemoryJournal;

/// A shared journal in memory. How long its answers take, and what arrives, is the test's.
pub(crate) struct Slow {
    pub(crate) inner: MemoryJournal,
    /// How many readings of an operation fail from now on.
    pub(crate) unreadable: AtomicUsize,
    /// How many readings of those that met a window fail from now on.
    pub(crate) blind: AtomicUsize,
    /// Whether what begins an operation is answered, once it is kept.
    pub(crate) answers: tokio::sync::watch::Sender<bool>,
    /// Whether what ends an operation is kept.
    pub(crate) keeps_ends: tokio::sync::watch::Sender<bool>,
    /// Whether the lease holds for certain.
    pub(crate) holds_lease: AtomicBool,
    /// How often something was not to leave because of that.
    pub(crate) held_back: AtomicUsize,
    /// Whether other replicas own all operations.
    pub(crate) disowned: AtomicBool,
    /// How many records were refused because of that.
    pub(crate) refused: AtomicUsize,
    /// How many deposits fail from now on.
    pub(crate) undeposited: AtomicUsize,
    /// The evidence that was handed in.
    pub(crate) deposits: Mutex<Vec<Deposit>>,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
    pub(crate) settled: AtomicUsize,
}

impl Slow {
    pub(crate) fn new() -> (Arc<Self>, mpsc::Sender<Arrival>) {
        let (sender, arrivals) = mpsc::channel(1);
        let journal = Self {
            inner: MemoryJournal::new(),
            unreadable: AtomicUsize::new(0),
            blind: AtomicUsize::new(0),
            answers: tokio::sync::watch::Sender::new(true),
            keeps_ends: tokio::sync::watch::Sender::new(true),
            holds_lease: AtomicBool::new(true),
            held_back: AtomicUsize::new(0),
            disowned: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            undeposited: AtomicUsize::new(0),
            deposits: Mutex::default(),
            arrivals: tokio::sync::Mutex::new(arrivals),
            settled: AtomicUsize::new(0),
        };
        (Arc::new(journal), sender)
    }

    /// The names of the records of an operation.
    pub(crate) fn names(&self, id: OperationId) -> Vec<&'static str> {
        let kept = self.inner.entries().into_iter().filter(|stored| stored.id == id);
        kept.flat_map(|stored| stored.entries).map(|entry| entry.record.name()).collect()
    }

    /// The operation that is not among these.
    pub(crate) fn other_than(&self, known: &[OperationId]) -> OperationId {
        let kept = self.inner.entries().into_iter();
        let mut others = kept.map(|stored| stored.id).filter(|id| !known.contains(id));
        others.next().expect("there is another")
    }

    /// Waits until something was counted so often.
    pub(crate) async fn counts(&self, counter: &AtomicUsize, times: usize) {
        let enough = || async { (counter.load(Ordering::SeqCst) >= times).then_some(()) };
        eventually("it was counted", enough).await;
    }

    /// Waits until evidence was handed in, and gives it.
    pub(crate) async fn deposited(&self) -> Late {
        let deposit = || async { self.deposits.lock().unwrap().pop() };
        eventually("evidence is handed in", deposit).await.late
    }

    /// Waits until the last record of an operation is its end.
    pub(crate) async fn ends(&self, id: OperationId) {
        let ended = || async { (self.names(id).last() == Some(&"finished")).then_some(()) };
        eventually("it ended", ended).await;
    }
}

/// Fails as often as the test wants.
fn fails(wanted: &AtomicUsize) -> Result<(), Error> {
    let left = |left: usize| left.checked_sub(1);
    match wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
        Ok(_) => Err(Error::Unavailable("as the test wants".into())),
        Err(_) => Ok(()),
    }
}

#[async_trait]
impl Journal for Slow {
    async fn append(&self, append: Append) -> Result<(), Error> {
        let begins = append.begins;
        if self.disowned.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Error::NotOwned(append.operation));
        }
        if append.index.is_finished() {
            let mut keeps = self.keeps_ends.subscribe();
            keeps.wait_for(|keeps| *keeps).await.expect("the journal lives");
        }
        self.inner.append(append).await?;
        if begins {
            let mut answers = self.answers.subscribe();
            answers.wait_for(|answers| *answers).await.expect("the journal lives");
        }
        Ok(())
    }

    async fn unfinished_page(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.inner.unfinished_page(after, limit).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        fails(&self.unreadable)?;
        self.inner.operation(id).await
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        self.inner.holder(resource).await
    }

    async fn overlapping(
        &self,
        window: &Window,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        fails(&self.blind)?;
        self.inner.overlapping(window, after, limit).await
    }

    async fn prune(&self, _: Timestamp, _: Timestamp) -> Result<usize, Error> {
        Ok(0)
    }

    fn health(&self) -> Result<(), Error> {
        self.inner.health()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock()
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

#[async_trait]
impl Shared for Slow {
    fn clock_error(&self) -> Duration {
        Duration::ZERO
    }

    fn may_act(&self) -> Result<(), Error> {
        if self.holds_lease.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.held_back.fetch_add(1, Ordering::SeqCst);
        Err(Error::Unavailable("the lease may have run out".into()))
    }

    async fn recover(&self) -> Result<Vec<OperationId>, Error> {
        Ok(Vec::new())
    }

    async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        match self.arrivals.lock().await.recv().await {
            Some(arrival) => Ok(vec![arrival]),
            None => Err(Error::Fenced),
        }
    }

    async fn claim(&self, _: OperationId) -> Result<Option<Owner>, Error> {
        Ok(None)
    }

    async fn deposit(&self, deposit: Deposit) -> Result<(), Error> {
        fails(&self.undeposited)?;
        self.deposits.lock().unwrap().push(deposit);
        Ok(())
    }

    async fn settle(&self, _: Receipt) -> Result<(), Error> {
        self.settled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn release(&self) {}
}
