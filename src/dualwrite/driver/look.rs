//! The tasks that look for rows: which may be a create's, which a delete may have removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::Instrument;

use super::{Attempt, Driver};
use crate::dualwrite::Event;
use crate::dualwrite::context::{Context, Halt};
use crate::dualwrite::driver::{Memory, drive};
use crate::dualwrite::operation::Operation;
use crate::dualwrite::overlap::{absence, candidates, owed_by};
use crate::dualwrite::rows::{Judgement, Verdict, ids_are_fresh, judge, may_have_removed};
use crate::dualwrite::service::CallError;
use crate::dualwrite::state::{Look, Presence};
use crate::journal::Of;
use crate::model::{DeletePlan, Kind, ResourceId, Timestamp};

/// So many that the pauses between them are the longest.
const MANY_ROUNDS: u32 = 16;

/// How often in a row the service must refuse a list before that is taken for its last word.
const FINAL_REFUSALS: u32 = 10;

impl Driver {
    /// Looks for rows of a create whose outcome is unknown.
    ///
    /// The creates that may have made a row are read after the list was answered: each was recorded
    /// before it was sent, so whichever made a row is among them, or holds the row by now.
    pub(super) async fn probe(&mut self) -> Result<Attempt, Halt> {
        let asked = self.context.now();
        let Kind::Create(plan) = &self.operation.plan.kind else {
            return Ok(Attempt::Failed("probe", "a delete is not probed for".into()));
        };
        let Some(probe) = &plan.probe else {
            let why = "the rule has no probe that could find the row".to_owned();
            return Ok(Attempt::Saw(unprovable(why, asked)));
        };
        let Context { service, lists, .. } = &*self.context;
        let rows = match lists.of(service, probe, &self.memory.credentials).await {
            Ok(rows) => rows,
            Err(error) => return Ok(self.not_listed(&error, asked)),
        };
        self.refusals = 0;
        let others = self.context.others(&self.operation, Of::Creates).await?;
        // Where ids come back, the row that an operation holds may have gone, and this be another.
        let deletes = if ids_are_fresh(&self.operation) {
            Vec::new()
        } else {
            self.context.others(&self.operation, Of::Deletes).await?
        };
        let mut free = Vec::new();
        for row in rows {
            let back = deletes.iter().any(|delete| may_have_removed(delete, &row.id));
            let holder = self.context.holder(&self.operation.resource(&row.id)).await?;
            if back || holder.is_none_or(|holder| holder.id == self.operation.id) {
                free.push(row);
            }
        }
        let trust = self.context.trust(&self.operation.plan.resource_type);
        let Judgement { condemned, rest } = judge(&self.operation, &free, &others, &deletes, trust);
        if !condemned.is_empty() {
            // Most likely one of them is its own: there is no hurry to look for another.
            self.rounds = MANY_ROUNDS;
        }
        for id in condemned {
            self.condemn(id).await?;
        }
        Ok(Attempt::Saw(Event::Probed(rest, asked)))
    }

    /// A refusal is no outage: if the service answers it time and again, as where the parent was deleted,
    /// a person has to know.
    fn not_listed(&mut self, error: &CallError, asked: Timestamp) -> Attempt {
        let is_final = error.is_refusal() && !self.may_ask_otherwise(error);
        self.refusals = if is_final { self.refusals.saturating_add(1) } else { 0 };
        if self.refusals < FINAL_REFUSALS {
            return self.failed("probe", error);
        }
        Attempt::Saw(unprovable(format!("the rows can't be listed: {error}"), asked))
    }

    /// Has a row removed that a list showed, unless another create that looks was first.
    ///
    /// In a task of its own: an order may end this attempt at any time, and a removal that is on record
    /// must be carried on all the same.
    async fn condemn(&self, id: ResourceId) -> Result<(), Halt> {
        let (context, maker) = (Arc::clone(&self.context), self.operation.clone());
        let credentials = self.memory.credentials.clone();
        let removal = async move {
            let Some(removal) = context.condemn(&maker, id.clone()).await? else { return Ok(()) };
            tracing::info!(row = %id, removal = %removal.id, "a row that no client was told of is undone");
            let memory = Memory { credentials, room: context.enter(), ..Memory::default() };
            drive(context, removal, memory);
            Ok(())
        };
        match tokio::spawn(removal.in_current_span()).await {
            Ok(begun) => begun,
            // The process ends, or the removal panicked: the next look finds the row again.
            Err(_) => Ok(()),
        }
    }

    /// Looks at the rows that a delete may have removed: its targets, and what creates beside it
    /// made.
    pub(super) async fn look(&mut self) -> Result<Attempt, Halt> {
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
        let owed = owed_by(creates.iter().chain(&deletes).map(Arc::as_ref));
        let left: BTreeSet<_> = &(&ids - &gone) - &owed;
        let listed = self.listed(plan, left.len()).await;
        let mut unsettled = false;
        for id in left.difference(&listed) {
            let confirm =
                self.context.service.confirm(plan.confirm(), id, &self.memory.credentials);
            match confirm.await {
                Ok(Presence::Gone) if self.is_proven(id, &deletes, asked).await? => {
                    gone.insert(id.clone());
                }
                Ok(Presence::Gone) => unsettled = true,
                Ok(_) => {}
                Err(error) => return Ok(self.failed("confirm", &error)),
            }
        }
        let complete = !open && left.is_subset(&gone);
        Ok(Attempt::Saw(Event::Looked(Look { asked, gone, complete, unsettled })))
    }

    /// Whether the row with `id`, which was not to be seen at `asked`, is gone.
    async fn is_proven(
        &self,
        id: &ResourceId,
        deletes: &[Arc<Operation>],
        asked: Timestamp,
    ) -> Result<bool, Halt> {
        let maker = self.context.holder(&self.operation.resource(id)).await?;
        let deletes = deletes.iter().map(Arc::as_ref).chain([&self.operation]);
        let presence = absence(id, maker.as_ref(), deletes, asked, &self.context.policy);
        Ok(presence == Presence::Gone)
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
}

/// Nothing is proven; `why` says what is missing.
fn unprovable(why: String, asked: Timestamp) -> Event {
    Event::Probed(Verdict::Unprovable { rows: Vec::new(), why }, asked)
}
