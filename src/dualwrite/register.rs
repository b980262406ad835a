//! The registration of a new row: its parent looked up, the back end called until it
//! acknowledges, all inside one deadline.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Event;
use super::context::Context;
use super::credentials::Credentials;
use crate::failpoint;
use crate::model::{
    Backoff, CreatePlan, ParentSource, Pointer, Principal, Resource, ResourceId, UndoReason,
};

/// What is known of a new row's parent.
#[derive(Clone, Debug)]
pub(super) enum Parent {
    /// The rule names none.
    None,
    /// This.
    Is(Resource),
    /// It is still to be looked up.
    ToLookUp,
    /// The rule names one, and neither request nor answer tell which.
    Unknown,
}

impl Parent {
    /// What the request and the service's answer tell.
    pub(super) fn read(plan: &CreatePlan, answer: Option<&Value>) -> Self {
        let Some(parent) = &plan.parent else { return Self::None };
        let id = match &parent.source {
            ParentSource::Known(id) => Some(id.clone()),
            ParentSource::Answer(pointer) => answer.and_then(|answer| read_id(pointer, answer)),
            ParentSource::LookUp { .. } => return Self::ToLookUp,
            ParentSource::Missing => None,
        };
        id.map_or(Self::Unknown, |id| Self::Is(Resource { kind: parent.kind.clone(), id }))
    }

    /// The parent, where it is known.
    pub(super) fn resource(&self) -> Option<&Resource> {
        if let Self::Is(resource) = self { Some(resource) } else { None }
    }
}

fn read_id(pointer: &Pointer, document: &Value) -> Option<ResourceId> {
    pointer.of(document).and_then(ResourceId::from_json)
}

/// Looks the parent up once, where it depends on the request alone.
pub(super) async fn look_up(
    context: &Context,
    plan: &CreatePlan,
    credentials: &Credentials,
) -> Option<Parent> {
    let parent = plan.parent.as_ref()?;
    let ParentSource::LookUp { call, id } = &parent.source else { return None };
    match context.service.look_up(call, id, credentials).await {
        Ok(id) => Some(Parent::Is(Resource { kind: parent.kind.clone(), id })),
        Err(error) => {
            tracing::warn!(%error, "the parent's look-up failed");
            None
        }
    }
}

/// One registration.
pub(super) struct Registration<'a> {
    pub(super) context: &'a Context,
    pub(super) plan: &'a CreatePlan,
    pub(super) principal: &'a Principal,
    pub(super) resource: &'a Resource,
    pub(super) credentials: &'a Credentials,
}

impl Registration<'_> {
    /// Registers, and says how that ended. Attempts that may land late make it ambiguous.
    pub(super) async fn run(&self, mut parent: Parent) -> Event {
        let deadline = Instant::now() + self.context.register;
        let backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(500));
        let mut ambiguous = false;
        let mut last = String::from("no answer within the deadline");
        for attempt in 0.. {
            let once =
                tokio::time::timeout_at(deadline, self.attempt(&mut parent, &mut last)).await;
            let delay = backoff.delay(attempt, fastrand::u64(..));
            match once {
                Ok(Once::Acknowledged) => return Event::Acknowledged { ambiguous },
                Ok(Once::Refused { reason, may_land }) => {
                    return self.failed(reason, ambiguous || may_land, &last);
                }
                Ok(Once::Again { may_land }) => ambiguous |= may_land,
                // It may have been on its way.
                Err(_) => {
                    ambiguous = true;
                    break;
                }
            }
            if Instant::now() + delay >= deadline {
                break;
            }
            tokio::time::sleep(delay).await;
        }
        let no_parent = matches!(parent, Parent::ToLookUp);
        let reason = if no_parent { UndoReason::NoParent } else { UndoReason::Deadline };
        self.failed(reason, ambiguous, &last)
    }

    fn failed(&self, reason: UndoReason, ambiguous: bool, last: &str) -> Event {
        tracing::warn!(resource = %self.resource, ?reason, last, "a registration failed");
        Event::NotAcknowledged { reason, ambiguous }
    }

    async fn attempt(&self, parent: &mut Parent, last: &mut String) -> Once {
        if let Err(error) = self.context.may_act() {
            *last = error.to_string();
            return Once::Again { may_land: false };
        }
        if matches!(parent, Parent::ToLookUp) {
            match look_up(self.context, self.plan, self.credentials).await {
                Some(found) => *parent = found,
                None => return Once::Again { may_land: false },
            }
        }
        if matches!(parent, Parent::Unknown) {
            return Once::Refused { reason: UndoReason::NoParent, may_land: false };
        }
        failpoint::hit("register.sending");
        let registered =
            self.context.authorizer.register(self.principal, self.resource, parent.resource());
        let registered = registered.await;
        failpoint::hit("register.answered");
        match registered {
            Ok(()) => Once::Acknowledged,
            Err(error) => {
                tracing::debug!(resource = %self.resource, %error, "an attempt failed");
                *last = error.to_string();
                self.context.metrics.failed("register");
                let may_land = error.ambiguous;
                if error.kind.retry() {
                    Once::Again { may_land }
                } else {
                    Once::Refused { reason: UndoReason::Refused, may_land }
                }
            }
        }
    }
}

/// One attempt.
enum Once {
    Acknowledged,
    Refused { reason: UndoReason, may_land: bool },
    Again { may_land: bool },
}
