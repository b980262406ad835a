//! What the journal must know of an operation to find it again: a fold of its records that all
//! implementations share, so that they can't differ in what `settles`, `open` or `reported` mean.

use super::{Error, Of};
use crate::model::{Entry, OperationId, Record, ResourceType, Stored, Timestamp};

/// The searchable facts of one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub(super) resource_type: ResourceType,
    pub(super) of: Of,
    /// `Prepared`'s intent.
    pub(super) opened_at: Timestamp,
    /// When the first record that settles, or the last `Closed`, was appended.
    pub(super) settled_at: Option<Timestamp>,
    pub(super) phase: Phase,
}

/// From when to when an operation may have had an effect: what [`Journal::overlapping`] goes by.
///
/// [`Journal::overlapping`]: super::Journal::overlapping
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    opened_at: Timestamp,
    settled_at: Option<Timestamp>,
}

impl Life {
    /// The life of `stored`.
    ///
    /// # Errors
    /// [`Error::Misplaced`] where its records begin with no `Prepared`, or hold another.
    pub fn of(stored: &Stored) -> Result<Self, Error> {
        let Summary { opened_at, settled_at, .. } =
            Summary::fold(stored.id, None, &stored.entries)?;
        Ok(Self { opened_at, settled_at })
    }

    /// Whether it meets the window, both ends counted.
    #[must_use]
    pub fn meets(&self, from: Timestamp, to: Timestamp) -> bool {
        self.opened_at <= to && self.settled_at.is_none_or(|settled_at| settled_at >= from)
    }
}

/// What its records make of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Which rows its request made or removed is asked yet, and others' records help to tell: it
    /// keeps what happened within its window.
    Open,
    /// Unfinished, and what is left needs no other's records: rows that are known are removed and
    /// deregistered, or an operator decides. It keeps nothing but itself.
    Alone,
    /// Over, since then.
    Finished(Timestamp),
}

impl Summary {
    /// What becomes of `current` with `entries`, of which there is at least one.
    pub(super) fn fold(
        operation: OperationId,
        current: Option<Self>,
        entries: &[Entry],
    ) -> Result<Self, Error> {
        let folded = entries.iter().try_fold(current, |summary, entry| match summary {
            None => Self::opened_by(entry).map(Some),
            Some(summary) => summary.with(entry).map(Some),
        });
        folded.flatten().ok_or(Error::Misplaced(operation))
    }

    /// Whether the operation's life meets the window, both ends counted.
    pub(super) fn overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        Life { opened_at: self.opened_at, settled_at: self.settled_at }.meets(from, to)
    }

    fn opened_by(entry: &Entry) -> Option<Self> {
        let Record::Prepared { plan, intent, .. } = &entry.record else { return None };
        Some(Self {
            resource_type: plan.resource_type.clone(),
            of: Of::kind(&plan.kind),
            opened_at: *intent,
            settled_at: None,
            phase: Phase::Open,
        })
    }

    fn with(self, entry: &Entry) -> Option<Self> {
        let closed = self.settled_at.is_some();
        let phase = match (&entry.record, self.of) {
            (Record::Prepared { .. }, _) => return None,
            (Record::Finished { .. }, _) => Phase::Finished(entry.at),
            // What a person said of it, and nothing that happened to it.
            (Record::Retried { .. } | Record::Discarded { .. }, _) => self.phase,
            // A reported create stays reported; no other is alone when it is closed.
            (Record::Closed { .. }, Of::Creates) if self.phase == Phase::Alone => Phase::Alone,
            // A delete that had to look for rows when some were found gone looks on.
            (Record::Deleted { .. }, Of::Deletes) if closed => self.phase,
            (
                Record::Reported { .. }
                | Record::Undoing { .. }
                | Record::Deleted { .. }
                | Record::Sweep { .. },
                _,
            ) => Phase::Alone,
            _ => Phase::Open,
        };
        // Evidence may close an operation again, whose request then takes effect later than was thought.
        let settled_at = match &entry.record {
            Record::Closed { .. } => Some(entry.at).max(self.settled_at),
            record => self.settled_at.or_else(|| record.settles().then_some(entry.at)),
        };
        Some(Self { settled_at, phase, ..self })
    }
}

/// How the databases keep a phase: the columns `state` and `finished_at`.
impl Phase {
    pub(super) fn columns(self) -> (i16, Option<i64>) {
        match self {
            Self::Open => (0, None),
            Self::Alone => (1, None),
            Self::Finished(at) => (2, Some(at.as_micros())),
        }
    }

    pub(super) fn of_columns(state: i16, finished_at: Option<i64>) -> Self {
        match (state, finished_at) {
            (0, _) => Self::Open,
            (2, Some(at)) => Self::Finished(Timestamp::from_micros(at)),
            _ => Self::Alone,
        }
    }
}
