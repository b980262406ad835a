//! The saga of a delete (docs/DESIGN.md, section 6): best effort towards the client, at least once
//! towards the back end.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tracing::Instrument;

use super::context::Context;
use super::driver::{Memory, drive, settled};
use super::exchange;
use super::operation::Operation;
use super::outcome::{self, DeleteOutcome};
use super::reply::{self, Reply};
use super::service::{Answer, CallError};
use super::{Event, Saga};
use crate::error::{Kind, Problem, UndoState};
use crate::failpoint;
use crate::model::{DeletePlan, Mode, Opening, Principal, Targets};

/// Why it can't be told which rows a delete may remove.
enum Untold {
    /// The service refused the question in its own words, which are the client's answer too.
    Refused(Box<Reply>),
    /// The question could not be asked: the delete is refused, not guessed.
    Failed(String),
}

impl Saga<DeletePlan> {
    /// Serves the delete.
    pub(super) async fn run(self) -> Reply {
        // A row that the list lacks may be made from now on.
        let began = self.context.now();
        let resolve = async { self.context.resolver.resolve(self.request.headers()).await.ok() };
        let (told, resolved) = tokio::join!(self.targets(), resolve);
        let principal = resolved.map(|resolved| resolved.principal);
        let observes = self.plan.mode == Mode::Observe;
        let targets = match told {
            Ok(targets) => targets,
            Err(_) if observes => return self.unrecorded("observed_probe").await,
            Err(Untold::Refused(answer)) => {
                self.context.metrics.refused(&self.plan.rule, "probe_refused");
                self.context.forget_refused(Some(answer.status()), self.request.headers()).await;
                return *answer;
            }
            Err(Untold::Failed(why)) => return self.refuse("probe", why),
        };
        let stored = principal.as_ref().map(|principal| self.context.resolver.stored(principal));
        let opening = Opening {
            principal: stored.unwrap_or_default(),
            targets,
            ..Opening::new(self.plan.clone(), began)
        };
        match self.context.begin(self.id, opening, &self.room).await {
            Ok(operation) => self.send(operation, principal).await,
            Err(_) if observes => self.unrecorded("unrecorded").await,
            Err(halt) => self.refuse("journal", halt),
        }
    }

    fn refuse(self, reason: &'static str, why: impl fmt::Display) -> Reply {
        self.context.metrics.refused(&self.plan.rule, reason);
        reply::unavailable(self.id, why)
    }

    async fn unrecorded(self, exception: &'static str) -> Reply {
        tracing::warn!(rule = self.plan.rule, exception, "an observed delete goes unrecorded");
        self.context.metrics.exception(&self.plan.rule, exception);
        exchange::pass_on(&self.context, self.id, self.request).await
    }

    /// Asks the service which rows the request means.
    async fn targets(&self) -> Result<Targets, Untold> {
        let Self { context, credentials, .. } = self;
        let (ids, seen) = match &self.how {
            DeletePlan::ById { id, confirm } => {
                let found = context.service.find(confirm, id, credentials).await;
                let found = found.map_err(cannot_tell)?;
                let seen = found.as_ref() == Some(id);
                // If there is none, it may be made while the DELETE is on its way, or not to be seen yet.
                (BTreeSet::from([found.unwrap_or_else(|| id.clone())]), seen)
            }
            DeletePlan::ByProbe { probe, .. } => {
                let rows = context.service.list(probe, credentials).await.map_err(cannot_tell)?;
                (rows.into_iter().map(|row| row.id).collect(), false)
            }
        };
        Ok(Targets { ids, seen })
    }

    /// Sends the DELETE, whose targets are durable, and goes on from the answer.
    async fn send(self, mut operation: Operation, principal: Option<Principal>) -> Reply {
        let Self { context, id, request, credentials, room, .. } = self;
        let headers = request.headers().clone();
        let unsent = Event::DeleteAnswered(DeleteOutcome::NotSent);
        if let Some(refused) = exchange::refused(&context, &mut operation, unsent).await {
            return refused;
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
fn cannot_tell(error: CallError) -> Untold {
    match error {
        CallError::Status(_, answer) if answer.is_refusal() => {
            Untold::Refused(Box::new(answer.into_response()))
        }
        CallError::Id(id) => {
            let detail = format!("the id {id} can't be one segment of a path");
            Untold::Refused(Box::new(reply::problem(Problem::new(Kind::BadRequest, detail))))
        }
        error => Untold::Failed(format!("the probe failed: {error}")),
    }
}
