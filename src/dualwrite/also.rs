//! What a request may make on the side: nobody registers it. It is on record as a create that is not enforced, so that
//! no row that may be its is taken for that of another create (docs/design/CORE.md, section 3).

use std::sync::Arc;

use super::Event;
use super::context::{Context, Room};
use super::driver::{Memory, drive};
use super::operation::Operation;
use super::outcome::CreateOutcome;
use super::reply::{self, Reply};
use crate::model::{Mode, Opening, OperationId, PassReason, Plan};

/// Records, durably, what the request `id` may make on the side, and gives the creates that stand for it.
///
/// # Errors
/// The answer to the client, if that fails: nothing may be sent then. What is only observed is not held up.
pub(super) async fn begin(
    context: &Arc<Context>,
    id: OperationId,
    plans: Vec<Plan>,
    room: &Room,
) -> Result<Vec<Operation>, Box<Reply>> {
    let mut begun = Vec::new();
    for plan in plans {
        let (rule, is_observed) = (plan.rule.clone(), plan.mode == Mode::Observe);
        let pass = Some(PassReason::Aside);
        let opening = Opening { pass, ..Opening::new(plan, context.now()) };
        match context.begin(context.new_id(), opening, room).await {
            Ok(operation) => begun.push(operation),
            Err(halt) if is_observed && !halt.is_fenced() => {
                tracing::error!(%halt, "what a request makes on the side goes unrecorded");
                context.metrics.exception(&rule, "unrecorded");
            }
            Err(halt) => {
                end(context, begun, &CreateOutcome::NotSent).await;
                context.metrics.refused(&rule, "journal");
                return Err(Box::new(reply::unavailable(id, halt)));
            }
        }
    }
    Ok(begun)
}

/// The request is over; whether it made a row is not known, unless it was refused.
pub(super) async fn answered(context: &Arc<Context>, begun: Vec<Operation>, reply: &Reply) {
    let status = reply.status().as_u16();
    let is_refused = matches!(status, 304 | 307 | 308 | 400..=407 | 409..=499);
    let outcome = if reply::is_unsent(reply) || is_refused {
        CreateOutcome::Rejected
    } else {
        CreateOutcome::Unknown
    };
    end(context, begun, &outcome).await;
}

async fn end(context: &Arc<Context>, begun: Vec<Operation>, outcome: &CreateOutcome) {
    for mut operation in begun {
        let event = Event::CreateAnswered(outcome.clone());
        match context.take(&mut operation, event).await {
            Ok(()) => _ = drive(Arc::clone(context), operation, Memory::default()),
            Err(halt) => {
                tracing::error!(operation = %operation.id, %halt, "the operation is left to recovery");
            }
        }
    }
}
