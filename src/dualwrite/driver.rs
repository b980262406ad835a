//! Carries unfinished operations to their end: asks the pure core what an operation needs, does
//! it, and feeds back what it saw. The same loop serves the saga that just failed and the one
//! that recovery found, so recovery is exercised all the time.

mod look;
mod settle;
mod tasks;
mod turn;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument;

use super::adoption;
use super::context::{Context, Halt, Room};
use super::credentials::Credentials;
use super::inbox::{Letter, Letters};
use super::operation::{Operation, Phase};
use super::settle::until;
use super::state::{Event, Task, next, poll_delay};
use crate::journal;
use crate::model::{Principal, Timestamp};

/// What this process knows of an operation and the journal does not.
#[derive(Default)]
pub(super) struct Memory {
    /// The caller's headers.
    pub(super) credentials: Credentials,
    /// The caller's principal.
    pub(super) principal: Option<Principal>,
    /// The operation's share of `bounds.open_operations`.
    pub(super) room: Option<Room>,
    /// Until when something that was sent for its row may land, if ids come back: another row may have got
    /// the id then.
    pub(super) landing: Option<Timestamp>,
}

/// How far a driven operation is, for whoever waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// At work.
    Busy,
    /// Nothing more happens for now: it waits for a time, or for its next attempt.
    Resting {
        /// Whether all that the client may wait for is done: the row is proven gone, or nothing is left.
        settled: bool,
    },
    /// A person has to decide, or ended it, whatever was left to be done.
    Reported,
}

/// Drives `operation` to its end in a task of its own.
pub(super) fn drive(
    context: Arc<Context>,
    operation: Operation,
    memory: Memory,
) -> watch::Receiver<Progress> {
    let (report, progress) = watch::channel(Progress::Busy);
    let span = tracing::info_span!("operation", id = %operation.id, rule = %operation.plan.rule);
    let letters = context.inbox.open(operation.id);
    context.board.begin(&operation);
    let driver = Driver {
        context,
        operation,
        memory,
        report,
        rounds: 0,
        refusals: 0,
        retried_at: 0,
        undo_is_due: true,
        undo_accepted: None,
        nothing_before: None,
    };
    tokio::spawn(driver.run(letters).instrument(span));
    progress
}

/// Waits until a driven operation has done all that is due, or rests, or `deadline` has passed.
/// Gives how far it is then.
pub(super) async fn settled(
    mut progress: watch::Receiver<Progress>,
    deadline: Duration,
    or_resting: bool,
) -> Progress {
    let done = |progress: &Progress| match progress {
        Progress::Busy => false,
        Progress::Resting { settled } => *settled || or_resting,
        Progress::Reported => true,
    };
    match tokio::time::timeout(deadline, progress.wait_for(done)).await {
        Ok(Ok(at)) => *at,
        _ => Progress::Busy,
    }
}

struct Driver {
    context: Arc<Context>,
    operation: Operation,
    memory: Memory,
    report: watch::Sender<Progress>,
    /// Rounds of asking that told nothing new.
    rounds: u32,
    /// Calls that the service refused one after the other.
    refusals: u32,
    /// How many attempts had failed when the last retry was ordered: from there the backoff counts.
    retried_at: u32,
    /// Whether the undo's DELETE is to be sent: it was not sent yet, or the row was there after it.
    undo_is_due: bool,
    /// When the service first accepted a DELETE of the undo that was sent once the row had to be there.
    undo_accepted: Option<Timestamp>,
    /// Before this time no answer of the service proves anything.
    nothing_before: Option<Timestamp>,
}

/// What an attempt came to.
enum Attempt {
    /// Something was seen.
    Saw(Event),
    /// Nothing was learnt.
    Failed(&'static str, String),
}

/// When to go on.
enum Pause {
    /// At once.
    None,
    /// At this time, or with the next letter; whether all that a client may wait for is done.
    Until(Timestamp, bool),
    /// At this time, with the next letter, or once the neighbour is back that it failed at.
    Retry(Timestamp, watch::Receiver<u64>),
    /// With the next letter: only a person can end it.
    Letter,
    /// Never: it ended.
    End,
}

impl Driver {
    async fn run(mut self, mut letters: Letters) {
        let id = self.operation.id;
        match self.carry_on(&mut letters).await {
            Ok(()) => {}
            Err(Halt::Journal(journal::Error::Fenced | journal::Error::NotOwned(_))) => {
                tracing::warn!("another replica carries the operation on");
            }
            Err(Halt::Journal(error)) => tracing::error!(
                %error,
                "the operation stops here; a restart recovers it from the journal"
            ),
            Err(Halt::Illegal(error)) => tracing::error!(
                %error,
                "this is a defect: the operation stops here, and its records are kept"
            ),
        }
        adoption::forward(&self.context, &self.operation, letters);
        self.context.board.remove(id);
        self.report.send_replace(if self.operation.is_discarded() {
            Progress::Reported
        } else {
            Progress::Resting { settled: self.operation.is_finished() }
        });
    }

