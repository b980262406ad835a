//! The task that asks which rows of an operation are there, and removes the one that is undone.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Driver, Trouble};
use crate::dualwrite::Event;
use crate::dualwrite::context::Halt;
use crate::dualwrite::operation::{Operation, Phase};
use crate::dualwrite::overlap::{are_disjoint, candidates, owed_by, removers};
use crate::dualwrite::service::CallError;
use crate::dualwrite::settle::{
    End, Presence, conclude, is_exhausted, is_over, made, never_was, removed, until,
};
use crate::dualwrite::state::Settled;
use crate::journal::Of;
use crate::model::{Commits, Confirm, CreatePlan, DeletePlan, Kind, ResourceId, Timestamp};

impl Driver {
    pub(super) async fn settle(&mut self) -> Result<Event, Trouble> {
        let plan = Arc::clone(&self.operation.plan);
        let may_stand = !matches!(self.operation.phase, Phase::Undoing(_) | Phase::Reported(_));
        match (&plan.kind, self.operation.bound.clone()) {
            (Kind::Delete(delete), _) => self.settle_targets(delete).await,
            (Kind::Create(create), Some(id)) if may_stand => self.settle_own(create, id).await,
            (Kind::Create(create), Some(id)) => self.settle_undo(create, id).await,
            (Kind::Create(_), None) => Err(Trouble::Failed("confirm", "its row is unknown".into())),
        }
    }

    /// A row that may not stand: it is removed as often as it is there. One that a person decides on is left alone, and
    /// its registration removed once it is gone.
    async fn settle_undo(&mut self, plan: &CreatePlan, id: ResourceId) -> Result<Event, Trouble> {
        self.undo_is_due &= self.operation.is_condemned();
        if self.undo_is_due && self.may_be_another_s().await? {
            let why = "a create that is not enforced may have made the row under the same id";
            return Ok(Event::GivenUp(why.into()));
        }
        let Self { context, operation, memory, .. } = self;
        let service = &context.service;
        let end = until(operation, &context.policy);
        if self.undo_is_due {
            context.may_act()?;
            let sent = context.now();
            let undone = service.undo(&plan.undo, &id, &memory.credentials).await;
            if undone.is_err() || operation.plan.commits != Commits::BeforeAnswer {
                memory.may_land(context);
            }
            if let Err(error) = undone {
                return self.not_undone(&error, end);
            }
            self.refusals = 0;
            self.undo_is_due = false;
            // A DELETE that was sent before the row could be there tells nothing by being accepted.
            if is_over(end, sent) {
                self.undo_accepted.get_or_insert(context.now());
            }
        }
        let asked = context.now();
        let seen = match service.confirm(&plan.confirm, &id, &memory.credentials).await {
            Ok(seen) => seen,
            Err(error) => return Err(self.failed("confirm", &error)),
        };
        self.undo_is_due = seen == Presence::Present && operation.is_condemned();
        // The DELETE may have its effect as late, and reads lag behind it.
        let longest = context.policy.bounds.late_effect + context.policy.lag();
        let accepted = self.undo_accepted.map(|accepted| accepted.plus(longest));
        if self.undo_is_due && is_over(accepted, asked) {
            let why = "the service accepts the undo's DELETE, and the row is there all the same";
            return Ok(Event::GivenUp(why.into()));
        }
        let gone = conclude(seen, asked, end, None).is_some().then_some(id);
        Ok(saw(gone.into_iter().collect(), false))
    }

    /// If the service refuses the undo's DELETE time and again, as with 409, a person has to know. A caller that it does
    /// not accept may be accepted later.
    fn not_undone(&mut self, error: &CallError, end: End) -> Result<Event, Trouble> {
        let is_final = self.is_refused_for_good(error) && !error.is_denied();
        if is_final && is_over(end, self.context.now()) {
            let why = format!("the undo is refused: {error}");
            return Ok(Event::GivenUp(why));
        }
        Err(self.failed("undo", error))
    }

    /// Whether a create that is not enforced may have made the row that is undone, or one with its id since.
    async fn may_be_another_s(&self) -> Result<bool, Halt> {
        if !self.operation.reuses_ids() {
            return Ok(false);
        }
        let others = self.context.others(&self.operation, Of::Creates).await?;
        let may = |other: &Operation| !other.is_enforced() && !are_disjoint(&self.operation, other);
        Ok(others.iter().any(|other| may(other)))
    }

