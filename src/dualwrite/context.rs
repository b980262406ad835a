//! What every saga shares, and the one way in which a record becomes state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::adoption::hand_in;
use super::board::Board;
use super::claim::shows_skew;
use super::config::Config;
use super::inbox::Inbox;
use super::metrics::Metrics;
use super::neighbours::Neighbours;
use super::operation::Operation;
use super::peers::Peers;
use super::service::Service;
use super::state::{Policy, Transition, Wait, evidence, on};
use super::{Event, Illegal, index};
use crate::authz::{Authorizer, Circuits};
use crate::journal::{self, Journal, Of, Window};
use crate::model::{Clock, Entry, OperationId, Record, Resolution, Resource, Timestamp};
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
    pub(super) inbox: Inbox,
    /// One permit an operation that is under way or unfinished (`bounds.open_operations`).
    room: Arc<Semaphore>,
    pub(super) peers: Peers,
    neighbours: Neighbours,
    skewed: AtomicBool,
}

/// An operation's place among those that are under way or unfinished.
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Room {
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
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

impl Context {
    #[expect(clippy::too_many_arguments, reason = "called once, by `DualWrite::new`")]
    pub(super) fn new(
        config: Config,
        register: Duration,
        policy: Policy,
        service: Service,
        authorizer: Arc<dyn Authorizer>,
        circuits: Circuits,
        peers: Peers,
        journal: Arc<dyn Journal>,
        resolver: Resolver,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self {
            room: Arc::new(Semaphore::new(config.open_operations)),
            neighbours: Neighbours::new(Arc::clone(&journal)),
            board: Arc::clone(&metrics.board),
            inbox: Inbox::default(),
            skewed: AtomicBool::new(false),
            config,
            register,
            policy,
            service,
            authorizer,
            circuits,
            peers,
            journal,
            resolver,
            clock,
            metrics,
        }
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A place for one more operation, or `None` where there are `bounds.open_operations`.
    pub(super) fn enter(&self) -> Option<Room> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok()?;
        self.metrics.open.inc();
        Some(Room { _permit: permit, open: self.metrics.open.clone() })
    }

    /// Begins an operation, of which nothing was sent: its first records are durable when this returns.
    pub(super) async fn begin(
        &self,
        id: OperationId,
        records: Vec<Record>,
    ) -> Result<Operation, Halt> {
        let (operation, append) = index::begin(id, self.entries(records))?;
        let begun = self.journal.append(append).await;
        if matches!(begun, Err(journal::Error::Unanswered)) {
            self.withdraw(&operation)?;
        }
        begun?;
        Ok(operation)
    }

    /// Ends an operation whose beginning may be written yet, and of which nothing will be sent. Where
    /// it was not written, the end is refused.
    fn withdraw(&self, operation: &Operation) -> Result<(), Illegal> {
        let end = self.entries(vec![Record::Finished { resolution: Resolution::NotSent }]);
        let (_, append) = index::go_on(operation, end)?;
        let journal = Arc::clone(&self.journal);
        tokio::spawn(async move { drop(journal.append(append).await) });
        Ok(())
    }

    /// Takes an event: records what follows from it, then makes that the operation's state.
    pub(super) async fn take(
        &self,
        operation: &mut Operation,
        event: Event,
    ) -> Result<Transition, Halt> {
        let late = evidence(operation, &event);
        let transition = on(operation, event, self.now(), &self.policy)?;
        if transition.records.is_empty() {
            return Ok(transition);
        }
        let entries = self.entries(transition.records.clone());
        let (after, append) = index::go_on(operation, entries)?;
        let kept = match transition.wait {
            Wait::Durable => self.journal.append(append).await,
            Wait::Enqueued => self.journal.enqueue(append).await,
        };
        if let (Err(journal::Error::Fenced | journal::Error::NotOwned(_)), Some(late)) =
            (&kept, late)
        {
            // Decisions are another's now; what was seen is not refused (DESIGN §3, (c)).
            hand_in(self, operation, late);
        }
        kept?;
        *operation = after;
        self.metrics.stands(operation);
        Ok(transition)
    }

    /// Whether an effect may leave on this process's decision.
    pub(super) fn may_act(&self) -> Result<(), journal::Error> {
        self.journal.shared().map_or(Ok(()), journal::Shared::may_act)
    }

    /// `records`, as of now.
    pub(super) fn entries(&self, records: Vec<Record>) -> Vec<Entry> {
        let at = self.now();
        records.into_iter().map(|record| Entry { at, record }).collect()
    }

    /// Every other create, or delete, on the type of `own` that [matters](super::claim::matters) to its
    /// rows and whose life reaches to within L + S before its intent, or later.
    pub(super) async fn others(
        &self,
        own: &Operation,
        of: Of,
    ) -> Result<Vec<Arc<Operation>>, Halt> {
        let window = Window {
            resource_type: own.plan.resource_type.clone(),
            of,
            from: own.intent.minus(self.policy.reach()),
            to: self.now().plus(self.policy.apart()),
        };
        self.neighbours.of(own, window).await
    }

    /// The operation that `resource` is bound to.
    pub(super) async fn holder(&self, resource: &Resource) -> Result<Option<Operation>, Halt> {
        let stored = self.journal.holder(resource).await?;
        Ok(stored.as_ref().map(Operation::replay).transpose()?)
    }

    /// Whether the create of `resource` is younger than L + S, so that its registration may still
    /// land. What no create holds was not registered within that time.
    pub(super) async fn is_young(&self, resource: &Resource) -> Result<bool, Halt> {
        let bounds = self.policy.bounds;
        let now = self.now();
        let since = now.minus(bounds.late_effect + bounds.clock_skew + self.policy.apart());
        let holder = self.holder(resource).await?;
        Ok(holder.is_some_and(|holder| holder.since >= since || holder.intent >= since))
    }

    /// Drops what is cached for credentials that the service itself refused.
    pub(super) async fn forget_refused(&self, status: Option<StatusCode>, headers: &HeaderMap) {
        if matches!(status, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) {
            self.resolver.forget(headers).await;
        }
    }

    /// Compares the service's clock with ours by a row that `maker` is known to have made.
    pub(super) fn observe_clock(
        &self,
        maker: &Operation,
        created_at: Timestamp,
        known_by: Timestamp,
    ) {
        let skewed = shows_skew(maker, created_at, known_by, &self.policy);
        self.metrics.skewed.set(i64::from(skewed));
        let before = self.skewed.swap(skewed, Ordering::Relaxed);
        if skewed && !before {
            tracing::warn!(
                operation = %maker.id, %created_at, intent = %maker.intent,
                "the service's clock is further from ours than bounds.clock_skew: claims are \
                 suspended; synchronise the clocks or raise the bound"
            );
        }
    }

    /// Whether claims are suspended because of skew.
    pub(super) fn is_skewed(&self) -> bool {
        self.skewed.load(Ordering::Relaxed)
    }
}
