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
use super::board::{Letter, Note, Progress, Sheet};
use super::context::{Context, Halt, Room};
use super::credentials::Credentials;
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

impl Memory {
    /// What was sent for the row until now may land as late as L.
    fn may_land(&mut self, context: &Context) {
        let end = context.now().plus(context.policy.bounds.late_effect);
        self.landing = self.landing.max(Some(end));
    }
}

/// Drives `operation` to its end in a task of its own.
pub(super) fn drive(
    context: Arc<Context>,
    operation: Operation,
    memory: Memory,
) -> watch::Receiver<Note> {
    let span = tracing::info_span!("operation", id = %operation.id, rule = %operation.plan.rule);
    let sheet = context.board.begin(&operation);
    let progress = sheet.note.subscribe();
    let driver = Driver {
        context,
        operation,
        memory,
        sheet,
        rounds: 0,
        refusals: 0,
        retried_at: 0,
        undo_is_due: true,
        undo_accepted: None,
        nothing_before: None,
    };
    tokio::spawn(driver.run().instrument(span));
    progress
}

/// Waits until a driven operation has done all that is due, or rests, or `deadline` has passed.
/// Gives how far it is then.
pub(super) async fn settled(
    mut progress: watch::Receiver<Note>,
    deadline: Duration,
    or_resting: bool,
) -> Progress {
    let done = |note: &Note| match note.progress {
        Progress::Busy => false,
        Progress::Resting { settled } => settled || or_resting,
        Progress::Reported => true,
    };
    match tokio::time::timeout(deadline, progress.wait_for(done)).await {
        Ok(Ok(note)) => note.progress,
        _ => Progress::Busy,
    }
}

struct Driver {
    context: Arc<Context>,
    operation: Operation,
    memory: Memory,
    sheet: Sheet,
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

/// Why an attempt showed nothing.
enum Trouble {
    /// This call failed, for this reason.
    Failed(&'static str, String),
    /// It can't be carried on here.
    Halt(Halt),
}

/// Until when there is nothing to be done, unless a letter comes.
#[derive(Default)]
struct Rest {
    /// This time; else only a person can end it.
    due: Option<Timestamp>,
    /// Earlier, if the neighbour comes back at which the last attempt failed.
    returns: Option<watch::Receiver<u64>>,
}

impl From<Halt> for Trouble {
    fn from(halt: Halt) -> Self {
        match halt {
            // The journal can't be asked for now, and what is durable is as it was.
            Halt::Journal(
                error @ (journal::Error::Unavailable(_) | journal::Error::Full { .. }),
            ) => Self::Failed("journal", error.to_string()),
            halt => Self::Halt(halt),
        }
    }
}

impl Driver {
    async fn run(mut self) {
        match self.carry_on().await {
            Ok(()) => {}
            Err(Halt::Journal(journal::Error::Fenced | journal::Error::NotOwned(_))) => {
                tracing::warn!("another replica carries the operation on");
            }
            Err(halt) => tracing::error!(
                %halt,
                "the operation stops here; its records are kept, and a restart recovers it"
            ),
        }
        adoption::forward(&self.context, &self.operation, &mut self.sheet.letters);
        self.progresses(if self.operation.is_discarded() {
            Progress::Reported
        } else {
            Progress::Resting { settled: self.operation.is_finished() }
        });
    }

    async fn carry_on(&mut self) -> Result<(), Halt> {
        loop {
            while let Ok(letter) = self.sheet.letters.try_recv() {
                self.read(letter).await?;
            }
            if matches!(self.operation.phase, Phase::Reported(_)) {
                // It may wait for a person for ever, and must not keep others out meanwhile.
                drop(self.memory.room.take());
            }
            let task = next(&self.operation, self.context.now(), &self.context.policy);
            let rest = match task {
                Task::Nothing if self.operation.is_finished() => return Ok(()),
                Task::Nothing => Some(Rest::default()),
                Task::Wait(due) => Some(Rest { due: Some(due), returns: None }),
                Task::Expire => {
                    self.take(Event::Expired).await?;
                    None
                }
                Task::Make(call) => self.attempt(call).await?,
            };
            if let Some(rest) = rest {
                self.rest(rest).await?;
            }
        }
    }

