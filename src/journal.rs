//! The durable record of what was intended, what was seen and what is left to do.

mod config;
mod memory;
mod metrics;
mod open;
mod postgres;
mod retention;
mod row;
mod shared;
mod sqlite;
mod summary;

use async_trait::async_trait;

pub use self::config::{Config, Location, PostgresConfig, PostgresUrl};
pub use self::memory::MemoryJournal;
pub use self::metrics::Metrics;
pub use self::open::{OpenError, open};
pub use self::postgres::{OpenOptions as PostgresOptions, PostgresJournal};
pub use self::shared::{Arrival, Deposit, Owner, Receipt, Shared};
pub use self::sqlite::{OpenOptions, SqliteJournal};
pub use self::summary::Life;
use crate::model::{Entry, Kind, OperationId, Resource, ResourceType, Stored, Timestamp};

/// The journal's contract; every implementation passes `tests/journal.rs`.
///
/// *Order.* Entries of one operation are kept in the order in which `append` and `enqueue` were
/// called for it, across both. A caller that wants an order waits for one call to return before
/// it makes the next.
///
/// *Atomicity.* One call's entries are all kept or none. A caller that drops the future of a
/// call does not take it back.
///
/// *Durability.* When `append` returns `Ok`, its entries, and all that were enqueued before it,
/// survive the death of the process and of the machine. What was only enqueued may be lost, but
/// never without everything appended later for the same operation being lost too. An enqueued
/// call that turns out to be refused is therefore answered to the operation's next `append`,
/// of which nothing is written either; nor is anything enqueued in between.
///
/// *Form.* The first record of an operation is `Prepared`, and only the first. An `append`
/// without entries writes nothing and returns once all that was enqueued before it is durable.
///
/// *Uniqueness.* Over all operations that are kept, an id that a record binds
/// ([`crate::model::Record::binds`]) belongs to one operation of its type.
///
/// *Reading.* A read sees everything whose `append` returned before the read began. What was
/// only enqueued may be seen later.
///
/// *Failure.* After [`Error::Unknown`] or [`Error::Broken`] the journal accepts nothing more,
/// answers no read (nothing may be decided on what may not be durable) and [`Journal::health`]
/// tells why: only a restart, which replays, makes sense of it. After [`Error::Fenced`] it accepts
/// nothing more from this process. The other errors concern one call and nothing else.
///
/// Several processes may share a journal: see [`Shared`].
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends entries and waits until they are durable.
    async fn append(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error>;

    /// Appends entries without waiting for the disk; waits only for room in the bounded queue.
    /// Used where losing the entry costs no more than doing something idempotent again.
    async fn enqueue(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error>;

    /// Every operation whose last record, orders of people aside, is not `Finished`, oldest intent first. Late evidence
    /// appended to a finished operation so reopens it.
    async fn unfinished(&self) -> Result<Vec<Stored>, Error>;

    /// At most `limit` of [`Journal::unfinished`], in its order: those behind an intent and an id. Reads
    /// the records of no others.
    async fn unfinished_page(
        &self,
        after: Option<(Timestamp, OperationId)>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error>;

    /// One operation.
    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error>;

    /// The operation that a record binds `resource` to.
    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error>;

    /// Creates or deletes on `resource_type` whose life, from `Prepared`'s intent to the first record
    /// that [settles](crate::model::Record::settles) them, or to the last `Closed` after it, meets the window `from..=to`; both
    /// ends count on both sides. Oldest intent first.
    async fn overlapping(
        &self,
        resource_type: &ResourceType,
        of: Of,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Stored>, Error>;

    /// Forgets finished operations that ended before `before` and whose life, from intent to end,
    /// meets no window of an operation that may still look for rows. Such a window reaches from the
    /// intent to when the operation settled, and a margin (`now - before`) further on both sides; as
    /// long as it has not settled there is no end.
    ///
    /// What is unfinished and looks for no rows any more has no window: it was claimed for undoing, its
    /// rows are known to be gone, it sweeps, or it was reported. A create that registered may yet look at
    /// deletes, and a delete that was `Closed` looks for rows until it sweeps. Returns how many were
    /// forgotten.
    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error>;

    /// Whether the journal accepts entries.
    ///
    /// # Errors
    /// [`Error::Broken`], with what broke it, or [`Error::Fenced`].
    fn health(&self) -> Result<(), Error>;

    /// What the journal does besides where several processes share it. `None` where this process
    /// has it to itself, so that all that it holds is this process's to carry on.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }
}

/// Which operations are asked for. A create asks only for deletes, so that a service that mostly
/// creates pays for what it seldom does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Of {
    /// Creates.
    Creates,
    /// Deletes.
    Deletes,
}

impl Of {
    /// What a plan of this kind is.
    #[must_use]
    pub fn kind(kind: &Kind) -> Self {
        match kind {
            Kind::Create(_) => Self::Creates,
            Kind::Delete(_) => Self::Deletes,
        }
    }
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
    /// The journal has reached its size bound and opens no new operation. Nothing was written;
    /// operations that it holds may go on, so that their ends make room.
    #[error("the journal is full: it may not grow beyond {max_bytes} bytes (journal.max_bytes)")]
    Full {
        /// The bound.
        max_bytes: u64,
    },
    /// The operation is not kept, never was or no more, and the entries don't begin with
    /// `Prepared`; or it is kept and they hold another `Prepared`. Nothing was written.
    #[error("operation {0}: its first record is `prepared`, and no later one is")]
    Misplaced(OperationId),
    /// Nothing was written, and nothing will be until a restart.
    #[error("the journal accepts no writes: {0}")]
    Broken(String),
    /// The entries may or may not have been written; nothing will be until a restart.
    #[error("the journal can't tell whether a write is durable: {0}")]
    Unknown(String),
    /// The journal can't be reached for now. Nothing was written; a later call may succeed. Only
    /// calls that begin an operation, and reads, end so: others wait.
    #[error("the journal can't be reached: {0}")]
    Unavailable(String),
    /// Another replica took over what this process had under way. Nothing was written, and nothing will
    /// be until a restart.
    #[error(
        "another replica took this process over, because its lease ran out (journal.postgres.lease); a \
         restart begins a new one"
    )]
    Fenced,
    /// The operation belongs to another replica. Nothing was written.
    #[error("operation {0} belongs to another replica")]
    NotOwned(OperationId),
}
