//! What many at once read in one reading, and that none reads too early.

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::dualwrite::fixtures::{create, delete, history};
use crate::journal::{Error, MemoryJournal};
use crate::model::{Entry, Mode, OperationId, Resource, Stored};

/// A journal whose readings are counted, and wait for leave.
struct Gated {
    inner: MemoryJournal,
    begun: Semaphore,
    leave: Semaphore,
    error: Option<Error>,
}

impl Gated {
    fn new(error: Option<Error>) -> Arc<Self> {
        let (begun, leave) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { inner: MemoryJournal::new(), begun, leave, error })
    }

    /// Waits until one more reading has begun.
    async fn begins(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    async fn keep(&self, operation: &Operation) {
        self.inner.append(operation.id, history(operation)).await.unwrap();
    }
}

#[async_trait]
impl Journal for Gated {
    async fn append(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        self.inner.append(operation, entries).await
    }

    async fn enqueue(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        self.inner.enqueue(operation, entries).await
    }

    async fn unfinished(&self) -> Result<Vec<Stored>, Error> {
        self.inner.unfinished().await
    }

    async fn unfinished_page(
        &self,
        after: Option<(Timestamp, OperationId)>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.inner.unfinished_page(after, limit).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        self.inner.operation(id).await
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        self.inner.holder(resource).await
    }

    async fn overlapping(
        &self,
        resource_type: &ResourceType,
        of: Of,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Stored>, Error> {
        let found = self.inner.overlapping(resource_type, of, from, to).await;
        self.begun.add_permits(1);
        self.leave.acquire().await.unwrap().forget();
        self.error.clone().map_or(found, Err)
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        self.inner.prune(now, before).await
    }

    fn health(&self) -> Result<(), Error> {
        self.inner.health()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// Asks in a task of its own.
fn ask(
    neighbours: &Arc<Neighbours>,
    of: Of,
    to: i64,
) -> tokio::task::JoinHandle<Result<Vec<OperationId>, Halt>> {
    let neighbours = Arc::clone(neighbours);
    tokio::spawn(async move {
        let found = neighbours.of(&ResourceType::new("api_key"), of, at(0), at(to)).await?;
        Ok(found.iter().map(|operation| operation.id).collect())
    })
}

/// Lets every task run as far as it can.
async fn rest() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn p3_who_asks_during_a_reading_is_served_by_the_next_with_all_that_waits() {
    let journal = Gated::new(None);
    let neighbours = Arc::new(Neighbours::new(journal.clone()));
    let first = ask(&neighbours, Of::Creates, 9);
    journal.begins().await;
    let made = create(Mode::Enforce, None);
    journal.keep(&made).await;
    let later: Vec<_> = (0..50).map(|_| ask(&neighbours, Of::Creates, 9)).collect();
    rest().await;
    journal.leave.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap(), [], "it asked before");
    for asked in later {
        assert_eq!(asked.await.unwrap().unwrap(), [made.id]);
    }
    journal.begins().await;
    assert_eq!(journal.begun.available_permits(), 0, "two readings in all");
}

#[tokio::test]
async fn each_gets_what_it_asked_for() {
    let journal = Gated::new(None);
    let neighbours = Arc::new(Neighbours::new(journal.clone()));
    let (made, deleted) = (create(Mode::Enforce, None), delete(&["k"], true, false));
    journal.keep(&made).await;
    journal.keep(&deleted).await;
    let held = ask(&neighbours, Of::Creates, 9);
    journal.begins().await;
    let (all, too_early) = (ask(&neighbours, Of::Creates, 9), ask(&neighbours, Of::Creates, 0));
    rest().await;
    journal.leave.add_permits(100);
    assert_eq!(held.await.unwrap().unwrap(), [made.id]);
    let removed = ask(&neighbours, Of::Deletes, 9);
    assert_eq!(all.await.unwrap().unwrap(), [made.id]);
    assert_eq!(too_early.await.unwrap().unwrap(), [], "its window ends before the intent");
    assert_eq!(removed.await.unwrap().unwrap(), [deleted.id]);
}

/// Two who wait for the same reading, behind another that is under way.
async fn two(
    journal: &Gated,
    neighbours: &Arc<Neighbours>,
) -> [tokio::task::JoinHandle<Result<Vec<OperationId>, Halt>>; 2] {
    let first = ask(neighbours, Of::Creates, 9);
    journal.begins().await;
    let two = [ask(neighbours, Of::Creates, 9), ask(neighbours, Of::Creates, 9)];
    rest().await;
    journal.leave.add_permits(1);
    drop(first.await.unwrap());
    two
}

#[tokio::test]
async fn p2_where_the_reader_is_given_up_another_reads() {
    let journal = Gated::new(None);
    let neighbours = Arc::new(Neighbours::new(journal.clone()));
    let [reader, waits] = two(&journal, &neighbours).await;
    journal.begins().await;
    reader.abort();
    journal.begins().await;
    let late = ask(&neighbours, Of::Creates, 9);
    rest().await;
    journal.leave.add_permits(1);
    assert_eq!(waits.await.unwrap().unwrap(), []);
    journal.begins().await;
    journal.leave.add_permits(1);
    assert_eq!(late.await.unwrap().unwrap(), [], "who asked later reads anew");
}

#[tokio::test]
async fn a_failure_reaches_all_that_wait_and_nobody_after_them() {
    let journal = Gated::new(Some(Error::Unavailable("restarting".into())));
    let neighbours = Arc::new(Neighbours::new(journal.clone()));
    let asked = two(&journal, &neighbours).await;
    journal.begins().await;
    journal.leave.add_permits(1);
    for asked in asked {
        let failed = asked.await.unwrap().unwrap_err();
        assert!(matches!(failed, Halt::Journal(Error::Unavailable(_))), "{failed}");
    }
    let again = ask(&neighbours, Of::Creates, 9);
    journal.begins().await;
    journal.leave.add_permits(1);
    assert!(again.await.unwrap().is_err(), "asked anew");
}
