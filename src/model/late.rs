//! What is learnt of an operation too late to decide anything.

use serde::{Deserialize, Serialize};

use super::ResourceId;

/// Something that a process learnt of an operation after another had taken it over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "late", rename_all = "snake_case")]
pub enum Late {
    /// The create's row has this id. Its registration may have left, perhaps only now, and may land
    /// until L has passed.
    Row {
        /// The row's id.
        id: ResourceId,
    },
    /// The request left, perhaps only now, and may take effect until L has passed.
    Sent,
}
