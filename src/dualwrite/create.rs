//! The saga of a create (docs/DESIGN.md, section 4), up to the client's answer. What is unfinished
//! then is the driver's.

mod caller;
mod rows;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};

use self::caller::Caller;
use self::rows::judged;
use super::adoption::hand_in;
use super::board::{Letter, Progress};
use super::context::{Context, Halt, Room};
use super::credentials::Credentials;
use super::driver::{Memory, drive, settled};
use super::exchange::{self, Exchange, Running};
use super::newness;
use super::operation::{Operation, Phase};
use super::outcome::{self, CreateOutcome};
use super::overlap::removers;
use super::register::{Parent, Registration, look_up};
use super::reply::{self, Reply};
use super::service::Answer;
use super::settle::{Presence, is_over, until};
use super::state::{self, Event, Settled};
use crate::error::UndoState;
use crate::failpoint;
use crate::http::breaker::Entry;
use crate::journal::{self, Of};
use crate::model::{
    CreatePlan, Kind, Late, Mode, OperationId, Plan, Principal, Record, ResourceId, UndoReason,
};

/// A create that is about to begin.
pub(super) struct Create {
    pub(super) context: Arc<Context>,
    pub(super) id: OperationId,
    pub(super) plan: Plan,
    /// The part of the plan that is about creates.
    pub(super) how: CreatePlan,
    pub(super) request: Request<Bytes>,
    pub(super) credentials: Credentials,
    pub(super) room: Room,
}

/// A create whose `Prepared` is durable: the only thing that may be sent.
struct Prepared {
    context: Arc<Context>,
    operation: Operation,
    how: CreatePlan,
    headers: HeaderMap,
    principal: Option<Principal>,
    credentials: Credentials,
    room: Room,
    entry: Option<Entry>,
}

impl Create {
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
        let record = Record::Prepared {
            plan: plan.clone(),
            intent: context.now(),
            principal: stored.unwrap_or_default(),
            pass: caller.pass,
            before,
        };
        let operation = match context.begin(id, vec![record], &room).await {
            Ok(operation) => operation,
            // A process that was taken over can't tell others any more that it lets creates pass unrecorded.
            Err(halt) if plan.mode == Mode::Observe && !halt.is_fenced() => {
                tracing::error!(%halt, "an observed create goes unrecorded");
                context.metrics.exception(&plan.rule, "unrecorded");
                return exchange::pass_on(&context, id, request).await;
            }
            Err(halt) => {
                context.metrics.refused(&plan.rule, "journal");
                return reply::unavailable(id, format!("{halt}; nothing was sent"));
            }
        };
        let headers = request.headers().clone();
        let Caller { principal, entry, .. } = caller;
        Prepared { context, operation, how, headers, principal, credentials, room, entry }
            .send(request)
            .await
    }
}

/// Runs two things at once. Where the first is done and shows that the second is `needed`, that is
/// waited for, for at most `longest`; else it is given up, so that a refusal waits for no look-up.
async fn beside<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = Option<B>>,
    needed: impl FnOnce(&A) -> bool,
    longest: Duration,
) -> (A, Option<B>) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let done = tokio::select! {
        biased;
        done = &mut first => done,
        beside = &mut second => return (first.await, beside),
    };
    let wait = if needed(&done) { longest } else { Duration::ZERO };
    let beside = tokio::time::timeout(wait, second).await.ok().flatten();
    (done, beside)
}

