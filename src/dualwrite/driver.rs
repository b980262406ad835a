//! Carries unfinished operations to their end: asks the pure core what an operation needs, does
//! it, and feeds back what it saw. The same loop serves the saga that just failed and the one
//! that recovery found, so recovery is exercised all the time.

mod look;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument;

use super::adoption::{self, hand_in};
use super::context::{Context, Deleting, Halt, Room};
use super::credentials::Credentials;
use super::inbox::{Letter, Letters};
use super::operation::{Operation, Phase, Step};
use super::outcome::CreateOutcome;
use super::state::{Task, born_by, legacy, look_ends, next, poll_delay};
use super::{Event, Presence};
use crate::journal;
use crate::model::{Backoff, Late, Principal, Timestamp};

/// What this process knows of an operation and the journal does not.
#[derive(Default)]
pub(super) struct Memory {
    /// The caller's headers.
    pub(super) credentials: Credentials,
    /// The caller's principal.
    pub(super) principal: Option<Principal>,
    /// Letters that may have come already, to a create whose answer is still read for.
    pub(super) letters: Option<Letters>,
    /// The operation's share of `bounds.open_operations`.
    pub(super) room: Option<Room>,
    /// That a delete is under way.
    pub(super) _deleting: Option<Deleting>,
}

/// How far a driven operation is, for whoever waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// At work.
    Busy,
    /// Nothing more happens for now: it waits for a time, or for its next attempt.
    Resting {
        /// Whether all that the client may wait for is done: the row is gone, or only the sweep is
        /// left, or nothing.
        settled: bool,
    },
}

/// Failed attempts in a row from which on an operation counts as stuck.
pub(super) const STUCK_AFTER: u32 = 5;

/// Drives `operation` to its end in a task of its own.
pub(super) fn drive(
    context: Arc<Context>,
    operation: Operation,
    mut memory: Memory,
) -> watch::Receiver<Progress> {
    let (report, progress) = watch::channel(Progress::Busy);
    let span = tracing::info_span!("operation", id = %operation.id, rule = %operation.plan.rule);
    let opened = memory.letters.take();
    let letters = opened.unwrap_or_else(|| context.inbox.open(operation.id));
    let driver = Driver { context, operation, memory, letters, report, rounds: 0, retried_at: 0 };
    tokio::spawn(driver.run().instrument(span));
    progress
}

/// Waits until a driven operation has done all that is due, or rests, or `deadline` has passed.
/// Gives whether all that is due is done.
pub(super) async fn settled(
    mut progress: watch::Receiver<Progress>,
    deadline: Duration,
    or_resting: bool,
) -> bool {
    let done = |progress: &Progress| match progress {
        Progress::Busy => false,
        Progress::Resting { settled } => *settled || or_resting,
    };
    let wait = tokio::time::timeout(deadline, progress.wait_for(done)).await;
    matches!(wait, Ok(Ok(at)) if *at == Progress::Resting { settled: true })
}

struct Driver {
    context: Arc<Context>,
    operation: Operation,
    memory: Memory,
    letters: Letters,
    report: watch::Sender<Progress>,
    /// Rounds of asking that told nothing new.
    rounds: u32,
    /// How many attempts had failed when the last retry was ordered: from there the backoff counts.
    retried_at: u32,
}

