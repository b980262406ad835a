//! What every saga shares, and the one way in which a record becomes state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::adoption::hand_in;
use super::board::Board;
use super::config::Config;
use super::metrics::Metrics;
use super::neighbours::Neighbours;
use super::operation::{Operation, Phase};
use super::peers::Peers;
use super::service::{Lists, Service};
use super::state::{Policy, evidence, on};
use super::{Event, Illegal, Parts, index};
use crate::authz::{Authorizer, Circuits};
use crate::journal::{self, Journal, Of, Shared};
use crate::model::{
    Bounds, Clock, Entry, Kind, Mode, Opening, OperationId, Record, Resolution, Resource,
    ResourceId, ResourceType, Timestamp,
};
use crate::principal::Resolver;

/// What every saga shares.
pub(super) struct Context {
    pub(super) config: Config,
    /// Within what time a registration must be acknowledged, retries included.
    pub(super) register: Duration,
    pub(super) policy: Policy,
    pub(super) service: Service,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) circuits: Circuits,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) resolver: Resolver,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) board: Arc<Board>,
    /// One permit an operation that is under way or unfinished (`bounds.open_operations`).
    room: Arc<Semaphore>,
    pub(super) peers: Peers,
    neighbours: Neighbours,
    pub(super) lists: Lists,
    /// Whether every create passes through sidecars on this journal.
    exclusive_writer: bool,
    /// Types of which creates may pass unrecorded.
    pub(super) distrusted: BTreeSet<ResourceType>,
    ids: fn() -> OperationId,
}

/// An operation's place among those that are under way or unfinished, until the last clone is gone.
pub(super) type Room = Arc<Place>;

pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Why an operation can't be carried on by this process.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Halt {
    /// The journal did not take a record. Recovery reads what is there.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The saga met an event that can't happen: a defect of this program.
    #[error("a defect: {0}")]
    Illegal(#[from] Illegal),
}

impl Halt {
    /// Whether another process has taken this one over.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(self, Self::Journal(journal::Error::Fenced))
    }
}

/// What the bounds come to on `journal`.
pub(super) fn policy(bounds: Bounds, journal: &dyn Journal) -> Policy {
    let apart = journal.shared().map_or(Duration::ZERO, |shared| 2 * shared.clock_error());
    Policy { bounds, apart }
}

