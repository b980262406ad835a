//! The saga of a create (docs/DESIGN.md, section 4), up to the client's answer. What is unfinished
//! then is the driver's.

mod caller;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use tokio::sync::watch;

use self::caller::Caller;
use self::rows::judged;
use super::Saga;
use super::adoption::hand_in;
use super::board::{Letter, Note, Progress};
use super::context::{Context, Halt, Room};
use super::credentials::Credentials;
use super::driver::{Memory, drive, settled};
use super::exchange::{self, Exchange, Running};
use super::newness;
use super::operation::{Operation, Phase};
use super::outcome::{ClientGets, CreateOutcome};
use super::overlap::removers;
use super::register::Registration;
use super::reply::{self, Reply};
use super::service::Answer;
use super::settle::{Presence, is_over, until};
use super::state::{Event, Settled};
use crate::error::UndoState;
use crate::failpoint;
use crate::http::breaker::Entry;
use crate::journal::{self, Of};
use crate::model::{CreatePlan, Effect, Kind, Late, Mode, Opening, Principal, UndoReason};

/// A create whose `Prepared` is durable: the only thing that may be sent.
struct Prepared {
    context: Arc<Context>,
    operation: Operation,
    how: CreatePlan,
    principal: Option<Principal>,
    credentials: Credentials,
    room: Room,
    entry: Option<Entry>,
}

impl Saga<CreatePlan> {
    /// Serves the create.
    pub(super) async fn run(self) -> Reply {
        let caller = match self.caller().await {
            Ok(caller) => caller,
            Err(refused) => return *refused,
        };
        if caller.pass.is_none()
            && self.plan.mode == Mode::Enforce
            && newness::is_hopeless(&self.how)
        {
            self.context.metrics.refused(&self.plan.rule, "replay_key");
            return reply::replay_key(self.id);
        }
        let before = if caller.pass.is_none() { self.list_before().await } else { None };
        let Self { context, id, plan, how, request, credentials, room } = self;
        let stored = caller.principal.as_ref().map(|principal| context.resolver.stored(principal));
        let opening = Opening {
            principal: stored.unwrap_or_default(),
            pass: caller.pass,
            before,
            ..Opening::new(plan.clone(), context.now())
        };
        let operation = match context.begin(id, opening, &room).await {
            Ok(operation) => operation,
            // A process that was taken over can't tell others any more that it lets creates pass unrecorded.
            Err(halt) if plan.mode == Mode::Observe && !halt.is_fenced() => {
                tracing::error!(%halt, "an observed create goes unrecorded");
                context.metrics.exception(&plan.rule, "unrecorded");
                return exchange::pass_on(&context, id, request).await;
            }
            Err(halt) => {
                context.metrics.refused(&plan.rule, "journal");
                return reply::unavailable(id, halt);
            }
        };
        let Caller { principal, entry, .. } = caller;
        Prepared { context, operation, how, principal, credentials, room, entry }
            .send(request)
            .await
    }
}

impl Prepared {
    /// Sends the request, and goes on from the answer.
    async fn send(mut self, request: Request<Bytes>) -> Reply {
        let headers = request.headers().clone();
        let unsent = Event::CreateAnswered(CreateOutcome::NotSent);
        if let Some(refused) = exchange::refused(&self.context, &mut self.operation, unsent).await {
            return refused;
        }
        failpoint::hit("create.sending");
        let wait = self.context.config.exchange.0;
        let exchange = exchange::start(&self.context, request).within(wait).await;
        failpoint::hit("create.answered");
        let (outcome, gets) = judged(&self.context, &self.operation, &self.how, &exchange).await;
        let (answer, running) = match exchange {
            Exchange::Answered(answer) => (Some(*answer), None),
            Exchange::Failed(_) => (None, None),
            Exchange::TimedOut(running) => (None, Some(running)),
        };
        self.context.forget_refused(answer.as_ref().map(Answer::status), &headers).await;
        let late = running
            .map(|running| read_on(Arc::clone(&self.context), self.operation.clone(), running));
        let reply = self.answered(outcome, gets, answer).await;
        // Its driver, if it has one, reads what comes from now on.
        late.map(tokio::spawn);
        reply
    }

    /// Records what the answer means; what the client gets follows from where the create stands then.
    async fn answered(
        mut self,
        outcome: CreateOutcome,
        gets: ClientGets,
        answer: Option<Answer>,
    ) -> Reply {
        let id = self.operation.id;
        // The row of a success that names none can be undone only where it can be proven ours.
        let is_provable = self.operation.before.is_some();
        let unusable = if is_provable { UndoState::Pending } else { UndoState::Unknown };
        if let Err(halt) = self.decide(outcome, answer.as_ref()).await {
            tracing::error!(operation = %id, %halt, "the operation is left to recovery");
            if self.operation.plan.mode == Mode::Observe {
                self.context.metrics.exception(&self.operation.plan.rule, "unrecorded");
                return reply::classified(id, gets, answer, unusable);
            }
            return reply::not_registered(id, UndoState::Unknown);
        }
        let effect = self.operation.closed.map(|closed| closed.effect);
        let reply = match (&self.operation.phase, effect) {
            (Phase::Undoing(_), _) => return self.undo().await,
            (Phase::Registered | Phase::Passed | Phase::Finished(_), _)
            | (Phase::Unknown, Some(Effect::MayCome)) => {
                reply::classified(id, gets, answer, unusable)
            }
            // Nothing proves that the row of the answer is this create's.
            _ => reply::conflict(id),
        };
        self.leave();
        reply
    }

