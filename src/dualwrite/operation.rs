//! An operation: the fold of its journal records.
//!
//! [`Operation::apply`] is the only way an operation's durable state changes, in normal running
//! and in recovery alike. It is total: a record that does not follow from the state is an
//! [`Illegal`] value, not a panic. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    Effect, Entry, Kind, Mode, Newness, OperationId, PassReason, Plan, Record, Resolution,
    Resource, ResourceId, Stored, StoredPrincipal, Timestamp, UndoReason,
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
    /// The rows that were there before this create was sent, if a complete list told. Dropped if
    /// evidence reopens the create: the journal may have forgotten by then who made which row.
    pub before: Option<BTreeSet<ResourceId>>,
    /// The row that is bound to this operation.
    pub bound: Option<ResourceId>,
    /// When it was first on record that the service had answered: a row's id, or rows gone.
    pub answered: Option<Timestamp>,
    /// When it was on record what became of its request, or how long that may still have an effect.
    pub settled: Option<Timestamp>,
    /// Whether the row is, or was, being undone.
    pub undone: bool,
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
    /// Whether a create of one of those was young then: its id may not have been on record yet when
    /// [`Targets`] were. Not durable either: deregistering again tells it again.
    pub(super) young: bool,
}

/// The rows that a delete may remove, as seen before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Targets {
    /// Their ids.
    pub ids: BTreeSet<ResourceId>,
    /// Whether the row of a delete by id was seen, so that the service's 2xx confirms.
    pub seen: bool,
    /// Whether a create of one of them is younger than L + S.
    pub young: bool,
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
    /// The row is being removed.
    Undoing(UndoReason, Step),
    /// A delete whose targets are being looked at.
    Looking,
    /// Rows are gone and are being deregistered.
    Gone,
    /// All is done once, and will be done again at `due`.
    Sweeping(Timestamp, Step),
    /// An operator has to decide.
    Reported(String),
    /// The end.
    Finished(Resolution),
}

/// How far the removal of a row has come. Not durable: after a crash it starts again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// DELETE upstream.
    Delete,
    /// Ask whether the row is gone: an accepted DELETE proves nothing.
    Confirm,
    /// The row is gone: deregister.
    Deregister,
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
            settled: None,
            undone: false,
            gone: BTreeSet::new(),
            reported: BTreeSet::new(),
            phase: Phase::Prepared,
            since: first.at,
            retries: 0,
            deregistered: BTreeSet::new(),
            young: false,
        })
    }

    /// Takes one durable record into the state.
    ///
    /// # Errors
    /// When the record can't follow; the state is then unchanged.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let phase = self.after(&entry.record).ok_or_else(|| self.illegal(entry.record.name()))?;
        match &entry.record {
            Record::Targets { ids, seen, young } => {
                let ids = ids.iter().cloned().collect();
                self.targets = Targets { ids, seen: *seen, young: *young };
            }
            Record::Closed { effect } => {
                if self.is_finished() {
                    self.before = None;
                }
                self.closed = Some(Closed { at: entry.at, effect: *effect });
                self.settled = self.settled.max(Some(entry.at));
            }
            Record::Committed { id, .. }
            | Record::Registered { id, .. }
            | Record::Passed { id, .. }
            | Record::Undoing { id, .. } => {
                self.undone |= matches!(entry.record, Record::Undoing { .. });
                self.bound = Some(id.clone());
                self.answered.get_or_insert(entry.at);
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

    /// The phase after `record`, or `None` where it can't follow.
    fn after(&self, record: &Record) -> Option<Phase> {
        use Phase::{Committed, Gone, Looking, Passed, Prepared, Registered, Unknown};
        let phase = match (record, &self.phase, self.is_create()) {
            (Record::Targets { .. }, Prepared, false) => Prepared,
            (Record::Committed { .. }, Prepared, true) => Committed,
            (Record::Closed { .. }, Prepared | Unknown, true) => Unknown,
            (Record::Closed { .. }, Phase::Reported(why), true) => Phase::Reported(why.clone()),
            (Record::Closed { .. }, phase, true) if self.may_reopen(phase) => Unknown,
            (Record::Closed { .. }, Prepared | Looking | Phase::Sweeping(..), false) => Looking,
            (Record::Closed { .. }, phase, false) if self.may_reopen(phase) => Looking,
            (Record::Registered { .. }, Committed, true) => Registered,
            (Record::Passed { .. }, Prepared | Committed | Unknown, true) => Passed,
            (Record::Passed { .. }, Phase::Reported(_), true) => Passed,
            (Record::Passed { .. }, phase, true) if self.may_reopen(phase) => Passed,
            (Record::Undoing { reason, .. }, Committed | Unknown | Phase::Reported(_), true) => {
                Phase::Undoing(*reason, Step::Delete)
            }
            (Record::Undoing { reason, .. }, phase, true)
                if self.may_reopen(phase) || self.was_undone(phase) =>
            {
                Phase::Undoing(*reason, Step::Delete)
            }
            (Record::Deleted { .. }, Registered | Passed, true) => Gone,
            (
                Record::Deleted { .. },
                Phase::Sweeping(..) | Phase::Finished(Resolution::Deregistered),
                true,
            ) if !self.undone => Gone,
            (Record::Deleted { .. }, Prepared, false) => Gone,
            (Record::Deleted { .. }, Looking, false) => Looking,
            (
                Record::Sweep { due, .. },
                Phase::Undoing(..) | Phase::Sweeping(..) | Gone | Looking,
                _,
            ) => {
                let step = if self.undone { Step::Confirm } else { Step::Deregister };
                Phase::Sweeping(*due, step)
            }
            (
                Record::Reported { why, .. },
                Prepared | Committed | Unknown | Phase::Sweeping(..) | Phase::Reported(_),
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

    /// Whether it ended in a way that late evidence may contradict.
    fn may_reopen(&self, phase: &Phase) -> bool {
        use Resolution::{Deregistered, NotDeleted, NotSent, Rejected, Unsettled};
        match phase {
            Phase::Finished(NotSent | Rejected | Unsettled) if self.is_create() => true,
            Phase::Finished(NotSent | NotDeleted | Deregistered) => !self.is_create(),
            _ => false,
        }
    }

    /// Whether its row was removed as far as anybody knew.
    fn was_undone(&self, phase: &Phase) -> bool {
        self.undone && matches!(phase, Phase::Sweeping(..) | Phase::Finished(Resolution::Undone))
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

    /// Whether a reported create can be looked at again: not where there is no probe, nor where the
    /// service answered the id of another create, which no probe explains.
    #[must_use]
    pub fn may_be_looked_at(&self) -> bool {
        self.is_enforced() && self.has_probe() && self.closed.is_some()
    }

    /// Whether a failed registration undoes this create.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.pass.is_none() && self.plan.mode == Mode::Enforce
    }

    /// Whether its rule has no proof of newness, as those of earlier releases: then nothing is undone.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        matches!(&self.plan.kind, Kind::Create(create) if create.new == Newness::Unproven)
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
            Self::Undoing(..) => "undoing",
            Self::Looking => "looking",
            Self::Gone => "gone",
            Self::Sweeping(..) => "sweeping",
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

/// A committed create ends through `Registered`, `Passed` or `Undoing` only, unless a person ends it.
fn may_finish(phase: &Phase, resolution: Resolution) -> bool {
    match phase {
        Phase::Finished(_) => false,
        Phase::Committed | Phase::Undoing(..) => resolution == Resolution::Discarded,
        _ => true,
    }
}
