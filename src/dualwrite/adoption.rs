//! What other replicas on the journal leave to this process, and what this one leaves to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Event;
use super::board::Letter;
use super::context::{Context, Halt};
use super::driver::{Memory, drive};
use super::index;
use super::operation::Operation;
use super::state::{STALE, on};
use crate::failpoint;
use crate::journal::{Arrival, Deposit, Error, Receipt};
use crate::model::{Backoff, Late, Opening, OperationId, Record};

/// Takes in what comes from other replicas, until another takes this one over. Returns at once where the
/// journal is this process's alone.
pub(super) async fn follow(context: &Arc<Context>) {
    let Some(shared) = context.journal.shared() else { return };
    loop {
        match shared.arrivals().await {
            Ok(arrivals) => {
                for arrival in arrivals {
                    take_in(context, arrival).await;
                }
            }
            Err(Error::Fenced) => return,
            Err(error) => {
                tracing::warn!(%error, "nothing comes from other replicas for now");
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }
}

async fn take_in(context: &Arc<Context>, arrival: Arrival) {
    let (id, taken) = match arrival {
        Arrival::Adopted(id) => (id, adopt(context, id).await),
        Arrival::Evidence { receipt, deposit } => {
            (deposit.operation, learn(context, deposit, receipt).await)
        }
    };
    // Evidence comes again; the process that took this one over gets the rest.
    if let Err(halt) = taken
        && !halt.is_fenced()
    {
        tracing::error!(operation = %id, %halt, "what came could not be taken in");
    }
}

/// Carries on an operation that a replica left that is gone, as recovery does at start, unless it is driven
/// already. It is handed over once, so it is read however long the journal can't be reached.
async fn adopt(context: &Arc<Context>, id: OperationId) -> Result<(), Halt> {
    let mut attempt = 0;
    while context.board.note(id).is_none() {
        // Anew: it may have been driven to its end by now.
        match context.operation(id).await {
            Err(Halt::Journal(Error::Unavailable(why))) => {
                tracing::warn!(operation = %id, why, "what was left here can't be read yet");
                pause(attempt).await;
                attempt += 1;
            }
            Ok(Some(mut operation)) if !operation.is_finished() => {
                restart(context, &mut operation).await?;
                resume(context, operation);
                break;
            }
            read => return read.map(drop),
        }
    }
    Ok(())
}

/// Takes evidence, in the driver if the operation has not ended.
async fn learn(context: &Arc<Context>, deposit: Deposit, receipt: Receipt) -> Result<(), Halt> {
    let Deposit { operation: id, opening, late } = deposit;
    tracing::info!(operation = %id, ?late, "evidence came late");
    adopt(context, id).await?;
    if context.board.post(id, Letter::Evidence(late.clone(), Some(receipt))).await {
        return Ok(());
    }
    match context.operation(id).await? {
        // Its driver has stopped: the evidence comes again.
        Some(operation) if !operation.is_finished() => {}
        // A person answers for it.
        Some(operation) if operation.is_discarded() => settle(context, receipt).await,
        _ => {
            let begun = begin_anew(context, opening, late).await?;
            settle(context, receipt).await;
            if let Some(operation) = begun.filter(|begun| !begun.is_finished()) {
                resume(context, operation);
            }
        }
    }
    Ok(())
}

/// Begins another operation for evidence of one that has ended, with the opening that came with it. Its
/// records have the time at which they are recorded now: what was forgotten until then is not known for it. `None`
/// if nothing follows from the evidence, or if another operation holds its row.
async fn begin_anew(
    context: &Context,
    opening: Box<Opening>,
    late: Late,
) -> Result<Option<Operation>, Halt> {
    // Those that made rows meanwhile may be forgotten: a list from before proves nothing any more.
    let mut records = vec![Record::Prepared(Opening { before: None, ..*opening })];
    let (mut operation, _) = index::begin(context.new_id(), context.entries(records.clone()))?;
    let follows = on(&mut operation, Event::Evidence(late.clone()), &context.policy)?;
    let Some(follows) = follows else { return Ok(None) };
    match late {
        // What became of that row is forgotten, and another may have its id by now.
        Late::Row { id }
            if operation.is_enforced() && (operation.reuses_ids() || operation.is_replayed()) =>
        {
            if let Some(holder) = context.holder(&operation.resource(&id)).await? {
                tracing::warn!(holder = %holder.id, row = %id, "the row of late evidence has another operation");
                return Ok(None);
            }
            records.push(Record::Reported { rows: vec![id], why: STALE.into() });
        }
        _ => records.push(follows),
    }
    match context.begin_alone(records).await {
        Err(Halt::Journal(Error::Taken { holder, resource })) => {
            tracing::warn!(%holder, %resource, "the row of late evidence has another operation");
            Ok(None)
        }
        begun => begun.map(Some),
    }
}

/// All that follows from evidence is on record: it need not come again.
pub(super) async fn settle(context: &Context, receipt: Receipt) {
    if let Some(shared) = context.journal.shared()
        && let Err(error) = shared.settle(receipt).await
    {
        tracing::debug!(%error, "evidence could not be settled; it comes again");
    }
}

/// The first event of an operation that another process began.
pub(super) async fn restart(context: &Context, operation: &mut Operation) -> Result<(), Halt> {
    context.take(operation, Event::Restarted).await?;
    failpoint::hit("recovery.replayed");
    Ok(())
}

/// Drives an operation that another process began. It takes a place of `bounds.open_operations`
/// where there is one left, and goes on without where there is none: what is owed is not refused.
pub(super) fn resume(context: &Arc<Context>, operation: Operation) {
    // The previous process may have sent a DELETE or a deregistration just before it ended: assume that it may land.
    let landing = Some(context.now().plus(context.policy.bounds.late_sight()));
    let memory = Memory { room: context.enter(), landing, ..Memory::default() };
    drive(Arc::clone(context), operation, memory);
}

/// Hands in what letters tell that nobody here reads any more.
pub(super) fn forward(
    context: &Context,
    operation: &Operation,
    letters: &mut mpsc::Receiver<Letter>,
) {
    letters.close();
    while let Ok(letter) = letters.try_recv() {
        if let Letter::Evidence(late, receipt) = letter {
            pass_on(context, operation, late, receipt);
        }
    }
}

/// Leaves evidence that can't be taken here to a process that can: what has a receipt comes again by itself.
pub(super) fn pass_on(
    context: &Context,
    operation: &Operation,
    late: Late,
    receipt: Option<Receipt>,
) {
    if receipt.is_none() {
        hand_in(context, operation, late);
    }
}

/// Hands in what this process learnt of an operation that is another's now, however long that
/// takes. (An exclusive journal takes no operation away.)
pub(super) fn hand_in(context: &Context, operation: &Operation, late: Late) {
    let journal = Arc::clone(&context.journal);
    let opening = Box::new(index::opening(operation));
    let deposit = Deposit { operation: operation.id, opening, late };
    tokio::spawn(async move {
        let Some(shared) = journal.shared() else { return };
        for attempt in 0.. {
            match shared.deposit(deposit.clone()).await {
                Ok(()) => return,
                Err(error @ Error::Broken(_)) => {
                    let operation = deposit.operation;
                    tracing::error!(%operation, %error, "evidence could not be handed in");
                    return;
                }
                Err(_) => pause(attempt).await,
            }
        }
    });
}

/// Waits before the next attempt to reach the journal.
async fn pause(attempt: u32) {
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    tokio::time::sleep(backoff.delay(attempt, fastrand::u64(..))).await;
}
