//! A journal that forgets everything when it is dropped: the contract without durability, for
//! tests and simulations, with failures to order.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::retention::gaps;
use super::summary::{Phase, Summary};
use super::{Error, Journal, Of};
use crate::model::{Entry, OperationId, Resource, ResourceType, Stored, Timestamp};

/// A journal in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next `append` or `enqueue` fail with `error` and keep nothing.
    pub fn fail_next(&self, error: Error) {
        self.lock().ordered = Some(Failure { error, kept: false });
    }

    /// Makes the next `append` or `enqueue` keep its entries and answer [`Error::Unknown`].
    pub fn lose_next_answer(&self, why: impl Into<String>) {
        self.lock().ordered = Some(Failure { error: Error::Unknown(why.into()), kept: true });
    }

    /// Accepts entries again after `Broken` or `Unknown`, as a restart does.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.broken = None;
        state.ordered = None;
    }

    /// All that is kept, by operation id, also while the journal is broken.
    #[must_use]
    pub fn entries(&self) -> Vec<Stored> {
        self.lock().operations.iter().map(|(id, kept)| kept.stored(*id)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test that held the lock left nothing half done that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn select(&self, wanted: impl Fn(&Kept) -> bool) -> Result<Vec<Stored>, Error> {
        let state = self.lock();
        state.health()?;
        let mut found: Vec<_> = state.operations.iter().filter(|(_, kept)| wanted(kept)).collect();
        found.sort_by_key(|(id, kept)| (kept.summary.opened_at, **id));
        Ok(found.into_iter().map(|(id, kept)| kept.stored(*id)).collect())
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        let mut state = self.lock();
        match state.refused.remove(&operation) {
            Some(error) => Err(error),
            None => state.keep(operation, entries),
        }
    }

    async fn enqueue(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        let mut state = self.lock();
        if state.refused.contains_key(&operation) {
            return state.health();
        }
        match state.keep(operation, entries) {
            Err(error @ (Error::Broken(_) | Error::Unknown(_))) => Err(error),
            // Nobody waits to be told: the operation's next append is.
            Err(error) => {
                state.refused.insert(operation, error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn unfinished(&self) -> Result<Vec<Stored>, Error> {
        self.select(|kept| !matches!(kept.summary.phase, Phase::Finished(_)))
    }

    async fn unfinished_page(
        &self,
        after: Option<(Timestamp, OperationId)>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let state = self.lock();
        state.health()?;
        let left = state
            .operations
            .iter()
            .filter(|(_, kept)| !matches!(kept.summary.phase, Phase::Finished(_)));
        let mut places: Vec<_> = left.map(|(id, kept)| (kept.summary.opened_at, *id)).collect();
        places.retain(|place| after.is_none_or(|after| *place > after));
        places.sort_unstable();
        let page = places.iter().take(limit);
        Ok(page.filter_map(|(_, id)| Some(state.operations.get(id)?.stored(*id))).collect())
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        let state = self.lock();
        state.health()?;
        Ok(state.operations.get(&id).map(|kept| kept.stored(id)))
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        let state = self.lock();
        state.health()?;
        let holder = state.bindings.get(resource);
        Ok(holder.and_then(|id| Some(state.operations.get(id)?.stored(*id))))
    }

    async fn overlapping(
        &self,
        resource_type: &ResourceType,
        of: Of,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Stored>, Error> {
        self.select(|kept| {
            let summary = &kept.summary;
            summary.resource_type == *resource_type
                && summary.of == of
                && summary.overlaps(from, to)
        })
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        let mut state = self.lock();
        state.health()?;
        let open = state.operations.values().map(|kept| &kept.summary);
        let open = open.filter(|summary| summary.phase == Phase::Open);
        let mut open: Vec<_> =
            open.map(|summary| (summary.opened_at, summary.settled_at)).collect();
        open.sort_unstable();
        let gaps = gaps(now, before, open);
        let count = state.operations.len();
        state.operations.retain(|_, Kept { summary, .. }| match summary.phase {
            Phase::Finished(at) => !gaps.iter().any(|gap| gap.holds(summary.opened_at, at)),
            Phase::Open | Phase::Alone => true,
        });
        let State { operations, bindings, .. } = &mut *state;
        bindings.retain(|_, id| operations.contains_key(id));
        Ok(count - operations.len())
    }

    fn health(&self) -> Result<(), Error> {
        self.lock().health()
    }
}

#[derive(Debug, Default)]
struct State {
    operations: BTreeMap<OperationId, Kept>,
    bindings: BTreeMap<Resource, OperationId>,
    refused: BTreeMap<OperationId, Error>,
    ordered: Option<Failure>,
    broken: Option<String>,
}

#[derive(Debug)]
struct Kept {
    summary: Summary,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Failure {
    error: Error,
    kept: bool,
}

impl Kept {
    fn stored(&self, id: OperationId) -> Stored {
        Stored {
            id,
            resource_type: self.summary.resource_type.clone(),
            entries: self.entries.clone(),
        }
    }
}

impl State {
    fn health(&self) -> Result<(), Error> {
        self.broken.clone().map_or(Ok(()), |why| Err(Error::Broken(why)))
    }

    fn keep(&mut self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        self.health()?;
        let Some(Failure { error, kept }) = self.ordered.take() else {
            return self.write(operation, entries);
        };
        if kept {
            self.write(operation, entries)?;
        }
        if let Error::Broken(why) | Error::Unknown(why) = &error {
            self.broken = Some(why.clone());
        }
        Err(error)
    }

    /// Checks everything before it changes anything: that makes a call atomic.
    fn write(&mut self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let current = self.operations.get(&operation).map(|kept| kept.summary.clone());
        let summary = Summary::fold(operation, current, &entries)?;
        let ids = entries.iter().filter_map(|entry| entry.record.binds());
        let bound: Vec<_> = ids
            .map(|id| Resource { kind: summary.resource_type.clone(), id: id.clone() })
            .collect();
        for resource in &bound {
            match self.bindings.get(resource) {
                Some(holder) if *holder != operation => {
                    return Err(Error::Taken { resource: resource.clone(), holder: *holder });
                }
                _ => {}
            }
        }
        self.bindings.extend(bound.into_iter().map(|resource| (resource, operation)));
        let kept = self
            .operations
            .entry(operation)
            .or_insert_with(|| Kept { summary: summary.clone(), entries: Vec::new() });
        kept.summary = summary;
        kept.entries.extend(entries);
        Ok(())
    }
}
