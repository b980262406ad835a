//! The saga of a delete (docs/DESIGN.md, section 6): best effort towards the client, at least once
//! towards the back end.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use tracing::Instrument;

use super::Event;
use super::context::{Context, Halt, Room};
use super::credentials::Credentials;
use super::driver::{Memory, drive, settled};
use super::exchange;
use super::operation::Operation;
use super::outcome::{self, DeleteOutcome};
use super::reply::{self, Reply};
use super::service::{Answer, CallError, Found};
use crate::error::{Kind, Problem, UndoState};
use crate::failpoint;
use crate::model::{
    Confirm, DeletePlan, Mode, OperationId, Plan, Principal, Probe, Record, ResourceId, Timestamp,
};

/// A delete that is about to begin.
pub(super) struct Delete {
    pub(super) context: Arc<Context>,
    pub(super) id: OperationId,
    pub(super) plan: Plan,
    /// The part of the plan that is about deletes.
    pub(super) how: DeletePlan,
    pub(super) request: Request<Bytes>,
    pub(super) credentials: Credentials,
    pub(super) room: Room,
}

/// What the probe before a delete came to.
enum Before {
    /// These rows may be removed.
    Targets { ids: Vec<ResourceId>, seen: bool },
    /// The service refused the question in its own words, which are the client's answer too.
    Refused(Box<Reply>),
    /// The question could not be asked: the delete is refused, not guessed.
    Failed(String),
}

impl Delete {
    /// Serves the delete.
    pub(super) async fn run(self) -> Reply {
        // A row that the list lacks may be made from now on.
        let began = self.context.now();
        let resolve = async { self.context.resolver.resolve(self.request.headers()).await.ok() };
        let (before, resolved) = tokio::join!(self.probe(), resolve);
        let principal = resolved.map(|resolved| resolved.principal);
        let observes = self.plan.mode == Mode::Observe;
        let record = match before {
            Before::Targets { ids, seen } => Record::Targets { ids, seen },
            Before::Refused(_) | Before::Failed(_) if observes => {
                return self.unrecorded("observed_probe").await;
            }
            Before::Refused(answer) => {
                self.context.metrics.refused(&self.plan.rule, "probe_refused");
                self.context.forget_refused(Some(answer.status()), self.request.headers()).await;
                return *answer;
            }
            Before::Failed(why) => return self.refuse("probe", &why),
        };
        match self.begin(began, principal.as_ref(), record).await {
            Ok(operation) => self.send(operation, principal).await,
            Err(_) if observes => self.unrecorded("unrecorded").await,
            Err(halt) => self.refuse("journal", &halt.to_string()),
        }
    }

    fn refuse(self, reason: &'static str, why: &str) -> Reply {
        self.context.metrics.refused(&self.plan.rule, reason);
        reply::unavailable(self.id, format!("{why}; nothing was sent"))
    }

    async fn unrecorded(self, exception: &'static str) -> Reply {
        tracing::warn!(rule = self.plan.rule, exception, "an observed delete goes unrecorded");
        self.context.metrics.exception(&self.plan.rule, exception);
        self.pass_on().await
    }

    async fn pass_on(self) -> Reply {
        exchange::pass_on(&self.context, self.id, self.request).await
    }

    /// Asks the service which rows the request means.
    async fn probe(&self) -> Before {
        match &self.how {
            DeletePlan::ById { id, confirm } => self.probe_by_id(id, confirm).await,
            DeletePlan::ByProbe { probe, .. } => self.probe_by_list(probe).await,
        }
    }

    async fn probe_by_id(&self, id: &ResourceId, confirm: &Confirm) -> Before {
        let asked = self.context.service.find(confirm, id, &self.credentials).await;
        let (target, seen) = match asked {
            Ok(Found::Row) => (id.clone(), true),
            Ok(Found::Other(other)) => (other, false),
            // The row may be made while the DELETE is on its way, or not to be seen yet.
            Ok(Found::None) => (id.clone(), false),
            Err(error) => return cannot_tell(error),
        };
        Before::Targets { ids: vec![target], seen }
    }

    async fn probe_by_list(&self, probe: &Probe) -> Before {
        let rows = match self.context.service.list(probe, &self.credentials).await {
            Ok(rows) => rows,
            Err(error) => return cannot_tell(error),
        };
        let ids = rows.into_iter().map(|row| row.id).collect();
        Before::Targets { ids, seen: false }
    }

    async fn begin(
        &self,
        intent: Timestamp,
        principal: Option<&Principal>,
        targets: Record,
    ) -> Result<Operation, Halt> {
        let stored = principal.map(|principal| self.context.resolver.stored(principal));
        let prepared = Record::Prepared {
            plan: self.plan.clone(),
            intent,
            principal: stored.unwrap_or_default(),
            pass: None,
            before: None,
        };
        self.context.begin(self.id, vec![prepared, targets], &self.room).await
    }

    /// Sends the DELETE, whose targets are durable, and goes on from the answer.
    async fn send(self, mut operation: Operation, principal: Option<Principal>) -> Reply {
        let Self { context, id, request, credentials, room, .. } = self;
        let headers = request.headers().clone();
        if let Err((reason, why)) = context.may_send(&operation).await {
            // Otherwise its rows are looked at.
            let event = Event::DeleteAnswered(DeleteOutcome::NotSent);
            drop(context.take(&mut operation, event).await);
            context.metrics.refused(&operation.plan.rule, reason);
            return reply::unavailable(id, format!("{why}; nothing was sent"));
        }
        failpoint::hit("delete.sending");
        let exchange = exchange::start(&context, request).within(context.config.exchange.0).await;
        failpoint::hit("delete.answered");
        let (outcome, gets) = outcome::delete(&exchange.seen(None, context.config.answer.0));
        let answer = exchange.into_answer();
        context.forget_refused(answer.as_ref().map(Answer::status), &headers).await;
        let wait = context.config.inline_deregister.0;
        let memory = Memory { credentials, principal, room: Some(room), ..Memory::default() };
        let over = tokio::spawn(go_on(context, operation, outcome, memory).in_current_span());
        // The client waits for the journal no longer than for the back end.
        drop(tokio::time::timeout(wait, over).await);
        reply::classified(id, gets, answer, UndoState::Unknown)
    }
}

/// Records what the answer means, and settles the rows until that is done or nothing more happens for now.
async fn go_on(
    context: Arc<Context>,
    mut operation: Operation,
    outcome: DeleteOutcome,
    memory: Memory,
) {
    let wait = context.config.inline_deregister.0;
    match context.take(&mut operation, Event::DeleteAnswered(outcome)).await {
        Ok(()) if operation.is_finished() => {}
        Ok(()) => _ = settled(drive(context, operation, memory), wait, true).await,
        Err(halt) => {
            tracing::error!(operation = %operation.id, %halt, "the operation is left to recovery");
        }
    }
}

/// A refusal in the service's own words goes to the client, who would have got it for the DELETE
/// too; everything else is no answer.
fn cannot_tell(error: CallError) -> Before {
    match error {
        CallError::Status(asked) if asked.answer.is_refusal() => {
            Before::Refused(Box::new(asked.answer.into_response()))
        }
        CallError::Id(id) => {
            let detail = format!("the id {id} can't be one segment of a path");
            Before::Refused(Box::new(reply::problem(Problem::new(Kind::BadRequest, detail))))
        }
        error => Before::Failed(format!("the probe failed: {error}")),
    }
}
