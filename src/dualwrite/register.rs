//! The registration of a new row: its parent found out, the back end called until it
//! acknowledges, all inside one deadline.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Event;
use super::context::Context;
use super::credentials::Credentials;
use crate::failpoint;
use crate::model::{Backoff, CreatePlan, ParentSource, Principal, Resource, UndoReason};

/// One registration.
pub(super) struct Registration<'a> {
    pub(super) context: &'a Context,
    pub(super) plan: &'a CreatePlan,
    pub(super) principal: &'a Principal,
    pub(super) resource: &'a Resource,
    pub(super) credentials: &'a Credentials,
    /// The service's answer to the create.
    pub(super) answer: Option<Value>,
}

/// An attempt that failed.
struct Failed {
    reason: UndoReason,
    is_final: bool,
    may_land: bool,
    why: String,
}

impl Registration<'_> {
    /// Registers, and says how that ended. Attempts that may land late make it ambiguous.
    pub(super) async fn run(&self) -> Event {
        let deadline = Instant::now() + self.context.register;
        let backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(500));
        let (parent, mut ambiguous, mut attempt) = (OnceCell::new(), false, 0);
        loop {
            let failed = match timeout_at(deadline, self.attempt(&parent)).await {
                Ok(Ok(())) => return Event::Acknowledged { ambiguous },
                Ok(Err(failed)) => failed,
                // It may have been on its way.
                Err(_) => Failed {
                    reason: if parent.initialized() {
                        UndoReason::Deadline
                    } else {
                        UndoReason::NoParent
                    },
                    is_final: true,
                    may_land: true,
                    why: "no answer within the deadline".into(),
                },
            };
            ambiguous |= failed.may_land;
            let again = Instant::now() + backoff.delay(attempt, fastrand::u64(..));
            if failed.is_final || again >= deadline {
                let Failed { reason, why, .. } = failed;
                tracing::warn!(resource = %self.resource, ?reason, why, "a registration failed");
                return Event::NotAcknowledged { reason, ambiguous };
            }
            sleep_until(again).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, parent: &OnceCell<Option<Resource>>) -> Result<(), Failed> {
        let failed = |reason, is_final, why| Failed { reason, is_final, may_land: false, why };
        let may_act = self.context.may_act();
        may_act.map_err(|error| failed(UndoReason::Deadline, false, error.to_string()))?;
        let parent = parent.get_or_try_init(|| self.parent()).await?;
        failpoint::hit("register.sending");
        let authorizer = &self.context.authorizer;
        let registered = authorizer.register(self.principal, self.resource, parent.as_ref()).await;
        failpoint::hit("register.answered");
        registered.map_err(|error| {
            tracing::debug!(resource = %self.resource, %error, "an attempt failed");
            self.context.metrics.failed("register");
            let is_final = !error.kind.retry();
            let reason = if is_final { UndoReason::Refused } else { UndoReason::Deadline };
            Failed { may_land: error.ambiguous, ..failed(reason, is_final, error.to_string()) }
        })
    }

    /// The row's parent, if the rule names one.
    async fn parent(&self) -> Result<Option<Resource>, Failed> {
        let Some(parent) = &self.plan.parent else { return Ok(None) };
        let reason = UndoReason::NoParent;
        let lacking = |is_final, why| Failed { reason, is_final, may_land: false, why };
        let id = match &parent.source {
            ParentSource::Known(id) => Some(id.clone()),
            ParentSource::Answer(pointer) => {
                self.answer.as_ref().and_then(|answer| pointer.id_of(answer))
            }
            ParentSource::LookUp { call, id } => {
                let found = self.context.service.look_up(call, id, self.credentials).await;
                Some(found.map_err(|error| lacking(false, error.to_string()))?)
            }
            ParentSource::Missing => None,
        };
        let why = || lacking(true, "neither the request nor the answer tells the parent".into());
        let id = id.ok_or_else(why)?;
        Ok(Some(Resource { kind: parent.kind.clone(), id }))
    }
}
