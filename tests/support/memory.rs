//! A journal that forgets everything when it is dropped: the contract without durability, with failures to order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use authz_sidecar::journal::{Append, Error, Index, Journal, State as IndexState, Window};
use authz_sidecar::model::{Clock, Entry, OperationId, Resource, Stored, SystemClock, Timestamp};

/// A journal in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryJournal {
    state: Mutex<State>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Makes the next `append` fail with `error` and keep nothing.
    pub(crate) fn fail_next(&self, error: Error) {
        self.lock().ordered = Some(Failure { error, kept: false });
    }

    /// Makes the next `append` keep its entries and answer [`Error::Unknown`].
    pub(crate) fn lose_next_answer(&self, why: impl Into<String>) {
        self.lock().ordered = Some(Failure { error: Error::Unknown(why.into()), kept: true });
    }

    /// Accepts entries again after `Broken` or `Unknown`, as a restart does.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        state.broken = None;
        state.ordered = None;
    }

    /// All that is kept, by operation id, also while the journal is broken.
    #[must_use]
    pub(crate) fn entries(&self) -> Vec<Stored> {
        let state = self.lock();
        state.operations.keys().filter_map(|id| state.stored(*id)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test that held the lock left nothing half done that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(
        &self,
        wanted: impl Fn(&Index) -> bool,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let state = self.lock();
        state.health()?;
        let found = state.operations.iter().filter(|(_, kept)| wanted(&kept.index));
        let mut ids: Vec<_> = found.map(|(id, _)| *id).collect();
        ids.retain(|id| after.is_none_or(|after| *id > after));
        ids.sort_unstable();
        Ok(ids.into_iter().take(limit).filter_map(|id| state.stored(id)).collect())
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, append: Append) -> Result<(), Error> {
        self.lock().keep(append)
    }

    async fn unfinished_page(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.page(|index| !index.is_finished(), after, limit)
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        let state = self.lock();
        state.health()?;
        Ok(state.stored(id))
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        let state = self.lock();
        state.health()?;
        Ok(state.holders.get(resource).and_then(|id| state.stored(*id)))
    }

    async fn overlapping(
        &self,
        window: &Window,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.page(|index| index.meets(window), after, limit)
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        let mut state = self.lock();
        state.health()?;
        let indexes = || state.operations.values().map(|kept| &kept.index);
        let open: Vec<_> = indexes()
            .filter(|index| index.state == IndexState::Open)
            .map(|index| (index.opened_at, index.settled_at))
            .collect();
        let margin = now.since(before);
        // An open operation may need what was there from a margin before it began until a margin after it settled.
        let is_needed = |opened_at: Timestamp, finished_at: Timestamp| {
            let mut open = open.iter();
            finished_at >= before
                || open.any(|(begun, settled)| {
                    finished_at >= begun.minus(margin)
                        && settled.is_none_or(|settled| opened_at <= settled.plus(margin))
                })
        };
        let void_before = now.minus(Duration::from_mins(1)).max(before);
        let count = state.operations.len();
        state.operations.retain(|_, Kept { index, .. }| match index.state {
            IndexState::Open | IndexState::Alone => true,
            IndexState::Finished(at) => is_needed(index.opened_at, at),
            IndexState::Void(at) => at >= void_before,
        });
        let State { operations, holders, .. } = &mut *state;
        holders.retain(|_, id| operations.contains_key(id));
        Ok(count - operations.len())
    }

    fn health(&self) -> Result<(), Error> {
        self.lock().health()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }
}

#[derive(Debug, Default)]
struct State {
    operations: BTreeMap<OperationId, Kept>,
    holders: BTreeMap<Resource, OperationId>,
    ordered: Option<Failure>,
    broken: Option<String>,
}

#[derive(Debug)]
struct Kept {
    index: Index,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Failure {
    error: Error,
    kept: bool,
}

impl State {
    fn health(&self) -> Result<(), Error> {
        self.broken.clone().map_or(Ok(()), |why| Err(Error::Broken(why)))
    }

    fn stored(&self, id: OperationId) -> Option<Stored> {
        let entries = self.operations.get(&id)?.entries.clone();
        Some(Stored { id, entries })
    }

    fn keep(&mut self, append: Append) -> Result<(), Error> {
        self.health()?;
        let Some(Failure { error, kept }) = self.ordered.take() else {
            return self.write(append);
        };
        if kept {
            self.write(append)?;
        }
        if let Error::Broken(why) | Error::Unknown(why) = &error {
            self.broken = Some(why.clone());
        }
        Err(error)
    }

    /// Checks everything before it changes anything: that makes a call atomic.
    fn write(&mut self, append: Append) -> Result<(), Error> {
        let Append { operation, begins, index, entries } = append;
        if begins == self.operations.contains_key(&operation) {
            return Err(Error::Misplaced(operation));
        }
        if let Some(resource) = index.held() {
            let holder = *self.holders.entry(resource.clone()).or_insert(operation);
            if holder != operation {
                return Err(Error::Taken { resource, holder });
            }
        }
        let freed: Vec<_> = index.freed().collect();
        let earlier = self.operations.remove(&operation).map_or(Vec::new(), |kept| kept.entries);
        let entries = earlier.into_iter().chain(entries).collect();
        self.operations.insert(operation, Kept { index, entries });
        let Self { operations, holders, .. } = self;
        let is_over =
            |id: &OperationId| operations.get(id).is_none_or(|kept| kept.index.is_finished());
        holders.retain(|resource, holder| !(freed.contains(resource) && is_over(holder)));
        Ok(())
    }
}
