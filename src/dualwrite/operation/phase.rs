//! Where an operation stands, and which record leads where. Pure.

use crate::model::{Record, Resolution, UndoReason};

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

impl Phase {
    /// The phase after `record`, or `None` where it can't follow.
    pub(super) fn after(&self, record: &Record, is_create: bool) -> Option<Self> {
        use Phase::{Committed, Looking, Passed, Prepared, Registered, Undoing, Unknown};
        let phase = match (record, self, is_create) {
            (Record::Committed { .. }, Prepared, true) => Committed,
            (Record::Closed { .. }, Prepared | Unknown, true) => Unknown,
            (Record::Closed { .. }, Prepared | Looking, false) => Looking,
            (Record::Registered { .. }, Committed, true) => Registered,
            (Record::Passed { .. }, Prepared | Committed | Unknown | Self::Reported(_), true) => {
                Passed
            }
            (
                Record::Undoing { reason, .. },
                Prepared | Committed | Unknown | Undoing(_) | Self::Reported(_),
                true,
            ) => Undoing(*reason),
            (Record::Closed { .. }, Self::Reported(_), true)
            | (
                Record::Deleted { .. },
                Registered | Passed | Undoing(_) | Self::Reported(_),
                true,
            )
            | (Record::Deleted { .. }, Looking, false)
            | (
                Record::Resumed,
                Unknown | Registered | Passed | Undoing(_) | Looking | Self::Reported(_),
                _,
            )
            | (Record::Retried { .. }, ..) => self.clone(),
            (
                Record::Reported { why, .. },
                Prepared | Committed | Unknown | Undoing(_) | Self::Reported(_),
                true,
            ) => Self::Reported(why.clone()),
            (Record::Discarded { .. }, Self::Finished(_), _) => return None,
            (Record::Discarded { .. }, ..) => Self::Finished(Resolution::Discarded),
            (Record::Finished { resolution }, phase, _) if may_finish(phase, *resolution) => {
                Self::Finished(*resolution)
            }
            _ => return None,
        };
        Some(phase)
    }

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
        Phase::Finished(_) | Phase::Committed => false,
        Phase::Undoing(_) => resolution == Resolution::Undone,
        _ => resolution != Resolution::Discarded,
    }
}
