//! The records of the journal.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{OperationId, Plan, ResourceId, StoredPrincipal, Timestamp, Words};

/// One durable fact about one operation.
///
/// The state of an operation is the fold of its records and nothing else, in normal running and
/// in recovery alike. No record has room for a credential, a body or a key value (promise P7).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "the large one is the first of every operation")]
pub enum Record {
    /// The request is about to be sent. Durable before its first byte leaves.
    Prepared(Opening),
    /// The service answered a create with an id. Durable before the register.
    Committed {
        /// The new row's id.
        id: ResourceId,
        /// Whether it is proven that this create made it: else it is never undone.
        is_new: bool,
    },
    /// The exchange is over without a decision: a create's outcome is unknown, a delete's
    /// targets are still to be looked at.
    Closed {
        /// Whether an effect may still come.
        effect: Effect,
    },
    /// The back end acknowledged. Durable before the 2xx; recovery never undoes it.
    Registered {
        /// The registered row's id.
        id: ResourceId,
        /// Whether an attempt before the acknowledged one may land late.
        ambiguous: bool,
    },
    /// A create stands unregistered, by configuration. Durable before the 2xx.
    Passed {
        /// The row's id.
        id: ResourceId,
        /// Why.
        why: PassReason,
    },
    /// The row is being undone. Durable before the undo's DELETE.
    Undoing {
        /// The row's id, unique over all operations.
        id: ResourceId,
        /// How the row was proven ours.
        evidence: Evidence,
        /// Why it can't stand.
        reason: UndoReason,
        /// Whether a registration may have been sent that lands late.
        ambiguous: bool,
    },
    /// Rows confirmed gone, to be deregistered.
    Deleted {
        /// Their ids.
        ids: Vec<ResourceId>,
    },
    /// Another process carries the operation on. It can't compare its clock with the times on record, so
    /// it waits anew for all that may still have an effect.
    Resumed,
    /// Rows that may be this create's and can't be proven so; an operator decides (promise P4).
    Reported {
        /// Their ids.
        rows: Vec<ResourceId>,
        /// What is missing to the proof.
        why: String,
    },
    /// A person ordered an attempt. Changes nothing.
    Retried {
        /// Who.
        by: Words,
        /// Why.
        reason: Option<Words>,
    },
    /// A person took the responsibility for what is unfinished: the end.
    Discarded {
        /// Who.
        by: Words,
        /// Why.
        reason: Words,
        /// Where the operation stood.
        phase: String,
    },
    /// The end.
    Finished {
        /// With which result.
        resolution: Resolution,
    },
}

/// What is known of an operation before its request is sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// The rule, resolved: a reload changes nothing for this operation.
    pub plan: Plan,
    /// When the sidecar decided to send it.
    pub intent: Timestamp,
    /// The fields of the principal that `principal.store` allows.
    pub principal: StoredPrincipal,
    /// Set where the create will not be registered, and why.
    pub pass: Option<PassReason>,
    /// The rows that were there before the create was sent, if a complete list told.
    pub before: Option<BTreeSet<ResourceId>>,
    /// The rows that the delete may remove.
    pub targets: Targets,
}

/// The rows that a delete may remove, as seen before it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Targets {
    /// Their ids, also when there are none.
    pub ids: BTreeSet<ResourceId>,
    /// Whether the row of a delete by id was seen.
    pub seen: bool,
}

impl Opening {
    /// Of a request of which nothing more is known.
    #[must_use]
    pub fn new(plan: Plan, intent: Timestamp) -> Self {
        Self {
            plan,
            intent,
            principal: StoredPrincipal::default(),
            pass: None,
            before: None,
            targets: Targets::default(),
        }
    }
}

impl Record {
    /// The record's name, as the journal and operators see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepared { .. } => "prepared",
            Self::Committed { .. } => "committed",
            Self::Closed { .. } => "closed",
            Self::Registered { .. } => "registered",
            Self::Passed { .. } => "passed",
            Self::Undoing { .. } => "undoing",
            Self::Deleted { .. } => "deleted",
            Self::Resumed => "resumed",
            Self::Reported { .. } => "reported",
            Self::Retried { .. } => "retried",
            Self::Discarded { .. } => "discarded",
            Self::Finished { .. } => "finished",
        }
    }
}

/// Whether an exchange with the service may still take effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The service answered: what happened, happened before.
    Past,
    /// Nothing is known: it may take effect until L has passed.
    MayCome,
}

/// How a row was proven to be an operation's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The service's answer named it.
    Answer,
    /// The answer named it after its time-out.
    LateAnswer,
    /// A list showed it, no operation held it, and every create that may have made it is enforced, has
    /// an unknown outcome, and was sent after a list that lacked the row; ids are fresh, and the type trusted.
    Listed,
}

/// Why a create passes although nothing is registered: the exceptions to promise P1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassReason {
    /// The principal has none of the fields of `principal.creator`.
    NoCreator,
    /// A `principal.bypass` header was present.
    Bypass,
    /// The rule observes, and the create could not be registered.
    Observed,
    /// It stands for all creates of its type that may pass unrecorded.
    Unrecorded,
    /// The request may make it on the side.
    Aside,
    /// The service answered with a row that stood before. The create that made it decided its registration.
    Found,
}

/// Why a create is undone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoReason {
    /// The back end refused the registration.
    Refused,
    /// The back end did not acknowledge within the deadline.
    Deadline,
    /// The parent could not be looked up.
    NoParent,
    /// The sidecar stopped before the registration was acknowledged; the client got no answer.
    Crash,
    /// The outcome of the create was unknown, and the row was found later.
    Unknown,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The request never left.
    NotSent,
    /// The service refused, or no row appeared until L + λ had passed.
    Rejected,
    /// The outcome of a create that would not have been undone was never known.
    Unsettled,
    /// A create stands and is registered.
    Registered,
    /// A create stands unregistered: an exception to promise P1.
    Passed,
    /// The service answered with a row that stood before, and that another operation holds.
    Found,
    /// A create was undone: no row, no relationship.
    Undone,
    /// A delete removed rows, and they are deregistered.
    Deregistered,
    /// A delete removed nothing.
    NotDeleted,
    /// A person took the responsibility; what became of the row is not known here.
    Discarded,
}

/// A record of one operation, with the time it was appended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// All the journal knows of one operation, oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    /// The operation.
    pub id: OperationId,
    /// Its records.
    pub entries: Vec<Entry>,
}
