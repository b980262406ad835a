//! One attempt: it waits for its turn at the neighbour that it needs, is made, and what it came to
//! says when to go on.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Attempt, Driver, Pause, Progress, tasks};
use crate::dualwrite::board::STUCK_AFTER;
use crate::dualwrite::context::{Context, Halt};
use crate::dualwrite::inbox::Letters;
use crate::dualwrite::peers::{Peer, Turn};
use crate::dualwrite::state::{Call, Task, next};
use crate::journal;
use crate::model::Backoff;

/// The neighbour that is called.
pub(super) fn needed<'a>(context: &'a Context, call: &Call) -> &'a Peer {
    match call {
        Call::Probe | Call::Settle => &context.peers.service,
        Call::Deregister(_) => &context.peers.back_end,
    }
}

impl Driver {
    /// Makes one attempt at `call` and takes what it shows.
    pub(super) async fn attempt(
        &mut self,
        call: Call,
        letters: &mut Letters,
    ) -> Result<Pause, Halt> {
        let context = Arc::clone(&self.context);
        let peer = needed(&context, &call);
        let returns = peer.returns();
        let Some(turn) = self.turn(peer, &call, letters).await? else { return Ok(Pause::None) };
        self.context.board.does(self.operation.id, tasks::name(&call));
        // Letters are read when it is over: each call that it makes has an end.
        let attempt = self.perform(call).await;
        drop(turn);
        let attempt = match attempt {
            // The journal can't be asked for now, and what is durable is as it was.
            Err(Halt::Journal(journal::Error::Unavailable(why))) => Attempt::Failed("journal", why),
            Err(Halt::Journal(full @ journal::Error::Full { .. })) => {
                Attempt::Failed("journal", full.to_string())
            }
            attempt => attempt?,
        };
        let (call, failure) = match attempt {
            Attempt::Saw(event) => return self.saw(event).await,
            Attempt::Failed(call, failure) => (call, failure),
        };
        let delay = self.failed_with(call, failure);
        // If the neighbour is down, the circuit says when it is worth asking again.
        Ok(if peer.is_down() {
            Pause::None
        } else {
            Pause::Retry(self.context.now().plus(delay), returns)
        })
    }

    /// Waits for the turn of `call` at the neighbour that it needs, which may be down for long.
    /// Letters are read meanwhile, and it keeps its place in the line; `None` where they leave
    /// something else to do.
    async fn turn<'a>(
        &mut self,
        peer: &'a Peer,
        call: &Call,
        letters: &mut Letters,
    ) -> Result<Option<Turn<'a>>, Halt> {
        let (context, id) = (Arc::clone(&self.context), self.operation.id);
        let (report, settled) = (self.report.clone(), self.operation.is_row_gone());
        let waits = |down: bool| {
            context.board.waits_for(id, down.then_some(peer.name));
            if down {
                // A client need not wait for that.
                report.send_replace(Progress::Resting { settled });
            }
        };
        let mut turn = pin!(peer.turn(context.board.attempts(id) > 0, waits));
        loop {
            let letter = tokio::select! {
                biased;
                Some(letter) = letters.next() => letter,
                turn = &mut turn => return Ok(Some(turn)),
            };
            self.read(letter).await?;
            if next(&self.operation, context.now(), &context.policy) != Task::Make(call.clone()) {
                return Ok(None);
            }
        }
    }

    /// Notes a failure, and gives after what time the next attempt is due.
    fn failed_with(&mut self, call: &'static str, failure: String) -> Duration {
        self.context.metrics.failed(call);
        let told = failure.clone();
        let attempts = self.context.board.failed(self.operation.id, failure);
        if attempts == STUCK_AFTER {
            tracing::warn!(
                call,
                failure = told,
                "the operation is stuck; it is tried again and again"
            );
        }
        let backoff = Backoff::new(Duration::from_millis(50), self.context.config.retry.0);
        backoff.delay(attempts.saturating_sub(self.retried_at + 1), fastrand::u64(..))
    }
}