impl Prepared {
    /// Sends the request, and the parent's look-up beside it, and goes on from the answer.
    async fn send(mut self, request: Request<Bytes>) -> Reply {
        if let Err((reason, why)) = self.context.may_send(&self.operation).await {
            return self.unsent(reason, &why).await;
        }
        failpoint::hit("create.sending");
        let exchange = exchange::start(&self.context, request);
        let wait = exchange.within(self.context.config.exchange.0);
        let limit = self.context.config.answer.0;
        let classified =
            |exchange: &Exchange| outcome::create(&exchange.seen(Some(&self.how.id), limit));
        let committed =
            |exchange: &Exchange| matches!(classified(exchange).0, CreateOutcome::Committed(_));
        let (exchange, parent) =
            beside(wait, self.look_up(), committed, self.context.register).await;
        failpoint::hit("create.answered");
        let (outcome, gets) = classified(&exchange);
        let outcome = judged(&self.context, &self.operation, &exchange, outcome).await;
        let (answer, running) = match exchange {
            Exchange::Answered(answer) => (Some(*answer), None),
            Exchange::Failed(_) => (None, None),
            Exchange::TimedOut(running) => (None, Some(running)),
        };
        let document = answer.as_ref().and_then(|answer| answer.document(limit));
        let parent = parent.unwrap_or_else(|| Parent::read(&self.how, document.as_ref()));
        self.context.forget_refused(answer.as_ref().map(Answer::status), &self.headers).await;
        let id = self.operation.id;
        match self.decide(outcome, parent).await {
            Ok(state::Reply::Success | state::Reply::AsClassified) => {
                let unusable = self.fate_of_unnamed();
                self.leave(running);
                reply::classified(id, gets, answer, unusable)
            }
            Ok(state::Reply::NotRegistered) => self.undo().await,
            Ok(state::Reply::Conflict) => {
                self.leave(running);
                reply::conflict(id)
            }
            Err(halt) => {
                tracing::error!(operation = %id, %halt, "the operation is left to recovery");
                if let Some(running) = running {
                    let context = Arc::clone(&self.context);
                    tokio::spawn(read_on(context, self.operation.clone(), running));
                }
                if self.operation.plan.mode == Mode::Observe {
                    self.context.metrics.exception(&self.operation.plan.rule, "unrecorded");
                    return reply::classified(id, gets, answer, self.fate_of_unnamed());
                }
                reply::not_registered(id, UndoState::Unknown)
            }
        }
    }

    /// What becomes of the row of a success that names none: it can be undone only where it can
    /// be proven ours.
    fn fate_of_unnamed(&self) -> UndoState {
        if self.operation.before.is_some() { UndoState::Pending } else { UndoState::Unknown }
    }

    async fn unsent(mut self, reason: &'static str, why: &str) -> Reply {
        let (id, rule) = (self.operation.id, self.operation.plan.rule.clone());
        let event = Event::CreateAnswered(CreateOutcome::NotSent, None);
        // Otherwise its rows are looked for.
        drop(self.context.take(&mut self.operation, event).await);
        self.context.metrics.refused(&rule, reason);
        reply::unavailable(id, format!("{why}; nothing was sent"))
    }

    async fn look_up(&self) -> Option<Parent> {
        if self.operation.pass.is_some() {
            return None;
        }
        look_up(&self.context, &self.how, &self.credentials).await
    }

