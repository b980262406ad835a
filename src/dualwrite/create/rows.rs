//! What a create asks about rows: which there were before it, and what the row is that its answer names.

use std::collections::BTreeSet;

use crate::dualwrite::Saga;
use crate::dualwrite::context::Context;
use crate::dualwrite::exchange::Exchange;
use crate::dualwrite::newness;
use crate::dualwrite::operation::Operation;
use crate::dualwrite::outcome::{self, ClientGets, CreateOutcome, Seen};
use crate::journal::Of;
use crate::model::{CreatePlan, Mode, ResourceId};

impl Saga<CreatePlan> {
    /// The rows that are there before the create is sent. Without them a row that is found later can't be
    /// told from an older one, and is reported. So nothing is listed where it would be reported anyway.
    pub(super) async fn list_before(&self) -> Option<BTreeSet<ResourceId>> {
        let Self { context, plan, how, credentials, .. } = self;
        let probe = how.probe.as_ref().filter(|_| how.before && plan.mode == Mode::Enforce)?;
        if !context.knows_all(&plan.resource_type) {
            return None;
        }
        match context.service.list(probe, credentials).await {
            Ok(rows) if rows.len() <= MOST_BEFORE => {
                Some(rows.into_iter().map(|row| row.id).collect())
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "the rows before a create could not be listed");
                None
            }
        }
    }
}

/// What an exchange means. If the journal can't tell now whose the row of an answer is, the rows tell later.
pub(super) async fn judged(
    context: &Context,
    operation: &Operation,
    plan: &CreatePlan,
    exchange: &Exchange,
) -> (CreateOutcome, ClientGets) {
    let seen = exchange.seen(Some(&plan.id), context.config.answer.0);
    let (outcome, gets) = outcome::create(&seen);
    let (CreateOutcome::Committed(id), Seen::Answer { status, .. }) = (&outcome, &seen) else {
        return (outcome, gets);
    };
    let (holder, others) = if newness::needs_others(plan) {
        let holder = context.holder(&operation.resource(id)).await;
        match (holder, context.others(operation, Of::Creates).await) {
            (Ok(holder), Ok(others)) => (holder, others),
            _ => return (CreateOutcome::Disputed(id.clone()), gets),
        }
    } else {
        (None, Vec::new())
    };
    let id = id.clone();
    (newness::judge(operation, plan, *status, id, holder.as_ref(), &others), gets)
}

/// Most rows that are kept of the list before a create (promise P8): some 40 KiB of UUIDs.
const MOST_BEFORE: usize = 1000;
