//! Carries unfinished operations to their end: asks the pure core what an operation needs, does
//! it, and feeds back what it saw. The same loop serves the saga that just failed and the one
//! that recovery found, so recovery is exercised all the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::Instrument;

use super::claim::{Sighting, candidates, judge, owed_by};
use super::context::{Context, Deleting, Halt, Room};
use super::credentials::Credentials;
use super::operation::{Operation, Phase, Step};
use super::outcome::CreateOutcome;
use super::service::CallError;
use super::state::{Look, Task, effect_ends, next, poll_delay};
use super::{Event, Presence};
use crate::failpoint;
use crate::journal::{self, Of};
use crate::model::{Backoff, DeletePlan, Kind, Principal, ResourceId, Timestamp};

/// What this process knows of an operation and the journal does not.
#[derive(Default)]
pub(super) struct Memory {
    /// The caller's headers.
    pub(super) credentials: Credentials,
    /// The caller's principal.
    pub(super) principal: Option<Principal>,
    /// A create's answer that came after its time-out.
    pub(super) late: Option<oneshot::Receiver<CreateOutcome>>,
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
    memory: Memory,
) -> watch::Receiver<Progress> {
    let (report, progress) = watch::channel(Progress::Busy);
    let span = tracing::info_span!("operation", id = %operation.id, rule = %operation.plan.rule);
    let driver = Driver { context, operation, memory, report, rounds: 0 };
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

/// A task as operators see it.
fn name(task: &Task) -> &'static str {
    match task {
        Task::Nothing | Task::Wait(_) | Task::Expire => "wait",
        Task::Probe => "list the rows that may be this create's",
        Task::Delete(_) => "send the undo's DELETE",
        Task::Confirm(_) => "ask whether the row exists",
        Task::Look => "look at the rows that may be gone",
        Task::Deregister(_) => "deregister what is gone",
    }
}

struct Driver {
    context: Arc<Context>,
    operation: Operation,
    memory: Memory,
    report: watch::Sender<Progress>,
    /// Rounds of asking that told nothing new.
    rounds: u32,
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