    async fn carry_on(&mut self, letters: &mut Letters) -> Result<(), Halt> {
        loop {
            while let Some(letter) = letters.waiting() {
                self.read(letter).await?;
            }
            if matches!(self.operation.phase, Phase::Reported(_)) {
                // It may wait for a person for ever, and must not keep others out meanwhile.
                drop(self.memory.room.take());
            }
            let task = next(&self.operation, self.context.now(), &self.context.policy);
            let pause = match task {
                Task::Nothing if self.operation.is_finished() => Pause::End,
                Task::Nothing => Pause::Letter,
                Task::Wait(due) => Pause::Until(due, true),
                Task::Expire => {
                    self.take(Event::Expired).await?;
                    Pause::None
                }
                Task::Make(call) => self.attempt(call, letters).await?,
            };
            match pause {
                Pause::None => {}
                Pause::Until(due, settled) => {
                    self.sleep_until(due, settled, pending(), letters).await?;
                }
                Pause::Retry(due, returns) => {
                    self.sleep_until(due, false, returned(returns), letters).await?;
                }
                Pause::Letter => self.wait_for(letters).await?,
                Pause::End => return Ok(()),
            }
        }
    }

    async fn saw(&mut self, event: Event) -> Result<Pause, Halt> {
        let before = (self.operation.phase.clone(), self.operation.gone.len());
        let progressed_by = matches!(event, Event::Deregistered(_));
        self.take(event).await?;
        self.context.board.succeeded(self.operation.id);
        self.retried_at = 0;
        if self.operation.is_row_gone() {
            self.report.send_replace(Progress::Resting { settled: true });
        }
        let after = (self.operation.phase.clone(), self.operation.gone.len());
        if before == after && !progressed_by {
            return Ok(self.next_round());
        }
        Ok(Pause::None)
    }

    /// Takes an event, and notes where the operation stands then.
    async fn take(&mut self, event: Event) -> Result<(), Halt> {
        self.context.take(&mut self.operation, event).await?;
        self.context.board.stands(&self.operation);
        Ok(())
    }

    fn next_round(&mut self) -> Pause {
        let (now, policy) = (self.context.now(), &self.context.policy);
        if let Some(time) = self.nothing_before.take().filter(|time| *time > now) {
            return Pause::Until(time, false);
        }
        let end = until(&self.operation, policy).unwrap_or(now);
        let delay = match self.operation.phase {
            Phase::Reported(_) => policy.bounds.late_effect,
            _ => poll_delay(self.rounds, now, end, policy),
        };
        self.rounds = self.rounds.saturating_add(1);
        Pause::Until(now.plus(delay), false)
    }

    /// Sleeps until `due`, until a letter comes, or until the neighbour `returns`.
    async fn sleep_until(
        &mut self,
        due: Timestamp,
        settled: bool,
        returns: impl Future<Output = ()>,
        letters: &mut Letters,
    ) -> Result<(), Halt> {
        self.context.board.sleeps_until(self.operation.id, due);
        // Who waits may look only now: what was settled stays so.
        let settled = settled || self.operation.is_row_gone();
        self.report.send_replace(match self.operation.phase {
            Phase::Reported(_) => Progress::Reported,
            _ => Progress::Resting { settled },
        });
        let sleep = tokio::time::sleep(due.since(self.context.now()));
        tokio::select! {
            biased;
            Some(letter) = letters.next() => self.read(letter).await,
            () = sleep => Ok(()),
            () = returns => Ok(()),
        }
    }

    async fn wait_for(&mut self, letters: &mut Letters) -> Result<(), Halt> {
        self.report.send_replace(Progress::Reported);
        match letters.next().await {
            Some(letter) => self.read(letter).await,
            None => Ok(()),
        }
    }

    /// Takes a letter; what is to be done is asked anew afterwards.
    async fn read(&mut self, letter: Letter) -> Result<(), Halt> {
        match letter {
            Letter::Evidence(late, receipt) => {
                adoption::take(&self.context, &mut self.operation, late, receipt).await?;
                self.context.board.stands(&self.operation);
                Ok(())
            }
            Letter::Order(order, told) => {
                let taken = self.take(Event::Ordered(order)).await;
                if taken.is_ok() {
                    self.begin_anew();
                }
                // Whoever ordered may have gone: the record stands.
                let _ = told.send(taken.clone());
                match taken {
                    // An order that can't be followed is no defect: a person could not know.
                    Err(Halt::Illegal(_)) => Ok(()),
                    taken => taken,
                }
            }
        }
    }

    /// A person believes that it works now: from here on the pauses between attempts are short
    /// again, and the neighbour that it needs is asked at once.
    fn begin_anew(&mut self) {
        self.rounds = 0;
        self.retried_at = self.context.board.attempts(self.operation.id);
        if let Task::Make(call) = next(&self.operation, self.context.now(), &self.context.policy) {
            turn::needed(&self.context, &call).expect_success();
        }
    }
}

/// Waits until a neighbour is back.
async fn returned(mut returns: watch::Receiver<u64>) {
    if returns.changed().await.is_err() {
        pending::<()>().await;
    }
}
