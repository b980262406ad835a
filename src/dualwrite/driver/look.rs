//! The tasks that look for rows: which may be a create's, which a delete may have removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Attempt, Driver};
use crate::dualwrite::Event;
use crate::dualwrite::claim::{Sighting, Verdict, absence, candidates, judge, owed_by};
use crate::dualwrite::context::Halt;
use crate::dualwrite::operation::Operation;
use crate::dualwrite::state::{Look, Presence};
use crate::journal::Of;
use crate::model::{DeletePlan, Kind, ResourceId, Timestamp};

impl Driver {
    /// Looks for rows of a create whose outcome is unknown.
    pub(super) async fn probe(&mut self) -> Result<Attempt, Halt> {
        let asked = self.context.now();
        let Kind::Create(plan) = &self.operation.plan.kind else {
            return Ok(Attempt::Failed("probe", "a delete is not probed for".into()));
        };
        let Some(probe) = &plan.probe else {
            let why = "the rule has no probe that could find the row".to_owned();
            let verdict = Verdict::Unprovable { rows: Vec::new(), why };
            return Ok(Attempt::Saw(Event::Probed(verdict, asked)));
        };
        let rows = match self.context.service.list(probe, &self.memory.credentials).await {
            Ok(rows) => rows,
            Err(error) => return Ok(self.failed("probe", &error)),
        };
        let at = self.context.now();
        let mut others = self.context.others(&self.operation, Of::Creates).await?;
        for row in &rows {
            let holder = self.context.holder(&self.operation.resource(&row.id)).await?;
            if let Some(holder) = holder.filter(|holder| holder.id != self.operation.id) {
                if let Some(created_at) = row.created_at {
                    self.context.observe_clock(&holder, created_at, at);
                }
                others.push(Arc::new(holder));
            }
        }
        let seen = Sighting { at, others: &others, skewed: self.context.is_skewed() };
        let verdict = judge(&self.operation, &rows, &seen, &self.context.policy);
        Ok(Attempt::Saw(Event::Probed(verdict, asked)))
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
