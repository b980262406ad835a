//! What is learnt of an operation too late to decide anything.

use serde::{Deserialize, Serialize};

use super::ResourceId;

/// Something that a process learnt of an operation after another had taken it over. It reopens the
/// operation where that has drawn other conclusions meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "late", rename_all = "snake_case")]
pub enum Late {
    /// The service answered the create with this id.
    Answer {
        /// The new row's id.
        id: ResourceId,
    },
    /// The request left, perhaps only now, and may take effect until L has passed.
    Sent,
    /// A registration of this id left, perhaps only now, and may land until L has passed.
    Registration {
        /// The registered row's id.
        id: ResourceId,
    },
}
