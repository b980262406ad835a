//! What a request may make on the side: nobody registers it. It is on record as a create that is not enforced, so that
//! no row that may be its is taken for that of another create (docs/design/CORE.md, section 3).

use std::sync::Arc;

use super::Event;
use super::context::{Context, Room};
use super::driver::{Memory, drive};
use super::operation::Operation;
use super::outcome::CreateOutcome;
use super::reply::{self, Reply};
use crate::model::{Mode, OperationId, PassReason, Plan, Record, StoredPrincipal};

/// Creates on the side whose request is under way.
pub(super) struct Also {
    context: Arc<Context>,
    begun: Vec<(Operation, Option<Room>)>,
}

impl Also {
    /// Records, durably, what the request `id` may make on the side.
    ///
    /// # Errors
    /// The answer to the client, if that fails: nothing may be sent then. What is only observed is not held up.
    pub(super) async fn begin(
        context: &Arc<Context>,
        id: OperationId,
        plans: Vec<Plan>,
    ) -> Result<Self, Box<Reply>> {
        let mut also = Self { context: Arc::clone(context), begun: Vec::new() };
        for plan in plans {
            let (rule, is_observed) = (plan.rule.clone(), plan.mode == Mode::Observe);
            let prepared = Record::Prepared {
                plan,
                intent: context.now(),
                principal: StoredPrincipal::default(),
                pass: Some(PassReason::Aside),
                before: None,
            };
            match context.begin(context.new_id(), vec![prepared]).await {
                Ok(operation) => also.begun.push((operation, context.enter())),
                Err(halt) if is_observed => {
                    tracing::error!(%halt, "what a request makes on the side goes unrecorded");
                    context.metrics.exception(&rule, "unrecorded");
                }
                Err(halt) => {
                    also.end(&CreateOutcome::NotSent).await;
                    context.metrics.refused(&rule, "journal");
                    let detail = format!("{halt}; nothing was sent");
                    return Err(Box::new(reply::unavailable(id, detail)));
                }
            }
        }
        Ok(also)
    }

    /// The request is over; whether it made a row is not known, unless the service refused it.
    pub(super) async fn answered(self, reply: &Reply) {
        let refused = reply.status().is_client_error() && reply.status().as_u16() != 408;
        let outcome = if refused { CreateOutcome::Rejected } else { CreateOutcome::Unknown };
        self.end(&outcome).await;
    }

    async fn end(self, outcome: &CreateOutcome) {
        for (mut operation, room) in self.begun {
            let event = Event::CreateAnswered(outcome.clone(), None);
            match self.context.take(&mut operation, event).await {
                Ok(_) if operation.is_finished() => {}
                Ok(_) => {
                    let memory = Memory { room, ..Memory::default() };
                    drive(Arc::clone(&self.context), operation, memory);
                }
                Err(halt) => {
                    tracing::error!(operation = %operation.id, %halt, "the operation is left to recovery");
                }
            }
        }
    }
}
