//! What each task does: one call to the service or the back end, and the event that it shows.

use std::collections::BTreeSet;

use super::{Attempt, Driver};
use crate::dualwrite::Event;
use crate::dualwrite::context::Halt;
use crate::dualwrite::credentials::Credentials;
use crate::dualwrite::operation::Phase;
use crate::dualwrite::overlap::presence;
use crate::dualwrite::service::CallError;
use crate::dualwrite::state::{Presence, Task};
use crate::failpoint;
use crate::journal::Of;
use crate::model::{Kind, ResourceId, Timestamp};

/// A task as operators see it.
pub(super) fn name(task: &Task) -> &'static str {
    match task {
        Task::Nothing | Task::Wait(_) | Task::Expire => "wait",
        Task::Probe => "list the rows that may be this create's",
        Task::Delete(_) => "send the undo's DELETE",
        Task::Confirm(_) => "ask whether the row exists",
        Task::Look => "look at the rows that may be gone",
        Task::Deregister(_) => "deregister what is gone",
    }
}

impl Driver {
    pub(super) async fn perform(&mut self, task: Task) -> Result<Attempt, Halt> {
        Ok(match task {
            Task::Probe => return self.probe().await,
            Task::Look => return self.look().await,
            Task::Delete(id) => self.delete(&id).await,
            Task::Confirm(id) => return self.confirm(&id).await,
            Task::Deregister(ids) => return self.deregister(ids).await,
            Task::Nothing | Task::Wait(_) | Task::Expire => Attempt::Saw(Event::Restarted),
        })
    }

    async fn delete(&mut self, id: &ResourceId) -> Attempt {
        let Kind::Create(plan) = &self.operation.plan.kind else {
            return Attempt::Failed("undo", "a delete has nothing to undo".into());
        };
        match self.context.service.undo(&plan.undo, id, &self.memory.credentials).await {
            Ok(()) => Attempt::Saw(Event::Removed),
            Err(error) => self.failed("undo", &error),
        }
    }

    async fn confirm(&mut self, id: &ResourceId) -> Result<Attempt, Halt> {
        let asked = self.context.now();
        let confirm = match &self.operation.plan.kind {
            Kind::Create(plan) => &plan.confirm,
            Kind::Delete(plan) => plan.confirm(),
        };
        let mut seen =
            match self.context.service.confirm(confirm, id, &self.memory.credentials).await {
                Ok(seen) => seen,
                Err(error) => return Ok(self.failed("confirm", &error)),
            };
        if seen == Presence::Gone && self.may_lag_behind(asked) {
            seen = Presence::Unsettled;
        }
        if matches!(self.operation.phase, Phase::Registered | Phase::Passed) {
            let deletes = self.context.others(&self.operation, Of::Deletes).await?;
            seen = presence(seen, &self.operation, &deletes, asked, &self.context.policy);
        }
        Ok(Attempt::Saw(Event::Confirmed(seen)))
    }

    /// Whether a read of that time may not show yet what the service had made when it answered the create.
    fn may_lag_behind(&self, asked: Timestamp) -> bool {
        let shows = |answered| self.context.policy.shows(asked, answered);
        self.operation.undone && !self.operation.answered.is_none_or(shows)
    }

    /// Whether the service's own credentials may be accepted where the caller's were not.
    pub(super) fn may_ask_otherwise(&self, error: &CallError) -> bool {
        let is_caller = !self.memory.credentials.is_empty();
        is_caller && error.is_denied() && self.context.service.has_credentials()
    }

    /// A call failed. Where the service does not (or no longer) accept the caller, the service's own
    /// credentials take over, as they do after a crash.
    pub(super) fn failed(&mut self, call: &'static str, error: &CallError) -> Attempt {
        if self.may_ask_otherwise(error) {
            self.memory.credentials = Credentials::default();
        }
        Attempt::Failed(call, error.to_string())
    }

    /// Deregisters with the caller's principal, else what is stored of it, else the configured
    /// one; the configured one also where the back end does not take the other.
    async fn deregister(&self, ids: BTreeSet<ResourceId>) -> Result<Attempt, Halt> {
        let stand_in = self.context.resolver.deregister_as();
        let own = self.memory.principal.clone().or_else(|| self.operation.principal.to_principal());
        for id in &ids {
            let resource = self.operation.resource(id);
            let first = own.as_ref().unwrap_or(stand_in);
            failpoint::hit("deregister.sending");
            let mut result = self.context.authorizer.deregister(first, &resource).await;
            failpoint::hit("deregister.answered");
            if matches!(&result, Err(error) if !error.kind.retry()) && own.is_some() {
                failpoint::hit("stand_in.sending");
                result = self.context.authorizer.deregister(stand_in, &resource).await;
                failpoint::hit("stand_in.answered");
            }
            if let Err(error) = result {
                return Ok(Attempt::Failed("deregister", format!("{resource}: {error}")));
            }
        }
        let young = self.is_any_young(&ids).await?;
        Ok(Attempt::Saw(Event::Deregistered { ids, young }))
    }

    /// Whether a registration of one of these may still land, where the answer decides anything: a
    /// create sweeps in any case. A create that has no id on record even now will find this delete
    /// when it closes.
    async fn is_any_young(&self, ids: &BTreeSet<ResourceId>) -> Result<bool, Halt> {
        if self.operation.is_create() || self.operation.targets.young {
            return Ok(false);
        }
        for id in ids {
            if self.context.is_young(&self.operation.resource(id)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