    /// From the answer to where the create stands: what its client may get follows from that.
    async fn decide(
        &mut self,
        outcome: CreateOutcome,
        answer: Option<&Answer>,
    ) -> Result<(), Halt> {
        if matches!(outcome, CreateOutcome::Found { .. }) {
            self.context.metrics.exception(&self.operation.plan.rule, "found");
        }
        self.take(Event::CreateAnswered(outcome)).await?;
        if self.operation.phase != Phase::Committed {
            return Ok(());
        }
        let event = self.register(answer).await;
        let event = if self.operation.is_new { event } else { self.confirmed(event).await };
        self.take(event).await
    }

    /// A row that is not proven new must be there: the service may have repeated an old answer. A read shows what was
    /// there when this create was recorded.
    async fn confirmed(&self, event: Event) -> Event {
        let (context, confirm) = (&self.context, &self.how.confirm);
        let (Event::Acknowledged { .. }, Some(id)) = (&event, &self.operation.bound) else {
            return event;
        };
        let due = self.operation.intent.plus(context.policy.lag());
        tokio::time::sleep(due.since(context.now())).await;
        match context.service.confirm(confirm, id, &self.credentials).await {
            Ok(Presence::Present) => event,
            Ok(Presence::Gone) | Err(_) => {
                Event::NotAcknowledged { reason: UndoReason::Unknown, ambiguous: true }
            }
        }
    }

    async fn register(&mut self, answer: Option<&Answer>) -> Event {
        let mut entry = self.entry.take();
        if let Some(entry) = &mut entry {
            entry.tried();
        }
        let (Some(id), Some(principal)) = (&self.operation.bound, &self.principal) else {
            // Where there is no principal the create passes before this.
            return Event::NotAcknowledged { reason: UndoReason::Refused, ambiguous: false };
        };
        let resource = self.operation.resource(id);
        let (context, credentials) = (&*self.context, &self.credentials);
        let (plan, resource) = (&self.how, &resource);
        let answer = answer.and_then(|answer| answer.document(context.config.answer.0));
        Registration { context, plan, principal, resource, credentials, answer }.run().await
    }

    /// Takes an event; an id that another operation holds becomes a conflict.
    async fn take(&mut self, event: Event) -> Result<(), Halt> {
        let observes = self.operation.plan.mode == Mode::Observe && self.operation.pass.is_none();
        match self.context.take(&mut self.operation, event).await {
            Err(Halt::Journal(journal::Error::Taken { holder, resource })) => {
                let operation = self.operation.id;
                tracing::error!(%operation, %holder, "another operation holds the id that was answered");
                // If the holder can't be read now, the rows tell later.
                let holder = self.context.operation(holder).await;
                let condemned =
                    holder.map_or(true, |one| one.is_some_and(|one| one.is_condemned()));
                let taken = Event::Taken { id: resource.id, condemned };
                self.context.take(&mut self.operation, taken).await?;
            }
            taken => taken?,
        }
        if self.operation.phase == Phase::Passed && observes {
            self.context.metrics.exception(&self.operation.plan.rule, "observed");
        }
        Ok(())
    }

    /// Hands the operation over to be undone, and waits for that a while.
    async fn undo(self) -> Reply {
        let (id, wait) = (self.operation.id, self.context.config.reply.0);
        // If the row can't be proven gone within that time, there is nothing to wait for.
        let end = until(&self.operation, &self.context.policy);
        let is_hopeless = !is_over(end, self.context.now().plus(wait));
        let undo = match settled(self.drive(), wait, is_hopeless).await {
            Progress::Resting { settled: true } => UndoState::Done,
            Progress::Resting { settled: false } | Progress::Busy => UndoState::Pending,
            Progress::Reported => UndoState::Unknown,
        };
        reply::not_registered(id, undo)
    }

    /// Goes on behind the client's back with what is unfinished.
    fn leave(self) {
        match self.operation.phase {
            Phase::Registered | Phase::Passed => {
                tokio::spawn(self.settle_if_disturbed());
            }
            Phase::Unknown | Phase::Reported(_) => _ = self.drive(),
            _ => {}
        }
    }

    /// Ends a create that stands, if no delete may mean its row. That takes no place among the calls to the
    /// service, so that many creates share one reading of the journal.
    async fn settle_if_disturbed(mut self) {
        let id = self.operation.id;
        let undisturbed = match self.context.others(&self.operation, Of::Deletes).await {
            Ok(deletes) => {
                removers(&self.operation, &deletes, &self.context.policy).next().is_none()
            }
            // The driver asks again.
            Err(_) => false,
        };
        if !undisturbed {
            self.drive();
            return;
        }
        let over = Event::Settled(Settled { gone: BTreeSet::new(), over: true });
        if let Err(halt) = self.context.take(&mut self.operation, over).await {
            tracing::error!(operation = %id, %halt, "the operation is left to recovery");
        }
    }

    fn drive(self) -> watch::Receiver<Note> {
        let Self { context, operation, credentials, principal, room, .. } = self;
        let memory = Memory { credentials, principal, room: Some(room), ..Memory::default() };
        drive(context, operation, memory)
    }
}

/// Reads an exchange that timed out until L has passed: a late id is evidence.
async fn read_on(context: Arc<Context>, operation: Operation, running: Running) {
    let Kind::Create(plan) = &operation.plan.kind else { return };
    let exchange = running.within(context.config.late_effect.0).await;
    let (CreateOutcome::Committed(id), _) = judged(&context, &operation, plan, &exchange).await
    else {
        return;
    };
    failpoint::hit("create.late");
    let late = Late::Row { id: id.clone() };
    // Nobody here reads it any more where the operation ended, or is another replica's.
    if !context.board.post(operation.id, Letter::Evidence(late.clone(), None)).await {
        tracing::warn!(operation = %operation.id, row = %id, "a late answer names a row");
        hand_in(&context, &operation, late);
    }
}
