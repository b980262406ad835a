//! One exchange with the service, in a task of its own, so that a time-out for the client is not
//! the end of it: what comes later is evidence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::task::JoinHandle;

use super::Event;
use super::context::Context;
use super::operation::Operation;
use super::outcome::{self, Seen};
use super::reply::{self, Reply};
use super::service::Answer;
use crate::error::UndoState;
use crate::model::{OperationId, Pointer};
use crate::upstream::Sent;

/// An exchange under way.
pub(super) struct Running(JoinHandle<Result<Answer, Sent>>);

/// How far an exchange came within a time.
pub(super) enum Exchange {
    /// There is an answer.
    Answered(Box<Answer>),
    /// There will be none.
    Failed(Sent),
    /// There may be one yet.
    TimedOut(Running),
}

/// Sends the request.
pub(super) fn start(context: &Arc<Context>, request: Request<Bytes>) -> Running {
    let context = Arc::clone(context);
    Running(tokio::spawn(async move { context.service.exchange(request).await }))
}

/// Sends a request that nothing is recorded of and gives the client what comes.
pub(super) async fn pass_on(
    context: &Arc<Context>,
    id: OperationId,
    request: Request<Bytes>,
) -> Reply {
    let exchange = start(context, request).within(context.config.exchange.0).await;
    let (_, gets) = outcome::delete(&exchange.seen(None, context.config.answer.0));
    reply::classified(id, gets, exchange.into_answer(), UndoState::Unknown)
}

/// Refuses the request of `operation` if it may not leave, and records that it was `unsent`: otherwise its rows
/// are looked for.
pub(super) async fn refused(
    context: &Context,
    operation: &mut Operation,
    unsent: Event,
) -> Option<Reply> {
    let (reason, why) = context.may_send(operation).await.err()?;
    drop(context.take(operation, unsent).await);
    context.metrics.refused(&operation.plan.rule, reason);
    Some(reply::unavailable(operation.id, why))
}

impl Running {
    /// Waits for the answer.
    pub(super) async fn within(mut self, time: Duration) -> Exchange {
        match tokio::time::timeout(time, &mut self.0).await {
            Ok(Ok(Ok(answer))) => Exchange::Answered(Box::new(answer)),
            Ok(Ok(Err(sent))) => Exchange::Failed(sent),
            // The task panicked or was aborted: what it sent is not known.
            Ok(Err(_)) => Exchange::Failed(Sent::Maybe),
            Err(_) => Exchange::TimedOut(self),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Exchange {
    /// What the classifier looks at; `id` says where a create's answer holds its id.
    pub(super) fn seen(&self, id: Option<&Pointer>, limit: usize) -> Seen {
        match self {
            Self::Answered(answer) => answer.seen(id, limit),
            Self::Failed(Sent::Never) => Seen::NotSent,
            Self::Failed(Sent::Maybe) => Seen::Cut,
            Self::TimedOut(_) => Seen::TimedOut,
        }
    }

    /// The answer, if there is one.
    pub(super) fn into_answer(self) -> Option<Answer> {
        if let Self::Answered(answer) = self { Some(*answer) } else { None }
    }
}
