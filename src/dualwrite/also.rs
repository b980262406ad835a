//! What a request may make on the side: nobody registers it. It is on record as a create that is not enforced, so that
//! no row that may be its is taken for that of another create (docs/design/CORE.md, section 3).

use std::sync::Arc;

use super::context::{Context, Halt, Room};
use super::index;
use super::operation::Operation;
use super::reply::{self, Reply};
use crate::model::{
    Effect, Mode, OperationId, PassReason, Plan, Record, Resolution, StoredPrincipal,
};

/// Creates on the side whose request is under way.
pub(super) struct Also {
    context: Arc<Context>,
    begun: Vec<Operation>,
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
        room: &Room,
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
            match context.begin(context.new_id(), vec![prepared], room).await {
                Ok(operation) => also.begun.push(operation),
                Err(halt) if is_observed && !halt.is_fenced() => {
                    tracing::error!(%halt, "what a request makes on the side goes unrecorded");
                    context.metrics.exception(&rule, "unrecorded");
                }
                Err(halt) => {
                    also.end(&[Record::Finished { resolution: Resolution::NotSent }]).await;
                    context.metrics.refused(&rule, "journal");
                    let detail = format!("{halt}; nothing was sent");
                    return Err(Box::new(reply::unavailable(id, detail)));
                }
            }
        }
        Ok(also)
    }

    /// The request is over; whether it made a row is not known, unless it was refused.
    pub(super) async fn answered(self, reply: &Reply) {
        let status = reply.status().as_u16();
        let is_refused = matches!(status, 304 | 307 | 308 | 400..=407 | 409..=499);
        let end = if reply::is_unsent(reply) || is_refused {
            vec![Record::Finished { resolution: Resolution::Rejected }]
        } else {
            let closed = Record::Closed { effect: Effect::MayCome };
            vec![closed, Record::Finished { resolution: Resolution::Unsettled }]
        };
        self.end(&end).await;
    }

    /// Nothing is left to be done for them. What was closed is read for L yet.
    async fn end(self, records: &[Record]) {
        for operation in self.begun {
            let entries = self.context.entries(records.to_vec());
            let ended = match index::go_on(&operation, entries) {
                Ok((_, append)) => self.context.journal.append(append).await.map_err(Halt::from),
                Err(illegal) => Err(illegal.into()),
            };
            if let Err(halt) = ended {
                tracing::error!(operation = %operation.id, %halt, "the operation is left to recovery");
            }
        }
    }
}
