//! An operation: the fold of its journal records.
//!
//! [`Operation::apply`] is the only way an operation's durable state changes, in normal running
//! and in recovery alike. It is total: a record that does not follow from the state is an
//! [`Illegal`] value, not a panic. Pure.

mod phase;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::phase::Phase;
use crate::model::{
    DeletePlan, Effect, Entry, Ids, Kind, Mode, Opening, OperationId, PassReason, Plan, Record,
    Resolution, Resource, ResourceId, Sees, Stored, StoredPrincipal, Targets, Timestamp,
};

/// One intercepted request and all that is known of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The rule, resolved.
    pub plan: Arc<Plan>,
    /// When the sidecar decided to send the request.
    pub intent: Timestamp,
    /// What is kept of the principal.
    pub principal: StoredPrincipal,
    /// Set where a create will not be registered.
    pub pass: Option<PassReason>,
    /// The rows a delete may remove.
    pub targets: Targets,
    /// When, and with what left to come, the exchange was closed without a decision.
    pub closed: Option<Closed>,
    /// The rows that were there before this create was sent, if a complete list told.
    pub before: Option<BTreeSet<ResourceId>>,
    /// The row that is bound to this operation.
    pub bound: Option<ResourceId>,
    /// Whether it is proven that this create made that row.
    pub is_new: bool,
    /// When it was on record that the service had answered with its row's id.
    pub answered: Option<Timestamp>,
    /// When the last attempt to register its row was over, if one may land late.
    pub registering: Option<Timestamp>,
    /// When it was on record what became of its request, or how long that may still have an effect.
    pub settled: Option<Timestamp>,
    /// Rows confirmed gone.
    pub gone: BTreeSet<ResourceId>,
    /// Rows that may be this create's, reported to the operator.
    pub reported: BTreeSet<ResourceId>,
    /// Where it stands.
    pub phase: Phase,
    /// When it came to stand there.
    pub since: Timestamp,
    /// How many retries people ordered.
    pub retries: u32,
    /// Of [`Operation::gone`], what was deregistered by this process since it last ran. Not
    /// durable: deregistering again is harmless.
    pub(super) deregistered: BTreeSet<ResourceId>,
}

/// The end of an exchange that decided nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// When.
    pub at: Timestamp,
    /// Whether an effect may still come.
    pub effect: Effect,
}

/// A record that does not follow from the state of its operation.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("operation {operation}: \"{record}\" can't follow in phase {phase}")]
pub struct Illegal {
    /// The operation.
    pub operation: OperationId,
    /// The record's or event's name.
    pub record: String,
    /// The phase it met.
    pub phase: String,
}

impl Operation {
    /// Rebuilds an operation from what the journal holds of it.
    ///
    /// # Errors
    /// When the records are not a possible history.
    pub fn replay(stored: &Stored) -> Result<Self, Illegal> {
        let mut entries = stored.entries.iter();
        let first = entries.next();
        let Some(Entry { at, record: Record::Prepared(opening) }) = first else {
            return Err(Illegal {
                operation: stored.id,
                record: first.map_or("nothing", |first| first.record.name()).into(),
                phase: "none".into(),
            });
        };
        let Opening { plan, intent, principal, pass, before, targets } = opening.clone();
        let mut operation = Self {
            id: stored.id,
            plan: Arc::new(plan),
            intent,
            principal,
            pass,
            targets,
            before,
            closed: None,
            bound: None,
            is_new: true,
            answered: None,
            registering: None,
            settled: None,
            gone: BTreeSet::new(),
            reported: BTreeSet::new(),
            phase: Phase::Prepared,
            since: *at,
            retries: 0,
            deregistered: BTreeSet::new(),
        };
        for entry in entries {
            operation.apply(entry)?;
        }
        Ok(operation)
    }

