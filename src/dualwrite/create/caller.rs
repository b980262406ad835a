//! Before a create is recorded or sent: on whose behalf it is, and whether it could be registered.

use std::time::Duration;

use crate::dualwrite::Saga;
use crate::dualwrite::reply::{self, Reply};
use crate::error::{Kind, Problem};
use crate::http::breaker::Entry;
use crate::model::{CreatePlan, Mode, OperationId, PassReason, Principal};
use crate::principal;

/// On whose behalf, and whether it will be registered.
pub(super) struct Caller {
    pub(super) principal: Option<Principal>,
    pub(super) pass: Option<PassReason>,
    /// That the circuit to the back end lets the create through, where it will be registered.
    pub(super) entry: Option<Entry>,
}

/// How long a create waits for its principal while the circuit is open. All that matters then is
/// whether it needs no registration, which the principals' cache knows as a rule; an authn that is
/// down beside the back end must not make the refusal slow.
const QUICK: Duration = Duration::from_millis(100);

impl Saga<CreatePlan> {
    /// Resolves the principal and asks the circuit. Failing that, the client gets the reason and
    /// nothing is sent, unless the rule only observes.
    pub(super) async fn caller(&self) -> Result<Caller, Box<Reply>> {
        let (context, headers, rule) = (&self.context, self.request.headers(), &self.plan.rule);
        match context.resolver.bypassed(headers) {
            Ok(false) => {}
            Ok(true) => {
                context.metrics.exception(rule, "bypass");
                return Ok(passes(None, PassReason::Bypass));
            }
            Err(error) => {
                return self.refuse("principal", None, refused_principal(self.id, &error));
            }
        }
        let entry = context.circuits.register.try_enter();
        let resolve = context.resolver.resolve(headers);
        let resolved = match &entry {
            Ok(_) => resolve.await,
            Err(wait) => match tokio::time::timeout(QUICK, resolve).await {
                Ok(resolved) => resolved,
                Err(_) => return self.refuse("circuit", None, reply::circuit_open(self.id, *wait)),
            },
        };
        match resolved {
            Ok(resolved) if resolved.has_creator => match self.still(entry) {
                Ok(entry) => {
                    let principal = Some(resolved.principal);
                    Ok(Caller { principal, pass: None, entry: Some(entry) })
                }
                Err(wait) => {
                    let answer = reply::circuit_open(self.id, wait);
                    self.refuse("circuit", Some(resolved.principal), answer)
                }
            },
            Ok(resolved) => {
                tracing::warn!(rule, "the principal has no creator: nothing is registered");
                context.metrics.exception(rule, "no_creator");
                Ok(passes(Some(resolved.principal), PassReason::NoCreator))
            }
            Err(error) => self.refuse("principal", None, refused_principal(self.id, &error)),
        }
    }

    /// What the circuit says after the principal was waited for: it may have opened meanwhile.
    fn still(&self, entry: Result<Entry, Duration>) -> Result<Entry, Duration> {
        let register = &self.context.circuits.register;
        match entry {
            Ok(entry) if !entry.is_probe() && register.is_open() => register.try_enter(),
            entry => entry,
        }
    }

    /// It could not be registered, so it is not begun, unless the rule only observes.
    fn refuse(
        &self,
        reason: &str,
        principal: Option<Principal>,
        answer: Reply,
    ) -> Result<Caller, Box<Reply>> {
        let (metrics, rule) = (&self.context.metrics, &self.plan.rule);
        if self.plan.mode == Mode::Observe {
            tracing::warn!(rule, reason, "observed: the create would have been refused");
            metrics.exception(rule, &format!("observed_{reason}"));
            return Ok(passes(principal, PassReason::Observed));
        }
        metrics.refused(rule, reason);
        Err(Box::new(answer))
    }
}

fn passes(principal: Option<Principal>, why: PassReason) -> Caller {
    Caller { principal, pass: Some(why), entry: None }
}

fn refused_principal(id: OperationId, error: &principal::Error) -> Reply {
    let kind = match error {
        principal::Error::Unauthenticated => Kind::Unauthenticated,
        principal::Error::Duplicate(_) | principal::Error::Lookalike(_) => Kind::BadRequest,
        principal::Error::Unavailable(_) => {
            return reply::unavailable(id, error);
        }
    };
    reply::problem(Problem::new(kind, error.to_string()).operation(id))
}
