//! An operation: the fold of its journal records.
//!
//! [`Operation::apply`] is the only way an operation's durable state changes, in normal running
//! and in recovery alike. It is total: a record that does not follow from the state is an
//! [`Illegal`] value, not a panic. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    Effect, Entry, Ids, Kind, Mode, OperationId, PassReason, Plan, Record, Resolution, Resource,
    ResourceId, Sees, Stored, StoredPrincipal, Timestamp, UndoReason,
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
    /// When it was on record that the service had answered: a row's id, or rows gone.
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

/// The rows that a delete may remove, as seen before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Targets {
    /// Their ids.
    pub ids: BTreeSet<ResourceId>,
    /// Whether the row of a delete by id was seen, so that the service's 2xx confirms.
    pub seen: bool,
}

/// The end of an exchange that decided nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// When.
    pub at: Timestamp,
    /// Whether an effect may still come.
    pub effect: Effect,
}

/// Where an operation stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// About to be sent, or sent.
    Prepared,
    /// The service made a row; the back end has not acknowledged yet.
    Committed,
    /// A create whose outcome is unknown.
    Unknown,
    /// The back end acknowledged. Never undone.
    Registered,
    /// The create stands unregistered, by configuration.
    Passed,
    /// The row is being removed and deregistered.
    Undoing(UndoReason),
    /// The rows that a delete may have removed are being looked at, and deregistered if they are gone.
    Looking,
    /// An operator has to decide.
    Reported(String),
    /// The end.
    Finished(Resolution),
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
        let (first, rest) = stored.entries.split_first().ok_or_else(|| Illegal {
            operation: stored.id,
            record: "nothing".into(),
            phase: "none".into(),
        })?;
        let mut operation = Self::begin(stored.id, first)?;
        for entry in rest {
            operation.apply(entry)?;
        }
        Ok(operation)
    }

    /// The operation that `first`, a `Prepared`, begins.
    ///
    /// # Errors
    /// When `first` is another record.
    pub fn begin(id: OperationId, first: &Entry) -> Result<Self, Illegal> {
        let Record::Prepared { plan, intent, principal, pass, before } = &first.record else {
            return Err(Illegal {
                operation: id,
                record: first.record.name().into(),
                phase: "none".into(),
            });
        };
        Ok(Self {
            id,
            plan: Arc::new(plan.clone()),
            intent: *intent,
            principal: principal.clone(),
            pass: *pass,
            targets: Targets::default(),
            closed: None,
            before: before.clone(),
            bound: None,
            answered: None,
            registering: None,
            settled: None,
            gone: BTreeSet::new(),
            reported: BTreeSet::new(),
            phase: Phase::Prepared,
            since: first.at,
            retries: 0,
            deregistered: BTreeSet::new(),
        })
    }

    /// Takes one durable record into the state.
    ///
    /// # Errors
    /// When the record can't follow; the state is then unchanged.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let phase = self.after(&entry.record).ok_or_else(|| self.illegal(entry.record.name()))?;
        match &entry.record {
            Record::Targets { ids, seen } => {
                let ids = ids.iter().cloned().collect();
                self.targets = Targets { ids, seen: *seen };
            }
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
                if let Record::Passed { why: PassReason::Found, .. } = &entry.record {
                    self.pass = Some(PassReason::Found);
                }
            }
            Record::Resumed => {
                let anew = |_| entry.at;
                self.answered = self.answered.map(anew);
                self.registering = self.registering.map(anew);
                self.settled = self.settled.map(anew);
                self.closed = self.closed.map(|closed| Closed { at: entry.at, ..closed });
            }
            Record::Deleted { ids } => {
                self.gone.extend(ids.iter().cloned());
                self.answered.get_or_insert(entry.at);
            }
            Record::Reported { rows, .. } => {
                self.reported = rows.iter().cloned().collect();
                // An id that the service answered may have turned out to be another's.
                self.bound = None;
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

    /// The phase after `record`, or `None` where it can't follow.
    fn after(&self, record: &Record) -> Option<Phase> {
        use Phase::{Committed, Looking, Passed, Prepared, Registered, Undoing, Unknown};
        let phase = match (record, &self.phase, self.is_create()) {
            (Record::Targets { .. }, Prepared, false) => Prepared,
            (Record::Committed { .. }, Prepared, true) => Committed,
            (Record::Closed { .. }, Prepared | Unknown, true) => Unknown,
            (Record::Closed { .. }, Phase::Reported(why), true) => Phase::Reported(why.clone()),
            (Record::Closed { .. }, Prepared | Looking, false) => Looking,
            (Record::Registered { .. }, Committed, true) => Registered,
            (Record::Passed { .. }, Prepared | Committed | Unknown | Phase::Reported(_), true) => {
                Passed
            }
            (
                Record::Undoing { reason, .. },
                Prepared | Committed | Unknown | Undoing(_) | Phase::Reported(_),
                true,
            ) => Undoing(*reason),
            (Record::Deleted { .. }, phase @ (Registered | Passed | Undoing(_)), true) => {
                phase.clone()
            }
            (Record::Deleted { .. }, Prepared | Looking, false) => Looking,
            (
                Record::Resumed,
                phase @ (Unknown | Registered | Passed | Undoing(_) | Looking | Phase::Reported(_)),
                _,
            ) => phase.clone(),
            (
                Record::Reported { why, .. },
                Prepared | Committed | Unknown | Undoing(_) | Phase::Reported(_),
                true,
            ) => Phase::Reported(why.clone()),
            (Record::Retried { .. } | Record::Discarded { .. }, phase, _) => phase.clone(),
            (Record::Finished { resolution }, phase, _) if may_finish(phase, *resolution) => {
                Phase::Finished(*resolution)
            }
            _ => return None,
        };
        Some(phase)
    }

    /// Whether this is a create; otherwise it is a delete.
    #[must_use]
    pub fn is_create(&self) -> bool {
        matches!(self.plan.kind, Kind::Create(_))
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

    /// Whether it made no row, and has passed on one that it found.
    #[must_use]
    pub fn has_found(&self) -> bool {
        self.pass == Some(PassReason::Found)
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

impl Phase {
    /// The phase as operators and metrics see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::Unknown => "unknown",
            Self::Registered => "registered",
            Self::Passed => "passed",
            Self::Undoing(_) => "undoing",
            Self::Looking => "looking",
            Self::Reported(_) => "reported",
            Self::Finished(Resolution::NotSent) => "finished_not_sent",
            Self::Finished(Resolution::Rejected) => "finished_rejected",
            Self::Finished(Resolution::Unsettled) => "finished_unsettled",
            Self::Finished(Resolution::Registered) => "finished_registered",
            Self::Finished(Resolution::Passed) => "finished_passed",
            Self::Finished(Resolution::Found) => "finished_found",
            Self::Finished(Resolution::Undone) => "finished_undone",
            Self::Finished(Resolution::Deregistered) => "finished_deregistered",
            Self::Finished(Resolution::NotDeleted) => "finished_not_deleted",
            Self::Finished(Resolution::Discarded) => "finished_discarded",
        }
    }
}

/// A committed create ends through `Registered`, `Passed` or `Undoing` only, and what is undone ends undone,
/// unless a person ends it.
fn may_finish(phase: &Phase, resolution: Resolution) -> bool {
    match phase {
        Phase::Finished(_) => false,
        Phase::Committed => resolution == Resolution::Discarded,
        Phase::Undoing(_) => matches!(resolution, Resolution::Undone | Resolution::Discarded),
        _ => true,
    }
}
