//! What is written at once of an operation, and by what the journal finds it again.

use serde::{Deserialize, Serialize};

use crate::model::{Entry, OperationId, Resource, ResourceId, ResourceType, Timestamp};

/// One call's worth of an operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Append {
    /// The operation.
    pub operation: OperationId,
    /// Whether it begins with these entries.
    pub begins: bool,
    /// How it is found after these entries.
    pub index: Index,
    /// At least one.
    pub entries: Vec<Entry>,
}

/// How an operation is found, and how long it and others are kept. The caller computes this; the
/// journal concludes nothing from entries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Index {
    /// The type of its resource. Never changes.
    pub resource_type: ResourceType,
    /// What it is. Never changes.
    pub of: Of,
    /// From when on it may have an effect. Never changes.
    pub opened_at: Timestamp,
    /// When it was clear that no effect comes any more, or how long one may; `None` until then.
    pub settled_at: Option<Timestamp>,
    /// Whether it is over, and whether it needs others.
    pub state: State,
    /// The ids that are its own. It keeps those that it held before until it is forgotten, or they are freed.
    pub holds: Vec<ResourceId>,
    /// Ids that are released with this record, provided that the operation which holds them has finished.
    pub frees: Vec<ResourceId>,
}

/// Which operations are asked for. A create asks only for deletes, so that a service that mostly
/// creates pays for what it seldom does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Of {
    /// Creates.
    Creates,
    /// Deletes.
    Deletes,
}

/// Whether an operation is over, and whether it needs others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// It is not known yet which rows its request made or removed, and the entries of others help to tell.
    Open,
    /// Unfinished, and what is left needs nothing that may be forgotten.
    Alone,
    /// Over, since then.
    Finished(Timestamp),
    /// Over, since then, and it never had an effect: it is read only by its id.
    Void(Timestamp),
}

/// Which operations may matter, by their kind and their time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// The type of their resources.
    pub resource_type: ResourceType,
    /// What they are.
    pub of: Of,
    /// They were open then or later.
    pub from: Timestamp,
}

/// Where an operation stands in every list: its [`Index::opened_at`], and its id.
pub type Place = (Timestamp, OperationId);

impl Index {
    /// Whether the operation is of the kind, and was open at that time or later: until `settled_at`.
    #[must_use]
    pub fn meets(&self, window: &Window) -> bool {
        let is_of_kind = self.of == window.of && self.resource_type == window.resource_type;
        let is_in_time = self.settled_at.is_none_or(|settled_at| settled_at >= window.from);
        is_of_kind && is_in_time && !matches!(self.state, State::Void(_))
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished(_) | State::Void(_))
    }

    /// What it holds.
    pub fn held(&self) -> impl Iterator<Item = Resource> {
        self.resources(&self.holds)
    }

    /// What it frees.
    pub fn freed(&self) -> impl Iterator<Item = Resource> {
        self.resources(&self.frees)
    }

    fn resources(&self, ids: &[ResourceId]) -> impl Iterator<Item = Resource> {
        ids.iter().map(|id| Resource { kind: self.resource_type.clone(), id: id.clone() })
    }
}

/// `settled_at` of an operation that has not settled, as the databases keep it.
const NEVER: i64 = i64::MAX;

/// What the databases keep of an index, but the type and the ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) kind: i16,
    pub(super) opened_at: i64,
    pub(super) settled_at: i64,
    pub(super) state: i16,
    pub(super) finished_at: Option<i64>,
}

impl From<&Index> for Columns {
    fn from(index: &Index) -> Self {
        let (state, finished_at) = match index.state {
            State::Open => (0, None),
            State::Alone => (1, None),
            State::Finished(at) => (2, Some(at.as_micros())),
            State::Void(at) => (3, Some(at.as_micros())),
        };
        Self {
            kind: kind(index.of),
            opened_at: index.opened_at.as_micros(),
            settled_at: index.settled_at.map_or(NEVER, Timestamp::as_micros),
            state,
            finished_at,
        }
    }
}

/// How the column `kind` spells what an operation is.
pub(super) const fn kind(of: Of) -> i16 {
    match of {
        Of::Creates => 0,
        Of::Deletes => 1,
    }
}

/// What the column `settled_at` says.
pub(super) fn settled(at: i64) -> Option<Timestamp> {
    (at != NEVER).then(|| Timestamp::from_micros(at))
}
