//! A record as the databases keep it: JSON, with a version. One form for all of them.

use super::summary::Summary;
use crate::model::{Entry, Resource};

/// The version of the records' JSON, raised with every change that an earlier release could not
/// read. This release reads all of them.
///
/// | version | brought |
/// |---|---|
/// | 1 | the first records |
/// | 2 | `retried`, `discarded`, and `finished` as `discarded` |
pub(super) const RECORD_VERSION: u32 = 2;

/// An entry with its record as it will be written.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) entry: Entry,
    pub(super) record: String,
}

impl Row {
    /// Encoded on the caller's thread, so that the writer's is for the disk.
    pub(super) fn encode(entry: Entry) -> Result<Self, serde_json::Error> {
        let record = serde_json::to_string(&entry.record)?;
        Ok(Self { entry, record })
    }

    /// The name of its record.
    pub(super) fn name(&self) -> &'static str {
        self.entry.record.name()
    }
}

/// The resources that `rows` bind to an operation with that summary.
pub(super) fn bound(summary: &Summary, rows: &[Row]) -> Vec<Resource> {
    let ids = rows.iter().filter_map(|row| row.entry.record.binds());
    ids.map(|id| Resource { kind: summary.resource_type.clone(), id: id.clone() }).collect()
}
