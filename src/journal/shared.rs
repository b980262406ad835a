//! What a journal that several processes share does besides.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::model::{Late, Opening, OperationId};

/// The side of a journal that several processes (*replicas*) share.
///
/// *Ownership.* An operation belongs to one replica, at first to the one that began it. Only its
/// owner's `append` is accepted ([`Error::NotOwned`] else).
///
/// *Lease.* A replica lives as long as it renews its lease. One that did not is taken over: from one
/// instant on nothing that it appends is kept ([`Error::Fenced`], for ever, also of what was under way and not
/// durable by then), and what it left unfinished belongs to others. No clock but the journal's own decides that.
///
/// *Evidence.* What a fenced process still learns is accepted from it by [`Shared::deposit`], and
/// reaches the replica that owns the operation now. If the operation was forgotten, any replica may
/// begin another one. Nothing that was accepted is lost: it is handed out again and again until
/// [`Shared::settle`], so a replica may get it twice.
///
/// Reads ([`super::Journal::unfinished_page`] and the like) see the operations of all replicas, and
/// a fenced process may still read.
#[async_trait]
pub trait Shared: Send + Sync {
    /// Whether an effect may leave on this process's decision now. Costs nothing, so that it is
    /// asked right before: it narrows, by this machine's clock, what no journal can fence, a
    /// process that is paused between its record and the effect.
    ///
    /// # Errors
    /// [`Error::Fenced`] after a take-over; [`Error::Unavailable`] while the lease may have run out.
    fn may_act(&self) -> Result<(), Error>;

    /// How far this process's idea of the journal's time may be off.
    fn clock_error(&self) -> Duration;

    /// Unfinished operations that no living replica carries on: this process's from now on, in the
    /// order of their ids. To be asked once, at the start.
    async fn recover(&self) -> Result<Vec<OperationId>, Error>;

    /// Waits for something that others left to this process. An operation may come again, where an answer was
    /// lost; evidence comes until it is settled.
    async fn arrivals(&self) -> Result<Vec<Arrival>, Error>;

    /// Keeps what was learnt too late, whosever the operation is and whether or not it is still
    /// kept; durable on return.
    async fn deposit(&self, deposit: Deposit) -> Result<(), Error>;

    /// Forgets evidence: all that follows from it is durable.
    async fn settle(&self, receipt: Receipt) -> Result<(), Error>;

    /// Makes an operation this process's where no living replica carries it on, as somebody who
    /// decides on it by hand needs; replicas adopt what was left by themselves. `None` where it is
    /// not kept.
    async fn claim(&self, operation: OperationId) -> Result<Option<Owner>, Error>;

    /// Gives up the lease at once, so that others need not wait for its end. From here on this
    /// process is fenced. Best effort.
    async fn release(&self);
}

/// Who carries an operation on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// This process.
    This,
    /// A living replica of that name, or one whose lease has not run out yet.
    Other(String),
}

/// Something that others left to this process.
#[derive(Clone, PartialEq, Debug)]
pub enum Arrival {
    /// An unfinished operation of a replica that lives no more.
    Adopted(OperationId),
    /// What was learnt of an operation of this process, or of one that was forgotten.
    Evidence {
        /// To be given to [`Shared::settle`].
        receipt: Receipt,
        /// What was learnt.
        deposit: Deposit,
    },
}

/// Names one deposit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Receipt(pub i64);

/// What a process learnt of an operation that it no longer owns.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Deposit {
    /// The operation.
    pub operation: OperationId,
    /// What it began with: it may be forgotten by now.
    pub opening: Box<Opening>,
    /// What was learnt.
    pub late: Late,
}