    async fn saw(&mut self, event: Event) -> Result<Option<Rest>, Halt> {
        let stage = |operation: &Operation| {
            (operation.phase.clone(), operation.gone.len(), operation.deregistered.len())
        };
        let before = stage(&self.operation);
        self.take(event).await?;
        self.sheet.note.send_modify(|note| {
            note.attempts = 0;
            note.failure = None;
        });
        self.retried_at = 0;
        if self.operation.is_row_gone() {
            self.progresses(Progress::Resting { settled: true });
        }
        Ok((before == stage(&self.operation)).then(|| self.next_round()))
    }

    /// Takes an event, and notes where the operation stands then.
    async fn take(&mut self, event: Event) -> Result<(), Halt> {
        self.context.take(&mut self.operation, event).await?;
        let reported = matches!(self.operation.phase, Phase::Reported(_));
        self.sheet.note.send_modify(|note| note.reported = reported);
        Ok(())
    }

    fn progresses(&self, progress: Progress) {
        self.sheet.note.send_modify(|note| note.progress = progress);
    }

    fn next_round(&mut self) -> Rest {
        let (now, policy) = (self.context.now(), &self.context.policy);
        if let Some(time) = self.nothing_before.take().filter(|time| *time > now) {
            return Rest { due: Some(time), ..Rest::default() };
        }
        let end = until(&self.operation, policy).unwrap_or(now);
        let delay = match self.operation.phase {
            Phase::Reported(_) => policy.bounds.late_effect,
            _ => poll_delay(self.rounds, now, end, policy),
        };
        self.rounds = self.rounds.saturating_add(1);
        Rest { due: Some(now.plus(delay)), ..Rest::default() }
    }

    async fn rest(&mut self, rest: Rest) -> Result<(), Halt> {
        let Rest { due, returns } = rest;
        let progress = match self.operation.phase {
            Phase::Reported(_) => Progress::Reported,
            // Who waits may look only now: what was settled stays so.
            _ => Progress::Resting { settled: self.operation.is_row_gone() },
        };
        self.sheet.note.send_modify(|note| {
            note.next = due;
            note.waits_for = None;
            note.progress = progress;
        });
        let now = self.context.now();
        let sleep = async {
            match due {
                Some(due) => tokio::time::sleep(due.since(now)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(letter) = self.sheet.letters.recv() => self.read(letter).await,
            () = sleep => Ok(()),
            () = returned(returns) => Ok(()),
        }
    }

    /// Takes a letter; what is to be done is asked anew afterwards.
    async fn read(&mut self, letter: Letter) -> Result<(), Halt> {
        match letter {
            // It ended meanwhile: the evidence begins another one.
            Letter::Evidence(late, receipt) if self.operation.is_finished() => {
                adoption::pass_on(&self.context, &self.operation, late, receipt);
                Ok(())
            }
            Letter::Evidence(late, receipt) => {
                match self.take(Event::Evidence(late.clone())).await {
                    Ok(()) => {}
                    // That one removes the row, or it is another create's.
                    Err(Halt::Journal(journal::Error::Taken { holder, resource })) => {
                        tracing::warn!(%holder, %resource, "the row that was named late has another operation");
                    }
                    Err(halt) => {
                        adoption::pass_on(&self.context, &self.operation, late, receipt);
                        return Err(halt);
                    }
                }
                if let Some(receipt) = receipt {
                    adoption::settle(&self.context, receipt).await;
                }
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
        self.retried_at = self.sheet.note.borrow().attempts;
        if let Task::Make(call) = next(&self.operation, self.context.now(), &self.context.policy) {
            turn::needed(&self.context, &call).0.circuit.expect_success();
        }
    }
}

/// Waits until a neighbour is back, if there is one to wait for.
async fn returned(returns: Option<watch::Receiver<u64>>) {
    let Some(mut returns) = returns else { return pending().await };
    if returns.changed().await.is_err() {
        pending::<()>().await;
    }
}