    async fn carry_on(&mut self) -> Result<(), Halt> {
        loop {
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
        context.board.does(self.operation.id, name(&task));
        // The semaphore is never closed; without it, going on unbounded is the lesser evil.
        let permit = context.calls.acquire().await.ok();
        let attempt = self.perform(task).await?;
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

    async fn perform(&mut self, task: Task) -> Result<Attempt, Halt> {
        Ok(match task {
            Task::Probe => return self.probe().await,
            Task::Look => return self.look().await,
            Task::Delete(id) => self.delete(&id).await,
            Task::Confirm(id) => self.confirm(&id).await,
            Task::Deregister(ids) => self.deregister(ids).await,
            Task::Nothing | Task::Wait(_) | Task::Expire => Attempt::Saw(Event::Restarted),
        })
    }

    async fn delete(&mut self, id: &ResourceId) -> Attempt {
        let Kind::Create(plan) = &self.operation.plan.kind else {
            return Attempt::Failed("undo", "a delete has nothing to undo".into());
        };
        match self.context.service.undo(&plan.undo, id, &self.memory.credentials).await {
            Ok(()) => Attempt::Saw(Event::Removed),
            Err(error) => self.failed("undo", &error),
        }
    }

    async fn confirm(&mut self, id: &ResourceId) -> Attempt {
        let confirm = match &self.operation.plan.kind {
            Kind::Create(plan) => &plan.confirm,
            Kind::Delete(plan) => plan.confirm(),
        };
        match self.context.service.confirm(confirm, id, &self.memory.credentials).await {
            Ok(presence) => Attempt::Saw(Event::Confirmed(presence)),
            Err(error) => self.failed("confirm", &error),
        }
    }

    /// A call failed. Where the service does not (or no longer) accept the caller, the service's own
    /// credentials take over, as they do after a crash.
    fn failed(&mut self, call: &'static str, error: &CallError) -> Attempt {
        if error.is_denied() && self.context.service.has_credentials() {
            self.memory.credentials = Credentials::default();
        }
        Attempt::Failed(call, error.to_string())
    }

    /// Deregisters with the caller's principal, else what is stored of it, else the configured
    /// one; the configured one also where the back end does not take the other.
    async fn deregister(&self, ids: BTreeSet<ResourceId>) -> Attempt {
        let stand_in = self.context.resolver.deregister_as();
        let own = self.memory.principal.clone().or_else(|| self.operation.principal.to_principal());
        for id in &ids {
            let resource = self.operation.resource(id);
            let first = own.as_ref().unwrap_or(stand_in);
            failpoint::hit("deregister.sending");
            let mut result = self.context.authorizer.deregister(first, &resource).await;
            failpoint::hit("deregister.answered");
            if matches!(&result, Err(error) if !error.kind.retry()) && own.is_some() {
                result = self.context.authorizer.deregister(stand_in, &resource).await;
            }
            if let Err(error) = result {
                return Attempt::Failed("deregister", format!("{resource}: {error}"));
            }
        }
        Attempt::Saw(Event::Deregistered(ids))
    }

    /// Looks for rows of a create whose outcome is unknown.
    async fn probe(&mut self) -> Result<Attempt, Halt> {
        let asked = self.context.now();
        let Kind::Create(plan) = &self.operation.plan.kind else {
            return Ok(Attempt::Failed("probe", "a delete is not probed for".into()));
        };
        let Some(probe) = &plan.probe else {
            let why = "the rule has no probe that could find the row".to_owned();
            let verdict = super::Verdict::Unprovable { rows: Vec::new(), why };
            return Ok(Attempt::Saw(Event::Probed(verdict, asked)));
        };
        let rows = match self.context.service.list(probe, &self.memory.credentials).await {
            Ok(rows) => rows,
            Err(error) => return Ok(self.failed("probe", &error)),
        };
        let at = self.context.now();
        let mut others = self.context.others(&self.operation, Of::Creates).await?;
        for row in &rows {
            let holder = self.context.holder(&self.operation.resource(&row.id)).await?;
            if let Some(holder) = holder.filter(|holder| holder.id != self.operation.id) {
                if let Some(created_at) = row.created_at {
                    self.context.observe_clock(&holder, created_at, at);
                }
                others.push(holder);
            }
        }
        let seen = Sighting { at, others: &others, skewed: self.context.is_skewed() };
        let verdict = judge(&self.operation, &rows, &seen, &self.context.policy);
        Ok(Attempt::Saw(Event::Probed(verdict, asked)))
    }

    /// Looks at the rows that a delete may have removed: its targets, and what creates beside it
    /// made.
    async fn look(&mut self) -> Result<Attempt, Halt> {
        let asked = self.context.now();
        let Kind::Delete(plan) = &self.operation.plan.kind else {
            return Ok(Attempt::Failed("confirm", "a create has no targets".into()));
        };
        let (creates, deletes) = match plan {
            DeletePlan::ById { .. } => (Vec::new(), Vec::new()),
            DeletePlan::ByProbe { .. } => (
                self.context.others(&self.operation, Of::Creates).await?,
                self.context.others(&self.operation, Of::Deletes).await?,
            ),
        };
        let (ids, open) = candidates(&self.operation, &creates, &self.context.policy);
        let mut gone = self.operation.gone.clone();
        let owed = owed_by(creates.iter().chain(&deletes));
        let left: BTreeSet<_> = &(&ids - &gone) - &owed;
        let listed = self.listed(plan, left.len()).await;
        for id in left.difference(&listed) {
            let confirm =
                self.context.service.confirm(plan.confirm(), id, &self.memory.credentials);
            match confirm.await {
                Ok(Presence::Gone) => _ = gone.insert(id.clone()),
                Ok(Presence::Present) => {}
                Err(error) => return Ok(self.failed("confirm", &error)),
            }
        }
        let complete = !open && left.is_subset(&gone);
        Ok(Attempt::Saw(Event::Looked(Look { asked, gone, complete })))
    }

    /// Which rows a list shows to be there, so that only the others need a question each. No
    /// list, no saving: then each row is asked for.
    async fn listed(&self, plan: &DeletePlan, left: usize) -> BTreeSet<ResourceId> {
        let DeletePlan::ByProbe { probe, .. } = plan else { return BTreeSet::new() };
        if left < 2 {
            return BTreeSet::new();
        }
        let rows = self.context.service.list(probe, &self.memory.credentials).await;
        rows.unwrap_or_default().into_iter().map(|row| row.id).collect()
    }

    async fn rest_before_next_round(&mut self) -> Result<(), Halt> {
        let (now, policy) = (self.context.now(), &self.context.policy);
        let end = effect_ends(&self.operation, policy);
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
        let delay = backoff.delay(attempts.saturating_sub(1), fastrand::u64(..));
        self.sleep_until(self.context.now().plus(delay), false).await
    }

    /// Sleeps until `due`, or until late evidence comes.
    async fn sleep_until(&mut self, due: Timestamp, settled: bool) -> Result<(), Halt> {
        self.context.board.sleeps_until(self.operation.id, due);
        // Who waits may look only now: what was settled stays so.
        let settled = settled || self.row_is_gone();
        self.report.send_replace(Progress::Resting { settled });
        let sleep = tokio::time::sleep(due.since(self.context.now()));
        let Some(late) = &mut self.memory.late else {
            sleep.await;
            return Ok(());
        };
        tokio::select! {
            biased;
            outcome = late => {
                self.memory.late = None;
                let Ok(outcome) = outcome else { return Ok(()) };
                match self.context.take(&mut self.operation, Event::LateAnswer(outcome)).await {
                    // The probe found the row first, for this create or for its rival.
                    Err(Halt::Journal(journal::Error::Taken { .. })) => Ok(()),
                    taken => taken.map(drop),
                }
            }
            () = sleep => Ok(()),
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