    /// Takes one durable record into the state.
    ///
    /// # Errors
    /// When the record can't follow; the state is then unchanged.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let phase = self.phase.after(&entry.record, self.is_create());
        let phase = phase.ok_or_else(|| self.illegal(entry.record.name()))?;
        match &entry.record {
            Record::Closed { effect } => {
                self.closed = Some(Closed { at: entry.at, effect: *effect });
                self.settled = self.settled.max(Some(entry.at));
            }
            Record::Committed { id, .. }
            | Record::Registered { id, .. }
            | Record::Passed { id, .. }
            | Record::Undoing { id, .. } => {
                self.bound = Some(id.clone());
                self.answered.get_or_insert(entry.at);
                if self.may_be_registering(&entry.record) {
                    self.registering = Some(entry.at);
                }
                match &entry.record {
                    Record::Passed { why: PassReason::Found, .. } => {
                        self.pass = Some(PassReason::Found);
                    }
                    Record::Committed { is_new, .. } => self.is_new = *is_new,
                    _ => {}
                }
            }
            Record::Resumed => {
                let anew = |_| entry.at;
                self.answered = self.answered.map(anew);
                self.registering = self.registering.map(anew);
                self.settled = self.settled.map(anew);
                self.closed = self.closed.map(|closed| Closed { at: entry.at, ..closed });
            }
            Record::Deleted { ids } => self.gone.extend(ids.iter().cloned()),
            Record::Reported { rows, .. } => {
                self.reported = rows.iter().cloned().collect();
                // A registration of the row that it holds may land yet, also one that a process sent whose evidence has
                // just come.
                self.registering = self.bound.as_ref().map_or(self.registering, |_| Some(entry.at));
            }
            Record::Retried { .. } => self.retries = self.retries.saturating_add(1),
            _ => {}
        }
        match phase {
            Phase::Prepared | Phase::Committed | Phase::Unknown => self.settled = None,
            _ => _ = self.settled.get_or_insert(entry.at),
        }
        if self.phase != phase {
            self.since = entry.at;
        }
        self.phase = phase;
        Ok(())
    }

    /// Whether a registration may land after `record`.
    fn may_be_registering(&self, record: &Record) -> bool {
        match record {
            Record::Registered { ambiguous, .. } | Record::Undoing { ambiguous, .. } => *ambiguous,
            Record::Passed { .. } => self.phase == Phase::Committed,
            _ => false,
        }
    }

    /// Whether this is a create; otherwise it is a delete.
    #[must_use]
    pub fn is_create(&self) -> bool {
        matches!(self.plan.kind, Kind::Create(_))
    }

    /// Whether it deletes the row of one id.
    #[must_use]
    pub fn is_by_id(&self) -> bool {
        matches!(self.plan.kind, Kind::Delete(DeletePlan::ById { .. }))
    }

    /// Whether it deletes rows by something else than their id.
    #[must_use]
    pub fn is_by_name(&self) -> bool {
        matches!(self.plan.kind, Kind::Delete(DeletePlan::ByProbe { .. }))
    }

    /// Whether the answer to its create may repeat an earlier one.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        matches!(&self.plan.kind, Kind::Create(create) if create.replayed)
    }

    /// Whether rows that may be this create's can be looked for.
    #[must_use]
    pub fn has_probe(&self) -> bool {
        matches!(&self.plan.kind, Kind::Create(create) if create.probe.is_some())
    }

    /// Whether a list proves that it made no row: one that shows every row.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        let Kind::Create(create) = &self.plan.kind else { return false };
        create.probe.as_ref().is_some_and(|probe| probe.sees == Sees::All)
    }

    /// Whether a reported create can be looked at again: not where no list ends it, nor where the
    /// service answered the id of another create, which no probe explains.
    #[must_use]
    pub fn may_be_looked_at(&self) -> bool {
        self.is_enforced() && self.sees_all() && self.closed.is_some()
    }

    /// Whether a failed registration undoes this create.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.pass.is_none() && self.plan.mode == Mode::Enforce
    }

    /// Whether another row may get the id of one that is gone.
    #[must_use]
    pub fn reuses_ids(&self) -> bool {
        self.plan.ids == Ids::Reused
    }

    /// Whether the row that it passed on may be one that it found.
    #[must_use]
    pub fn has_found(&self) -> bool {
        self.pass == Some(PassReason::Found)
    }

    /// The id of the row that it makes, if its request names it and ids come back.
    #[must_use]
    pub fn named(&self) -> Option<&ResourceId> {
        match &self.plan.kind {
            Kind::Create(plan) if self.reuses_ids() => plan.names.as_ref(),
            _ => None,
        }
    }

    /// Whether its row is being removed.
    #[must_use]
    pub fn is_condemned(&self) -> bool {
        matches!(self.phase, Phase::Undoing(_))
    }

    /// Whether it holds a row and has not settled yet what becomes of that, or of its registration.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        let may_stand = matches!(self.phase, Phase::Registered | Phase::Passed);
        !self.is_finished() && (!may_stand || self.is_row_gone())
    }

    /// Whether its own row is proven gone.
    #[must_use]
    pub fn is_row_gone(&self) -> bool {
        self.bound.as_ref().is_some_and(|id| self.gone.contains(id))
    }

    /// Whether there is nothing more to do.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// Whether a person ended it.
    #[must_use]
    pub fn is_discarded(&self) -> bool {
        self.phase == Phase::Finished(Resolution::Discarded)
    }

    /// The resource with `id` of this operation's type.
    #[must_use]
    pub fn resource(&self, id: &ResourceId) -> Resource {
        Resource { kind: self.plan.resource_type.clone(), id: id.clone() }
    }

    pub(super) fn illegal(&self, record: &str) -> Illegal {
        Illegal { operation: self.id, record: record.into(), phase: format!("{:?}", self.phase) }
    }
}
