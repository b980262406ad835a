//! A call as the writer gets it, with its records as the databases keep them: JSON.

use super::{Append, Index};
use crate::model::{Entry, OperationId};

/// The number of the layout and of the records' JSON, raised with every change to either. A journal with
/// another number is refused.
pub(super) const FORMAT: u32 = 7;

/// One call's worth of an operation, as it will be written.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) operation: OperationId,
    pub(super) begins: bool,
    pub(super) index: Index,
    pub(super) entries: Vec<EncodedEntry>,
}

/// An entry, as it will be written.
#[derive(Debug)]
pub(super) struct EncodedEntry {
    pub(super) at: i64,
    /// For failpoints.
    pub(super) name: &'static str,
    pub(super) record: String,
}

impl Encoded {
    /// Encoded on the caller's thread, so that the writer's is for the disk.
    pub(super) fn new(append: Append) -> Result<Self, serde_json::Error> {
        let Append { operation, begins, index, entries } = append;
        let encode = |entry: Entry| {
            let record = serde_json::to_string(&entry.record)?;
            Ok(EncodedEntry { at: entry.at.as_micros(), name: entry.record.name(), record })
        };
        let entries = entries.into_iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Self { operation, begins, index, entries })
    }

    /// Whether it opens an operation, for whose end there must be room.
    pub(super) fn opens(&self) -> bool {
        self.begins && !self.index.is_finished()
    }
}

/// The names of all records of `calls`, for failpoints.
pub(super) fn names(calls: &[&Encoded]) -> impl Iterator<Item = &'static str> {
    calls.iter().flat_map(|call| call.entries.iter().map(|entry| entry.name))
}