    /// From the answer to what the client may get.
    async fn decide(
        &mut self,
        outcome: CreateOutcome,
        parent: Parent,
    ) -> Result<state::Reply, Halt> {
        let named = match &outcome {
            CreateOutcome::Committed(id)
            | CreateOutcome::Found { id, .. }
            | CreateOutcome::Disputed(id)
            | CreateOutcome::Unproven { id, .. } => Some(id.clone()),
            CreateOutcome::NotSent | CreateOutcome::Rejected | CreateOutcome::Unknown => None,
        };
        if matches!(outcome, CreateOutcome::Found { .. }) {
            self.context.metrics.exception(&self.operation.plan.rule, "found");
        }
        let event = Event::CreateAnswered(outcome, parent.resource().cloned());
        if let Some(reply) = self.take(event, named.as_ref()).await? {
            return Ok(reply);
        }
        let event = self.register(parent).await;
        let event = if self.operation.is_new { event } else { self.confirmed(event).await };
        // Every event of a committed create has a reply; silence would mean that none is safe.
        Ok(self.take(event, named.as_ref()).await?.unwrap_or(state::Reply::NotRegistered))
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

    async fn register(&mut self, parent: Parent) -> Event {
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
        let plan = &self.how;
        Registration { context, plan, principal, resource: &resource, credentials }
            .run(parent)
            .await
    }

    /// Takes an event; an id that another operation holds becomes a conflict.
    async fn take(
        &mut self,
        event: Event,
        id: Option<&ResourceId>,
    ) -> Result<Option<state::Reply>, Halt> {
        let observes = self.operation.plan.mode == Mode::Observe && self.operation.pass.is_none();
        let taken = match (self.context.take(&mut self.operation, event).await, id) {
            (Err(Halt::Journal(journal::Error::Taken { holder, .. })), Some(id)) => {
                let operation = self.operation.id;
                tracing::error!(%operation, %holder, "another operation holds the id that was answered");
                // If the holder can't be read now, the rows tell later.
                let holder = self.context.operation(holder).await;
                let condemned =
                    holder.map_or(true, |one| one.is_some_and(|one| one.is_condemned()));
                let taken = Event::Taken { id: id.clone(), condemned };
                self.context.take(&mut self.operation, taken).await
            }
            (taken, _) => taken,
        };
        let reply = taken?.reply;
        if self.operation.phase == Phase::Passed && observes {
            self.context.metrics.exception(&self.operation.plan.rule, "observed");
        }
        Ok(reply)
    }

    /// Hands the operation over to be undone, and waits for that a while.
    async fn undo(self) -> Reply {
        let (id, wait) = (self.operation.id, self.context.config.reply.0);
        // If the row can't be proven gone within that time, there is nothing to wait for.
        let end = until(&self.operation, &self.context.policy);
        let is_hopeless = !is_over(end, self.context.now().plus(wait));
        let (context, operation, memory) = self.hand_over();
        match settled(drive(context, operation, memory), wait, is_hopeless).await {
            Progress::Resting { settled: true } => reply::not_registered(id, UndoState::Done),
            Progress::Resting { settled: false } | Progress::Busy => {
                reply::not_registered(id, UndoState::Pending)
            }
            Progress::Reported => reply::not_registered(id, UndoState::Unknown),
            Progress::Discarded => reply::discarded(id),
        }
    }

    /// Goes on behind the client's back with what is unfinished.
    fn leave(self, running: Option<Running>) {
        match self.operation.phase {
            Phase::Registered | Phase::Passed => {
                tokio::spawn(self.settle_if_disturbed());
            }
            Phase::Unknown | Phase::Reported(_) => {
                let (context, operation, memory) = self.hand_over();
                drive(Arc::clone(&context), operation.clone(), memory);
                if let Some(running) = running {
                    tokio::spawn(read_on(context, operation, running));
                }
            }
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
            let (context, operation, memory) = self.hand_over();
            drive(context, operation, memory);
            return;
        }
        let over = Event::Settled(Settled { gone: BTreeSet::new(), over: true });
        if let Err(halt) = self.context.take(&mut self.operation, over).await {
            tracing::error!(operation = %id, %halt, "the operation is left to recovery");
        }
    }

    fn hand_over(self) -> (Arc<Context>, Operation, Memory) {
        let Self { context, operation, credentials, principal, room, .. } = self;
        let memory = Memory { credentials, principal, room: Some(room), ..Memory::default() };
        (context, operation, memory)
    }
}

/// Reads an exchange that timed out until L has passed: a late id is evidence.
async fn read_on(context: Arc<Context>, operation: Operation, running: Running) {
    let Kind::Create(plan) = &operation.plan.kind else { return };
    let exchange = running.within(context.config.late_effect.0).await;
    let outcome = outcome::create(&exchange.seen(Some(&plan.id), context.config.answer.0)).0;
    let outcome = judged(&context, &operation, &exchange, outcome).await;
    let row = match &outcome {
        CreateOutcome::Committed(id) => {
            failpoint::hit("create.late");
            Some(id.clone())
        }
        _ => None,
    };
    // Nobody here reads it any more where the operation ended, or is another replica's.
    if !context.board.post(operation.id, Letter::LateAnswer(outcome)).await
        && let Some(id) = row
    {
        tracing::warn!(operation = %operation.id, row = %id, "a late answer names a row");
        hand_in(&context, &operation, Late::Row { id });
    }
}
