//! The dual write: one row in the service and one resource in the back end, or neither.
//!
//! | file | what it holds |
//! |---|---|
//! | [`outcome`] | pure: what an exchange means |
//! | [`operation`] | pure: an operation is the fold of its records |
//! | [`index`] | pure: how the journal finds an operation, and which others it keeps for it |
//! | [`state`] | pure: operation × event → records and reply (`state::on`); operation → next task |
//! | [`newness`] | pure: whether the row of an answer is new, or was found |
//! | [`rows`] | pure: whose a listed row may be |
//! | [`overlap`] | pure: which delete may have removed whose row |
//! | [`settle`] | pure: what is concluded from seeing a row, or from not seeing it |
//! | `create`, `delete`, `also`, `register`, `exchange` | the sagas up to the client's answer |
//! | `driver`, `recovery`, `adoption` | what is unfinished then, in this process and after a crash |
//! | `trust` | what other processes, and later ones, must know of creates that are not recorded |
//! | `peers`, `neighbours`, `line` | who may call the service and the back end now; what other operations may matter; one answer for all who ask at once |
//! | `service`, `credentials`, `reply` | calls to the service; what the client gets |
//! | `explain`, `ledger`, `operators` | what people see of operations, and may order |
//! | `board`, `metrics`, `config`, `context` | what is carried on, and letters to it; counters, bounds, what sagas share |
//!
//! Three invariants, from which the rest follows (docs/DESIGN.md, section 2): (a) before a request that may have
//! an effect leaves, the journal durably holds a state from which recovery finds that effect;
//! (b) before a 2xx to a create leaves, it durably holds a state that recovery never undoes;
//! (c) evidence is never refused: a late id is judged like one that comes in time.

mod adoption;
mod also;
mod board;
mod config;
mod context;
mod create;
mod credentials;
mod delete;
mod driver;
mod exchange;
mod explain;
#[cfg(test)]
mod fixtures;
pub mod index;
mod ledger;
mod line;
mod metrics;
mod neighbours;
pub mod newness;
pub mod operation;
mod operators;
pub mod outcome;
pub mod overlap;
mod peers;
mod recovery;
mod register;
mod reply;
pub mod rows;
mod service;
pub mod settle;
pub mod state;
mod trust;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::time::Instant;

pub use self::config::Config;
pub use self::context::Halt;
use self::context::{Context, Room};
use self::credentials::Credentials;
pub use self::explain::{Explanation, Happening};
pub use self::ledger::{Account, Ledger, Listing, Page};
pub use self::metrics::Metrics;
use self::operation::Illegal;
pub use self::operators::Refused;
pub use self::peers::service_circuit;
pub use self::recovery::Recovered;
use self::state::Event;
use crate::authz::{Authorizer, Circuits};
use crate::error::{Kind as ProblemKind, Problem};
use crate::failpoint;
use crate::http::TraceContext;
use crate::http::breaker::Breaker;
use crate::journal::Journal;
use crate::model::{Kind, OperationId, Plan, ResourceType};
use crate::principal::Resolver;
use crate::rules::{Matched, Plans};
use crate::upstream;

/// What the sagas work with.
pub struct Parts {
    /// Bounds.
    pub config: Config,
    /// Within what time a registration must be acknowledged, retries included (`authz.deadline`).
    pub register: Duration,
    /// Whether every create passes through sidecars on this journal.
    pub exclusive_writer: bool,
    /// Types of which creates may pass unrecorded.
    pub distrusted: BTreeSet<ResourceType>,
    /// The way to the service, on the sagas' runtime.
    pub upstream: Arc<dyn upstream::Transport>,
    /// What `as: service` sends.
    pub service_headers: HeaderMap,
    /// The Host of calls that no caller's Host is known for.
    pub host: HeaderValue,
    /// The back end.
    pub authorizer: Arc<dyn Authorizer>,
    /// The circuits to it.
    pub circuits: Circuits,
    /// The circuit to the service. What is unfinished waits at it; what clients send never does.
    pub service_circuit: Breaker,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Principals.
    pub resolver: Resolver,
    /// Makes the ids of operations, unique across processes.
    pub ids: fn() -> OperationId,
    /// Counters.
    pub metrics: Metrics,
}

/// Runs the sagas. Cheap to clone.
#[derive(Clone)]
pub struct DualWrite {
    context: Arc<Context>,
}

/// A matched request that is about to be carried out; `How` is the part of the plan that is about its kind.
struct Saga<How> {
    context: Arc<Context>,
    id: OperationId,
    plan: Plan,
    how: How,
    request: Request<Bytes>,
    credentials: Credentials,
    room: Room,
}

impl DualWrite {
    /// Puts the parts together; nothing runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { context: Arc::new(Context::new(parts)) }
    }

    /// Replays the journal. To be called before the listener opens.
    ///
    /// # Errors
    /// When the journal can't be read or written, or holds an impossible history.
    pub async fn recover(&self) -> Result<Recovered, Halt> {
        Recovered::replay(Arc::clone(&self.context)).await
    }

    /// Gives up what is unfinished here, so that other replicas need not wait for a lease's end. To be
    /// called once nothing is served any more.
    pub async fn release(&self) {
        if let Some(shared) = self.context.journal.shared() {
            shared.release().await;
        }
    }

    /// Serves one matched request. `request` is as it is to go to the service: origin form,
    /// hop-by-hop headers gone, forwarding headers set, body whole. Always answers. It must be
    /// polled to its end whatever the client does: the proxy gives it a task of its own.
    pub async fn serve(
        &self,
        matched: Matched,
        request: Request<Bytes>,
    ) -> Response<upstream::Body> {
        let began = Instant::now();
        // The back end's calls carry the caller's trace context.
        let trace = TraceContext::of(request.headers());
        let response = Box::pin(trace.scope(self.answer(matched, request))).await;
        failpoint::hit("reply.ready");
        self.context.metrics.answer_seconds.observe(began.elapsed().as_secs_f64());
        response
    }

    async fn answer(&self, matched: Matched, request: Request<Bytes>) -> Response<upstream::Body> {
        let (context, id) = (Arc::clone(&self.context), self.context.new_id());
        let rule = matched.rule.name();
        let (head, body) = request.into_parts();
        let Plans { own, also } = match matched.plan(&head, &body) {
            Ok(plans) => plans,
            Err(error) => {
                context.metrics.refused(rule, "unreadable");
                return reply::problem(
                    Problem::new(ProblemKind::BadRequest, error.0).operation(id),
                );
            }
        };
        let Some(room) = context.enter() else {
            context.metrics.refused(rule, "overloaded");
            return reply::overloaded(id);
        };
        let also = match also::begin(&context, id, also, &room).await {
            Ok(also) => also,
            Err(refused) => return *refused,
        };
        let credentials = Credentials::of_caller(&head);
        let request = Request::from_parts(head, body);
        let reply = match own.map(|plan| (plan.kind.clone(), plan)) {
            Some((Kind::Create(how), plan)) => {
                Saga { context, id, plan, how, request, credentials, room }.run().await
            }
            Some((Kind::Delete(how), plan)) => {
                Saga { context, id, plan, how, request, credentials, room }.run().await
            }
            None => exchange::pass_on(&context, id, request).await,
        };
        also::answered(&self.context, also, &reply).await;
        reply
    }

    /// The operations, for people.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.context)
    }
}
