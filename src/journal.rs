//! The durable record of what was intended, what was seen and what is left to do.

mod clock;
mod config;
mod database;
mod encoded;
mod index;
mod machine;
mod metrics;
mod open;
mod postgres;
mod problem;
mod retention;
mod shared;
mod sql;
mod sqlite;
mod standing;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::config::{Config, Location, PostgresConfig, PostgresUrl};
pub use self::database::SqlJournal;
pub use self::index::{Append, Index, Of, State, Window};
pub use self::metrics::Metrics;
pub use self::open::open;
pub use self::problem::{OpenError, Problem};
pub use self::shared::{Arrival, Deposit, Owner, Receipt, Shared};
use crate::model::{Clock, OperationId, Resource, Stored, Timestamp};

/// The journal's contract; every implementation passes `tests/journal.rs`.
///
/// The journal is a log with an index. It keeps entries without looking at what they say, and finds
/// operations by the [`Index`] that comes with them.
///
/// *Order.* Entries of one operation are kept in the order in which `append` was called for it.
///
/// *Atomicity.* One call's entries and its index are all kept or none. A caller that drops the
/// future of a call does not take it back.
///
/// *Durability.* When `append` returns `Ok`, its entries survive the death of the process and of the
/// machine.
///
/// *Beginning.* The call that says that it [begins](Append::begins) an operation is the first of it
/// that is kept, and the only one that says so.
///
/// *Uniqueness.* Over all operations that are kept, an id that an index [holds](Index::holds) belongs
/// to one operation of its type.
///
/// *Reading.* A read, and so each page, sees everything whose `append` returned before the read began. A
/// reading page by page sees every operation that was there before the first page and was not forgotten
/// meanwhile.
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
    async fn append(&self, append: Append) -> Result<(), Error>;

    /// At most `limit` operations that are not finished, in the order of their ids: those behind
    /// `after`.
    async fn unfinished_page(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error>;

    /// One operation.
    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error>;

    /// The operation that holds `resource`.
    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error>;

    /// At most `limit` operations that [meet](Index::meets) the window, in the order of their ids:
    /// those behind `after`.
    async fn overlapping(
        &self,
        window: &Window,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error>;

    /// Forgets operations that finished before `before`, except those that an [open](State::Open) one
    /// may need. An open operation needs what was not yet finished at some time between a margin
    /// (`now - before`) before its `opened_at` and a margin after its `settled_at`. No operation needs a
    /// [void](State::Void) one; it stays for a minute, so that people can look at it. Returns how many
    /// operations were forgotten.
    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error>;

    /// Whether the journal accepts entries.
    ///
    /// # Errors
    /// [`Error::Broken`], with what broke it, or [`Error::Fenced`].
    fn health(&self) -> Result<(), Error>;

    /// The clock from which all times in the journal come: it goes on over restarts, whatever becomes of the
    /// wall clock.
    fn clock(&self) -> Arc<dyn Clock>;

    /// What the journal does besides where several processes share it. `None` where this process
    /// has it to itself, so that all that it holds is this process's to carry on.
    fn shared(&self) -> Option<&dyn Shared> {
        None
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
    /// The journal has reached its size bound and opens no new operation, unless it is over already. Nothing
    /// was written; operations that it holds may go on, so that their ends make room.
    #[error("the journal is full: it may not grow beyond {max_bytes} bytes (journal.max_bytes)")]
    Full {
        /// The bound.
        max_bytes: u64,
    },
    /// The call begins an operation that is kept already, or continues one that is not kept (or was
    /// forgotten). Nothing was written.
    #[error("operation {0} is kept and can't begin again, or is not kept and can't go on")]
    Misplaced(OperationId),
    /// Nothing was written, and nothing will be until a restart.
    #[error("the journal accepts no writes: {0}")]
    Broken(String),
    /// The entries may or may not have been written; nothing will be until a restart.
    #[error("the journal can't tell whether a write is durable: {0}")]
    Unknown(String),
    /// The journal can't be reached for now. Nothing was written; a later call may succeed. Only
    /// calls that begin an operation, and reads, end so: others wait until it can.
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
