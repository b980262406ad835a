//! The durable record of what was intended, what was seen and what is left to do.

mod memory;
mod sqlite;

use async_trait::async_trait;

pub use self::memory::MemoryJournal;
pub use self::sqlite::SqliteJournal;
use crate::model::{Entry, OperationId, Resource, ResourceType, Stored, Timestamp};

/// The journal's contract; every implementation passes `tests/journal.rs`.
///
/// *Order.* Entries of one operation are kept in the order in which `append` and `enqueue` were
/// called for it, across both.
///
/// *Atomicity.* One call's entries are all kept or none.
///
/// *Durability.* When `append` returns `Ok`, its entries, and all that were enqueued before it,
/// survive the death of the process and of the machine. What was only enqueued may be lost, but
/// never without everything appended later for the same operation being lost too.
///
/// *Uniqueness.* Over all operations that are kept, an id that a record binds
/// ([`crate::model::Record::binds`]) belongs to one operation of its type.
///
/// *Reading.* A read sees everything whose `append` returned before the read began.
///
/// *Failure.* After [`Error::Unknown`] or [`Error::Broken`] the journal accepts nothing more
/// and [`Journal::health`] tells why: only a restart, which replays, makes sense of it.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends entries and waits until they are durable.
    async fn append(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error>;

    /// Appends entries without waiting for the disk; waits only for room in the bounded queue.
    /// Used where losing the entry costs no more than doing something idempotent again.
    async fn enqueue(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error>;

    /// Every operation without a `Finished`, oldest first.
    async fn unfinished(&self) -> Result<Vec<Stored>, Error>;

    /// One operation.
    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error>;

    /// The operation that a record binds `resource` to.
    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error>;

    /// Operations on `resource_type` whose life, from `Prepared`'s intent to the first record
    /// that [settles](crate::model::Record::settles) them, meets the window `from..=to`.
    async fn overlapping(
        &self,
        resource_type: &ResourceType,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Stored>, Error>;

    /// Forgets finished operations that ended before `before` and before the intent of every
    /// open operation less the same margin (`now - before`). `Reported` operations hold nothing
    /// but themselves. Returns how many were forgotten.
    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error>;

    /// Whether the journal accepts entries.
    fn health(&self) -> Result<(), Error>;
}

/// Why the journal did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Another operation holds the id. Nothing was written.
    #[error("{resource} already belongs to operation {holder}")]
    Taken {
        /// The id in question.
        resource: Resource,
        /// Who holds it.
        holder: OperationId,
    },
    /// Nothing was written, and nothing will be until a restart.
    #[error("the journal accepts no writes: {0}")]
    Broken(String),
    /// The entries may or may not have been written; nothing will be until a restart.
    #[error("the journal can't tell whether a write is durable: {0}")]
    Unknown(String),
}
