//! One attempt: it waits for its turn at the neighbour that it needs, is made, and what it came to
//! says when to go on.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Driver, Progress, Rest, Trouble};
use crate::dualwrite::board::STUCK_AFTER;
use crate::dualwrite::context::{Context, Halt};
use crate::dualwrite::peers::{Peer, Turn};
use crate::dualwrite::state::{Call, Task, next};
use crate::model::Backoff;

/// The neighbour that is called, and the call as operators see it.
pub(super) fn needed<'a>(context: &'a Context, call: &Call) -> (&'a Peer, &'static str) {
    let peers = &context.peers;
    match call {
        Call::Probe => (&peers.service, "list the rows that may be this create's"),
        Call::Settle => (&peers.service, "ask which rows are there"),
        Call::Deregister(_) => (&peers.back_end, "deregister what is gone"),
    }
}

impl Driver {
    /// Makes one attempt at `call` and takes what it shows. Gives until when nothing more is to be done then.
    pub(super) async fn attempt(&mut self, call: Call) -> Result<Option<Rest>, Halt> {
        let context = Arc::clone(&self.context);
        let (peer, task) = needed(&context, &call);
        let returns = peer.circuit.closings();
        let Some(turn) = self.turn(peer, &call).await? else { return Ok(None) };
        self.sheet.note.send_modify(|note| {
            note.task = Some(task);
            note.next = None;
            note.waits_for = None;
        });
        // Letters are read when it is over: each call that it makes has an end.
        let seen = match call {
            Call::Probe => self.probe().await,
            Call::Settle => self.settle().await,
            Call::Deregister(ids) => self.deregister(ids).await,
        };
        drop(turn);
        let delay = match seen {
            Ok(event) => return self.saw(event).await,
            Err(Trouble::Halt(halt)) => return Err(halt),
            Err(Trouble::Failed(call, failure)) => self.failed_with(call, failure),
        };
        let due = Some(self.context.now().plus(delay));
        // If the neighbour is down, the circuit says when it is worth asking again.
        let knows_when = !peer.circuit.is_open();
        Ok(knows_when.then_some(Rest { due, returns: Some(returns) }))
    }

    /// Waits for the turn of `call` at the neighbour that it needs, which may be down for long.
    /// Letters are read meanwhile, and it keeps its place in the line; `None` where they leave
    /// something else to do.
    async fn turn<'a>(&mut self, peer: &'a Peer, call: &Call) -> Result<Option<Turn<'a>>, Halt> {
        let (note, settled) = (self.sheet.note.clone(), self.operation.is_row_gone());
        let again = note.borrow().attempts > 0;
        let waits = |down: bool| {
            note.send_modify(|note| {
                note.next = None;
                note.waits_for = down.then_some(peer.name);
                if down {
                    // A client need not wait for that.
                    note.progress = Progress::Resting { settled };
                }
            });
        };
        let mut turn = pin!(peer.turn(again, waits));
        loop {
            let letter = tokio::select! {
                biased;
                Some(letter) = self.sheet.letters.recv() => letter,
                turn = &mut turn => return Ok(Some(turn)),
            };
            self.read(letter).await?;
            let task = next(&self.operation, self.context.now(), &self.context.policy);
            if task != Task::Make(call.clone()) {
                return Ok(None);
            }
        }
    }

    /// Notes a failure, and gives after what time the next attempt is due.
    fn failed_with(&mut self, call: &'static str, failure: String) -> Duration {
        self.context.metrics.failed(call);
        let attempts = self.sheet.note.borrow().attempts.saturating_add(1);
        if attempts == STUCK_AFTER {
            tracing::warn!(call, failure, "the operation is stuck; it is tried again and again");
        }
        self.sheet.note.send_modify(|note| {
            note.attempts = attempts;
            note.failure = Some(failure);
        });
        let backoff = Backoff::new(Duration::from_millis(50), self.context.config.retry.0);
        backoff.delay(attempts.saturating_sub(self.retried_at + 1), fastrand::u64(..))
    }
}
