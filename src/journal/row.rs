//! An entry as the databases keep it: JSON. One form for all of them.

use super::index::Columns;
use super::{Append, Index};
use crate::model::{Entry, OperationId};

/// The number of the layout and of the records' JSON, raised with every change to either. A journal with
/// another number is refused.
pub(super) const FORMAT: u32 = 6;

/// One call's worth of an operation, as it will be written.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) operation: OperationId,
    pub(super) begins: bool,
    pub(super) index: Index,
    pub(super) entries: Vec<Row>,
}

/// An entry, as it will be written.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) at: i64,
    /// For failpoints.
    pub(super) name: &'static str,
    pub(super) record: String,
}

impl Rows {
    /// Encoded on the caller's thread, so that the writer's is for the disk.
    pub(super) fn encode(append: Append) -> Result<Self, serde_json::Error> {
        let Append { operation, begins, index, entries } = append;
        let encode = |entry: Entry| {
            let record = serde_json::to_string(&entry.record)?;
            Ok(Row { at: entry.at.as_micros(), name: entry.record.name(), record })
        };
        let entries = entries.into_iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Self { operation, begins, index, entries })
    }

    /// The names of its records.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|row| row.name)
    }

    /// Whether it opens an operation, for whose end there must be room.
    pub(super) fn opens(&self) -> bool {
        self.begins && !self.index.is_finished()
    }

    /// The index, column by column.
    pub(super) fn columns(&self) -> Columns {
        Columns::from(&self.index)
    }
}