    /// The row of a create that stands, if a delete may have removed it.
    async fn settle_own(&mut self, plan: &CreatePlan, id: ResourceId) -> Result<Event, Trouble> {
        let (asked, policy) = (self.context.now(), self.context.policy);
        let deletes = self.context.others(&self.operation, Of::Deletes).await?;
        let mut removers = removers(&self.operation, &deletes, &policy).peekable();
        if removers.peek().is_none() {
            return Ok(saw(BTreeSet::new(), true));
        }
        let removed = removed(removers, &policy);
        let (gone, over) = self.look(&plan.confirm, [id].into(), asked, removed).await?;
        Ok(saw(gone, over))
    }

    /// The rows that a delete may have removed: its targets, and what creates that overlap it made.
    async fn settle_targets(&mut self, plan: &DeletePlan) -> Result<Event, Trouble> {
        let (asked, policy) = (self.context.now(), self.context.policy);
        let (confirm, creates, deletes) = match plan {
            DeletePlan::ById { confirm, .. } => (confirm, Vec::new(), Vec::new()),
            DeletePlan::ByProbe { confirm, .. } => (
                confirm,
                self.context.others(&self.operation, Of::Creates).await?,
                self.context.others(&self.operation, Of::Deletes).await?,
            ),
        };
        let (ids, open) = candidates(&self.operation, &creates, &policy);
        let owed = owed_by(&self.operation, creates.iter().chain(&deletes).map(Arc::as_ref));
        let rows = &(&ids - &self.operation.gone) - &owed;
        let removed = until(&self.operation, &policy);
        let (gone, over) = self.look(confirm, rows, asked, removed).await?;
        Ok(saw(gone, over && is_exhausted(&self.operation, open, asked, &policy)))
    }

    /// Asks which of `rows` are there, as far as an answer can prove something by now; `removed` is the end of what
    /// may remove them. Gives what is gone, and whether each of the others is proven to stand.
    async fn look(
        &mut self,
        confirm: &Confirm,
        rows: BTreeSet<ResourceId>,
        asked: Timestamp,
        removed: End,
    ) -> Result<(BTreeSet<ResourceId>, bool), Trouble> {
        let (mut gone, mut over) = (BTreeSet::new(), true);
        let (mut asks, mut waits) = (Vec::new(), None);
        for id in rows {
            let made = self.made(&id, asked).await?.0;
            // Otherwise no answer could prove anything yet.
            if is_over(made, asked) || is_over(removed, asked) {
                asks.push(id);
            } else {
                over = false;
                waits = waits.max(made.into_iter().chain(removed).min());
            }
        }
        // One look when all can be proven costs less than one for each.
        self.nothing_before = waits;
        let mut failure = None;
        for id in asks {
            let service = &self.context.service;
            let seen = match service.confirm(confirm, &id, &self.memory.credentials).await {
                Ok(seen) => seen,
                // The others need not wait for it.
                Err(error) => {
                    failure.get_or_insert(error);
                    over = false;
                    continue;
                }
            };
            // Anew: a create may have learnt meanwhile that the id is its own.
            let (made, never_was) = self.made(&id, asked).await?;
            match conclude(seen, asked, made, removed) {
                None => over = false,
                Some(Presence::Gone) if !never_was => _ = gone.insert(id),
                Some(_) => {}
            }
        }
        match failure {
            Some(error) if gone.is_empty() => Err(self.failed("confirm", &error)),
            _ => Ok((gone, over)),
        }
    }

    /// Until when the row with `id` may come into being, and whether there never was one if it is not there now.
    async fn made(&self, id: &ResourceId, asked: Timestamp) -> Result<(End, bool), Halt> {
        let Self { context, operation, .. } = self;
        if operation.is_create() {
            return Ok((until(operation, &context.policy), false));
        }
        let maker = context.holder(&operation.resource(id)).await?;
        // Others may have made rows of which the journal does not know.
        let all_known = context.knows_all(&operation.plan.resource_type);
        let (maker, policy) = (maker.as_ref(), &context.policy);
        let end = made(id, operation, maker, policy);
        Ok((end, all_known && never_was(id, operation, maker, asked, policy)))
    }
}

pub(super) fn saw(gone: BTreeSet<ResourceId>, over: bool) -> Event {
    Event::Settled(Settled { gone, over })
}
