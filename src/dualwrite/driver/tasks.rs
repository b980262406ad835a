//! The task that deregisters, and what a failed call means to every task.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::settle::saw;
use super::{Driver, Trouble};
use crate::dualwrite::Event;
use crate::dualwrite::credentials::Credentials;
use crate::dualwrite::service::CallError;
use crate::failpoint;
use crate::model::ResourceId;

impl Driver {
    /// Whether the service's own credentials may be accepted where the caller's were not.
    pub(super) fn may_ask_otherwise(&self, error: &CallError) -> bool {
        let is_caller = !self.memory.credentials.is_empty();
        is_caller && error.is_denied() && !self.context.service.headers.is_empty()
    }

    /// Counts a refusal. Proxies and deployments refuse for moments; ten times in a row is taken for the last word.
    pub(super) fn is_refused_for_good(&mut self, error: &CallError) -> bool {
        const FINAL: u32 = 10;
        let is_refusal = error.is_refusal() && !self.may_ask_otherwise(error);
        self.refusals = if is_refusal { self.refusals.saturating_add(1) } else { 0 };
        self.refusals >= FINAL
    }

    /// A call failed. Where the service does not (or no longer) accept the caller, the service's own
    /// credentials take over, as they do after a crash.
    pub(super) fn failed(&mut self, call: &'static str, error: &CallError) -> Trouble {
        if self.may_ask_otherwise(error) {
            self.memory.credentials = Credentials::default();
        }
        Trouble::Failed(call, error.to_string())
    }

    /// Deregisters with the caller's principal, else what is stored of it, else the configured
    /// one; the configured one also where the back end does not take the other.
    ///
    /// Where ids come back, it is repeated once nothing that was sent for the rows can land any more: until
    /// then no other row gets their ids.
    pub(super) async fn deregister(&mut self, ids: BTreeSet<ResourceId>) -> Result<Event, Trouble> {
        let context = Arc::clone(&self.context);
        context.may_act()?;
        let stand_in = context.resolver.deregister_as();
        let own = self.memory.principal.clone().or_else(|| self.operation.principal.to_principal());
        let (mut done, mut failure) = (BTreeSet::new(), None);
        for id in ids {
            let resource = self.operation.resource(&id);
            let first = own.as_ref().unwrap_or(stand_in);
            failpoint::hit("deregister.sending");
            let mut result = self.context.authorizer.deregister(first, &resource).await;
            failpoint::hit("deregister.answered");
            let mut may_land = matches!(&result, Err(error) if error.ambiguous);
            if matches!(&result, Err(error) if !error.kind.retry()) && own.is_some() {
                failpoint::hit("stand_in.sending");
                result = self.context.authorizer.deregister(stand_in, &resource).await;
                failpoint::hit("stand_in.answered");
                may_land |= matches!(&result, Err(error) if error.ambiguous);
            }
            if may_land {
                self.memory.may_land(&context);
            }
            match result {
                Ok(()) => _ = done.insert(id),
                Err(error) => _ = failure.get_or_insert(format!("{resource}: {error}")),
            }
        }
        let all_again = done.is_empty() || self.operation.reuses_ids();
        if let Some(failure) = failure.filter(|_| all_again) {
            return Err(Trouble::Failed("deregister", failure));
        }
        let now = self.context.now();
        let landing = self.memory.landing.filter(|_| self.operation.reuses_ids());
        if landing.is_some_and(|end| now < end) {
            self.nothing_before = landing;
            return Ok(saw(BTreeSet::new(), false));
        }
        Ok(Event::Deregistered(done))
    }
}
