//! What the journal must know of an operation to find it again: a fold of its records that all
//! implementations share, so that they can't differ in what `settles`, `open` or `reported` mean.

use super::{Error, Of};
use crate::model::{Entry, OperationId, Record, ResourceType, Timestamp};

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

/// What the last record makes of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Something is left to do: pins what happened since its intent.
    Open,
    /// An operator has to decide; pins nothing.
    Reported,
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
        self.opened_at <= to && self.settled_at.is_none_or(|settled_at| settled_at >= from)
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
        let phase = match &entry.record {
            Record::Prepared { .. } => return None,
            Record::Finished { .. } => Phase::Finished(entry.at),
            Record::Reported { .. } => Phase::Reported,
            // What a person said of it, and nothing that happened to it.
            Record::Retried { .. } | Record::Discarded { .. } => self.phase,
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

/// Before which time a finished operation must have ended to be forgotten: whatever happened
/// within the margin of an open operation's life may be needed to judge whose a row is.
pub(super) fn horizon(
    now: Timestamp,
    before: Timestamp,
    oldest_open: Option<Timestamp>,
) -> Timestamp {
    let margin = now.since(before);
    oldest_open.map_or(before, |intent| before.min(intent.minus(margin)))
}