/// What an attempt came to.
enum Attempt {
    /// Something was seen.
    Saw(Event),
    /// Nothing was learnt.
    Failed(&'static str, String),
}

impl Driver {
    async fn run(mut self) {
        let id = self.operation.id;
        match self.carry_on().await {
            Ok(()) => {}
            Err(Halt::Journal(journal::Error::Fenced | journal::Error::NotOwned(_))) => {
                self.leave_to_others();
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
        self.context.board.remove(id);
        self.count_stuck();
        self.report.send_replace(Progress::Resting { settled: self.operation.is_finished() });
    }

    /// Another process carries the operation on; what is known only here goes to it.
    fn leave_to_others(&mut self) {
        tracing::warn!("another replica carries the operation on");
        if let Some(late) = legacy(&self.operation) {
            hand_in(&self.context, &self.operation, late);
        }
        while let Some(letter) = self.letters.waiting() {
            if let Letter::LateAnswer(CreateOutcome::Committed(id)) = letter {
                hand_in(&self.context, &self.operation, Late::Answer { id });
            }
        }
    }

    async fn carry_on(&mut self) -> Result<(), Halt> {
        loop {
            while let Some(letter) = self.letters.waiting() {
                self.read(letter).await?;
            }
            if matches!(self.operation.phase, Phase::Reported(_)) {
                // It may wait for a person for ever, and must not keep others out meanwhile.
                drop(self.memory.room.take());
            }
            let task = next(&self.operation, self.context.now(), &self.context.policy);
            match task {
                Task::Nothing => return Ok(()),
                Task::Wait(due) => self.sleep_until(due, true).await?,
                Task::Expire => {
                    self.context.take(&mut self.operation, Event::Expired).await?;
                }
                task => self.attempt(task).await?,
            }
        }
    }

    /// Makes one attempt at `task` and takes what it shows.
    async fn attempt(&mut self, task: Task) -> Result<(), Halt> {
        let context = Arc::clone(&self.context);
        context.board.does(self.operation.id, tasks::name(&task));
        // The semaphore is never closed; without it, going on unbounded is the lesser evil.
        let permit = context.calls.acquire().await.ok();
        let attempt = match self.perform(task).await {
            // The journal can't be asked for now, and what is durable is as it was.
            Err(Halt::Journal(journal::Error::Unavailable(why))) => Attempt::Failed("journal", why),
            attempt => attempt?,
        };
        drop(permit);
        match attempt {
            Attempt::Saw(event) => {
                let before = (self.operation.phase.clone(), self.operation.gone.len());
                let progressed_by = matches!(event, Event::Deregistered(_));
                let repeats_delete = matches!(event, Event::Confirmed(Presence::Present));
                match context.take(&mut self.operation, event).await {
                    // Another operation claimed the row first: look again.
                    Err(Halt::Journal(journal::Error::Taken { .. })) => {
                        return self.rest_before_next_round().await;
                    }
                    taken => taken?,
                };
                context.board.succeeded(self.operation.id);
                self.retried_at = 0;
                self.count_stuck();
                if self.row_is_gone() {
                    self.report.send_replace(Progress::Resting { settled: true });
                }
                let after = (self.operation.phase.clone(), self.operation.gone.len());
                if (before == after && !progressed_by) || repeats_delete {
                    return self.rest_before_next_round().await;
                }
                Ok(())
            }
            Attempt::Failed(call, failure) => self.rest_after_failure(call, failure).await,
        }
    }

    async fn rest_before_next_round(&mut self) -> Result<(), Halt> {
        let (now, policy) = (self.context.now(), &self.context.policy);
        let end = match self.operation.phase {
            Phase::Registered | Phase::Passed => born_by(&self.operation, policy),
            _ => look_ends(&self.operation, policy),
        };
        let delay = match self.operation.phase {
            Phase::Reported(_) => policy.bounds.late_effect,
            _ => poll_delay(self.rounds, now, end, policy),
        };
        self.rounds = self.rounds.saturating_add(1);
        self.sleep_until(now.plus(delay), false).await
    }

    async fn rest_after_failure(
        &mut self,
        call: &'static str,
        failure: String,
    ) -> Result<(), Halt> {
        self.context.metrics.failed(call);
        let attempts = self.context.board.failed(self.operation.id, failure.clone());
        self.count_stuck();
        if attempts == STUCK_AFTER {
            tracing::warn!(call, failure, "the operation is stuck; it is tried again and again");
        }
        let backoff = Backoff::new(Duration::from_millis(50), self.context.config.retry.0);
        let delay = backoff.delay(attempts.saturating_sub(self.retried_at + 1), fastrand::u64(..));
        self.sleep_until(self.context.now().plus(delay), false).await
    }

    /// Sleeps until `due`, or until a letter comes.
    async fn sleep_until(&mut self, due: Timestamp, settled: bool) -> Result<(), Halt> {
        self.context.board.sleeps_until(self.operation.id, due);
        // Who waits may look only now: what was settled stays so.
        let settled = settled || self.row_is_gone();
        self.report.send_replace(Progress::Resting { settled });
        let sleep = tokio::time::sleep(due.since(self.context.now()));
        tokio::select! {
            biased;
            Some(letter) = self.letters.next() => self.read(letter).await,
            () = sleep => Ok(()),
        }
    }

    /// Takes a letter; what is to be done is asked anew afterwards.
    async fn read(&mut self, letter: Letter) -> Result<(), Halt> {
        match letter {
            Letter::Retry => {
                self.rounds = 0;
                self.retried_at = self.context.board.attempts(self.operation.id);
                Ok(())
            }
            Letter::Evidence(late, receipt) => {
                adoption::take(&self.context, &mut self.operation, late, receipt).await
            }
            Letter::LateAnswer(outcome) => {
                match self.context.take(&mut self.operation, Event::LateAnswer(outcome)).await {
                    // The probe found the row first, for this create or for its rival.
                    Err(Halt::Journal(journal::Error::Taken { .. })) => Ok(()),
                    taken => taken.map(drop),
                }
            }
        }
    }

    /// Whether an undone row is confirmed gone, which is what the client waits to hear.
    fn row_is_gone(&self) -> bool {
        matches!(self.operation.phase, Phase::Undoing(_, Step::Deregister))
    }

    fn count_stuck(&self) {
        let stuck = self.context.board.stuck(STUCK_AFTER);
        self.context.metrics.stuck.set(i64::try_from(stuck).unwrap_or(i64::MAX));
    }
}
