//! What many at once read in one reading, and that none reads too early.

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::*;
use crate::dualwrite::fixtures::{began, create, create_named, delete, delete_named};
use crate::dualwrite::index::{begin, go_on};
use crate::journal::{Append, Config, Error, Location, Metrics, SqlJournal, open};
use crate::model::{
    Clock, Entry, Mode, OperationId, Record, Resolution, Resource, Stored, Timestamp,
};

/// A journal whose readings are counted, and wait for leave.
struct Gated {
    inner: SqlJournal,
    _directory: tempfile::TempDir,
    begun: Semaphore,
    leave: Semaphore,
    error: Option<Error>,
    /// How many operations each reading gave.
    given: Mutex<Vec<usize>>,
}

impl Gated {
    fn new(error: Option<Error>) -> Arc<Self> {
        let (begun, leave) = (Semaphore::new(0), Semaphore::new(0));
        let (directory, given) = (tempfile::tempdir().unwrap(), Mutex::default());
        let config = Config::at(Location::Sqlite(directory.path().join("j.db")));
        let inner = open(&config, Metrics::default()).now_or_never().unwrap().unwrap();
        Arc::new(Self { inner, _directory: directory, begun, leave, error, given })
    }

    /// Waits until one more reading has begun.
    async fn begins(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    async fn keep(&self, operation: &Operation) {
        self.inner.append(begin(operation.id, vec![began(operation)]).unwrap().1).await.unwrap();
    }
}

#[async_trait]
impl Journal for Gated {
    async fn append(&self, append: Append) -> Result<(), Error> {
        self.inner.append(append).await
    }

    async fn unfinished_page(
        &self,
        after: Option<OperationId>,
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
        window: &Window,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let found = self.inner.overlapping(window, after, limit).await;
        lock(&self.given).push(found.as_ref().map_or(0, Vec::len));
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

    fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// Asks in a task of its own.
fn ask(
    neighbours: &Arc<Neighbours>,
    of: Of,
) -> tokio::task::JoinHandle<Result<Vec<OperationId>, Halt>> {
    let neighbours = Arc::clone(neighbours);
    tokio::spawn(async move {
        let resource_type = ResourceType::new("api_key");
        let window = Window { resource_type, of, from: at(0) };
        let own = match of {
            Of::Creates => delete_named("n", &[]),
            Of::Deletes => create(Mode::Enforce, None),
        };
        let found = neighbours.of(&own, window).await?;
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
    let first = ask(&neighbours, Of::Creates);
    journal.begins().await;
    let made = create(Mode::Enforce, None);
    journal.keep(&made).await;
    let later: Vec<_> = (0..50).map(|_| ask(&neighbours, Of::Creates)).collect();
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
    let (made, deleted) = (create(Mode::Enforce, None), delete(&["k"], true));
    journal.keep(&made).await;
    journal.keep(&deleted).await;
    let held = ask(&neighbours, Of::Creates);
    journal.begins().await;
    let all = ask(&neighbours, Of::Creates);
    rest().await;
    journal.leave.add_permits(100);
    assert_eq!(held.await.unwrap().unwrap(), [made.id]);
    let removed = ask(&neighbours, Of::Deletes);
    assert_eq!(all.await.unwrap().unwrap(), [made.id]);
    assert_eq!(removed.await.unwrap().unwrap(), [deleted.id]);
}

/// Two who wait for the same reading, behind another that is under way.
async fn two(
    journal: &Gated,
    neighbours: &Arc<Neighbours>,
) -> [tokio::task::JoinHandle<Result<Vec<OperationId>, Halt>>; 2] {
    let first = ask(neighbours, Of::Creates);
    journal.begins().await;
    let two = [ask(neighbours, Of::Creates), ask(neighbours, Of::Creates)];
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
    let late = ask(&neighbours, Of::Creates);
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
    let again = ask(&neighbours, Of::Creates);
    journal.begins().await;
    journal.leave.add_permits(1);
    assert!(again.await.unwrap().is_err(), "asked anew");
}

/// As at the end of an outage in which clients tried again and again.
#[tokio::test]
async fn r1_p8_a_delete_by_name_after_20_000_creates_that_were_never_sent_reads_none_of_them() {
    let journal = Gated::new(None);
    for _ in 0..20_000 {
        let unsent = create(Mode::Enforce, None);
        journal.keep(&unsent).await;
        let record = Record::Finished { resolution: Resolution::NotSent };
        let end = go_on(&unsent, vec![Entry { at: at(2), record }]).unwrap().1;
        journal.inner.append(end).await.unwrap();
    }
    let made = create(Mode::Enforce, None);
    journal.keep(&made).await;
    journal.leave.add_permits(100);
    let neighbours = Arc::new(Neighbours::new(journal.clone()));
    let found = ask(&neighbours, Of::Creates).await.unwrap().unwrap();
    assert_eq!((found, lock(&journal.given).clone()), (vec![made.id], vec![1]));
}

#[tokio::test]
async fn r1_p8_what_can_not_matter_is_dropped_page_by_page() {
    let journal = Gated::new(None);
    for _ in 0..3 * PAGE {
        journal.keep(&create_named("other", Mode::Enforce, None)).await;
    }
    let made = create(Mode::Enforce, None);
    journal.keep(&made).await;
    journal.leave.add_permits(100);
    let neighbours = Arc::new(Neighbours::new(journal.clone()));
    let found = ask(&neighbours, Of::Creates).await.unwrap().unwrap();
    assert_eq!(found, [made.id]);
    assert_eq!(*lock(&journal.given), [PAGE, PAGE, PAGE, 1]);
}