impl Context {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { config, service_circuit, journal, circuits, metrics, .. } = parts;
        let back_end = circuits.deregister.clone();
        Self {
            register: parts.register,
            policy: policy(config.bounds(), &*journal),
            service: Service {
                transport: parts.upstream,
                circuit: service_circuit.clone(),
                headers: parts.service_headers,
                host: parts.host,
                config: config.clone(),
            },
            authorizer: parts.authorizer,
            circuits,
            resolver: parts.resolver,
            clock: journal.clock(),
            board: Arc::clone(&metrics.board),
            metrics,
            room: Arc::new(Semaphore::new(config.open_operations)),
            peers: Peers::new(service_circuit, back_end, config.background_calls),
            neighbours: Neighbours::new(Arc::clone(&journal)),
            journal,
            lists: Lists::default(),
            exclusive_writer: parts.exclusive_writer,
            distrusted: parts.distrusted,
            ids: parts.ids,
            config,
        }
    }

    /// An id for a new operation.
    pub(super) fn new_id(&self) -> OperationId {
        (self.ids)()
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A place for one more operation, or `None` where there are `bounds.open_operations`.
    pub(super) fn enter(&self) -> Option<Room> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok()?;
        self.metrics.open.inc();
        Some(Arc::new(Place { _permit: permit, open: self.metrics.open.clone() }))
    }

    /// Begins the operation of a request that waits to be sent: its first record is durable when this returns.
    /// One that is given up because the journal takes too long may be on record yet: its end follows it there, and it
    /// keeps its place until then.
    pub(super) async fn begin(
        &self,
        id: OperationId,
        opening: Opening,
        room: &Room,
    ) -> Result<Operation, Halt> {
        let prepared = self.entries(vec![Record::Prepared(opening)]);
        let (operation, append) = index::begin(id, prepared)?;
        let (journal, room) = (Arc::clone(&self.journal), room.clone());
        let mut begun = Box::pin(async move { journal.append(append).await });
        if let Ok(begun) = tokio::time::timeout(self.config.call.0, &mut begun).await {
            begun?;
            return Ok(operation);
        }
        let end = self.entries(vec![Record::Finished { resolution: Resolution::NotSent }]);
        let (_, append) = index::go_on(&operation, end)?;
        let journal = Arc::clone(&self.journal);
        tokio::spawn(async move {
            if begun.await.is_ok() {
                drop(journal.append(append).await);
            }
            drop(room);
        });
        Err(journal::Error::Unavailable("no answer within bounds.call".into()).into())
    }

    /// Begins an operation that no request waits for, however long that takes: somebody must carry it on.
    pub(super) async fn begin_alone(&self, records: Vec<Record>) -> Result<Operation, Halt> {
        let (operation, append) = index::begin(self.new_id(), self.entries(records))?;
        self.journal.append(append).await?;
        Ok(operation)
    }

    /// Whether the journal knows every create of `resource_type`.
    pub(super) fn knows_all(&self, resource_type: &ResourceType) -> bool {
        self.exclusive_writer && !self.distrusted.contains(resource_type)
    }

    /// Takes an event: records what follows from it, then makes that the operation's state.
    pub(super) async fn take(&self, operation: &mut Operation, event: Event) -> Result<(), Halt> {
        let late = evidence(operation, &event);
        let Some(record) = on(operation, event, &self.policy)? else { return Ok(()) };
        let (after, append) = index::go_on(operation, self.entries(vec![record]))?;
        let kept = self.journal.append(append).await;
        if let (Err(journal::Error::Fenced | journal::Error::NotOwned(_)), Some(late)) =
            (&kept, late)
        {
            // Decisions are another's now; what was seen is not refused (docs/DESIGN.md, section 2).
            hand_in(self, operation, late);
        }
        kept?;
        *operation = after;
        self.metrics.stands(operation);
        Ok(())
    }

    /// Whether an effect may leave on this process's decision.
    pub(super) fn may_act(&self) -> Result<(), Halt> {
        Ok(self.journal.shared().map_or(Ok(()), Shared::may_act)?)
    }

    /// `records`, as of now.
    pub(super) fn entries(&self, records: Vec<Record>) -> Vec<Entry> {
        let at = self.now();
        records.into_iter().map(|record| Entry { at, record }).collect()
    }

    /// Every other create, or delete, on the type of `own` that meets its [window](index::window) and
    /// [matters](super::overlap::matters) to its rows.
    pub(super) async fn others(
        &self,
        own: &Operation,
        of: Of,
    ) -> Result<Vec<Arc<Operation>>, Halt> {
        self.neighbours.of(own, index::window(own, of, &self.policy)).await
    }

    /// The operation that `resource` is bound to.
    pub(super) async fn holder(&self, resource: &Resource) -> Result<Option<Operation>, Halt> {
        let stored = self.journal.holder(resource).await?;
        Ok(stored.as_ref().map(Operation::replay).transpose()?)
    }

    /// An operation, as long as it is kept.
    pub(super) async fn operation(&self, id: OperationId) -> Result<Option<Operation>, Halt> {
        let stored = self.journal.operation(id).await?;
        Ok(stored.as_ref().map(Operation::replay).transpose()?)
    }

    /// Whether the request of `own` may leave: another replica may be carrying it on by now, or its row may be
    /// engaged. What is only observed is not held up.
    ///
    /// # Errors
    /// The reason for the metrics, and in words.
    pub(super) async fn may_send(&self, own: &Operation) -> Result<(), (&'static str, String)> {
        if own.plan.mode == Mode::Observe {
            return Ok(());
        }
        match self.is_engaged(own).await {
            Ok(false) => self.may_act().map_err(|error| ("journal", error.to_string())),
            Ok(true) => {
                Err(("engaged", "another operation has not finished with this row yet".into()))
            }
            Err(halt) => Err(("journal", halt.to_string())),
        }
    }

    /// Whether another request may still make or remove the row whose id the request of `own` names, or change
    /// its registration. Where ids come back, a late effect of one would hit the row of the other. `own` is on
    /// record by now, so of two requests that overlap, at least one sees the other's record and is refused.
    async fn is_engaged(&self, own: &Operation) -> Result<bool, Halt> {
        if !own.reuses_ids() || !own.is_enforced() {
            return Ok(false);
        }
        match (&own.plan.kind, own.named()) {
            (Kind::Create(_), Some(id)) => {
                let holder = self.holder(&own.resource(id)).await?;
                if holder.as_ref().is_some_and(Operation::is_unsettled) {
                    return Ok(true);
                }
                let deletes = self.others(own, Of::Deletes).await?;
                // Its row was removed since, and it has yet to find out.
                let is_behind = |delete: &Operation| {
                    let holder = holder.as_ref().filter(|holder| !holder.is_finished());
                    delete.gone.contains(id) && holder.is_some_and(|one| one.since <= delete.since)
                };
                let mut open =
                    deletes.iter().filter(|other| !other.is_finished() || is_behind(other));
                Ok(open.any(|delete| delete.targets.ids.contains(id) || delete.gone.contains(id)))
            }
            (Kind::Delete(_), _) => {
                let creates = self.others(own, Of::Creates).await?;
                let mut open = creates.iter().filter(|create| create.phase == Phase::Prepared);
                let means = |id: &ResourceId| own.targets.ids.contains(id);
                Ok(open.any(|create| create.named().is_some_and(means)))
            }
            (Kind::Create(_), None) => Ok(false),
        }
    }

    /// Drops what is cached for credentials that the service itself refused.
    pub(super) async fn forget_refused(&self, status: Option<StatusCode>, headers: &HeaderMap) {
        if matches!(status, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) {
            self.resolver.forget(headers).await;
        }
    }
}
