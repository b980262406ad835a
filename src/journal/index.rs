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
    /// The id that is its own. It keeps what it held before until it is forgotten, or that is freed.
    pub holds: Option<ResourceId>,
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
    #[must_use]
    pub fn held(&self) -> Option<Resource> {
        self.holds.as_ref().map(|id| self.resource(id))
    }

    /// What it frees.
    pub fn freed(&self) -> impl Iterator<Item = Resource> {
        self.frees.iter().map(|id| self.resource(id))
    }

    fn resource(&self, id: &ResourceId) -> Resource {
        Resource { kind: self.resource_type.clone(), id: id.clone() }
    }
}
