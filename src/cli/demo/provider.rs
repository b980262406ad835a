//! The demo's authorization back end: the contract auth-provider.md over the graph in memory. It
//! lives outside the sidecar's process, so that the graph survives the sidecar.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::server::{Gate, Refusal, json};
use crate::authz::{Authorizer, Error, ErrorKind, MemoryAuthorizer, Registration};
use crate::model::{Principal, Resource, ResourceId, ResourceType};

/// The back end; clones are one.
#[derive(Clone, Default)]
pub(super) struct Provider {
    /// Holds the acknowledgements of registrations back, after they took effect.
    pub(super) acknowledgements: Gate,
    graph: MemoryAuthorizer,
}

impl Provider {
    /// Its routes: those of the contract that the sidecar calls, and `/demo/…` for people.
    pub(super) fn router(&self) -> Router {
        Router::new()
            .route("/v1/authn", post(authn))
            .route("/v1/authz/register", post(register))
            .route("/v1/authz/deregister", post(deregister))
            .route("/demo/down", post(down))
            .route("/demo/up", post(up))
            .route("/demo/graph", get(graph))
            .with_state(self.clone())
    }

    /// Ends or begins an outage: every call of `/v1/authz/…` is then answered 503, without
    /// effect.
    pub(super) fn set_available(&self, available: bool) {
        self.graph.set_available(available);
    }

    /// The graph itself.
    #[cfg(test)]
    pub(super) fn graph(&self) -> &MemoryAuthorizer {
        &self.graph
    }

    /// Everything that is registered.
    pub(super) fn registrations(&self) -> Vec<Registration> {
        self.graph.snapshot()
    }
}

/// Believes whatever user the caller claims to be: nothing here is worth protecting.
async fn authn(headers: HeaderMap) -> Result<Response, Refusal> {
    let user = headers.get("x-user-id").and_then(|value| value.to_str().ok());
    let user = user.ok_or(Refusal(StatusCode::UNAUTHORIZED, "say who you are: x-user-id"))?;
    let principal = json!({"principal_type": "user", "user_id": user, "account_id": "acct-1"});
    Ok(json(StatusCode::OK, &principal))
}

#[derive(Deserialize)]
struct Call {
    /// Kept verbatim: it is opaque.
    principal: Box<RawValue>,
    resource: Selected,
    parent: Option<Selected>,
}

/// A resource as the wire spells it.
#[derive(Deserialize)]
struct Selected {
    #[serde(rename = "type")]
    kind: String,
    selector: String,
}

async fn register(State(provider): State<Provider>, body: Bytes) -> Result<Response, Refusal> {
    let (principal, resource, parent) = read(&body)?;
    let registered = provider.graph.register(&principal, &resource, parent.as_ref()).await;
    if registered.is_ok() {
        provider.acknowledgements.pass().await;
    }
    answer(registered)
}

async fn deregister(State(provider): State<Provider>, body: Bytes) -> Result<Response, Refusal> {
    let (principal, resource, _) = read(&body)?;
    answer(provider.graph.deregister(&principal, &resource).await)
}

async fn down(State(provider): State<Provider>) -> &'static str {
    provider.set_available(false);
    "the back end is down\n"
}

async fn up(State(provider): State<Provider>) -> &'static str {
    provider.set_available(true);
    "the back end is up\n"
}

async fn graph(State(provider): State<Provider>) -> Response {
    let shown = |registration: Registration| {
        let Registration { resource, owner, parent } = registration;
        let owner: Value = serde_json::from_str(&owner).unwrap_or_default();
        let parent = parent.map(|parent| parent.to_string());
        json!({"resource": resource.to_string(), "owner": owner, "parent": parent})
    };
    json(StatusCode::OK, &provider.registrations().into_iter().map(shown).collect())
}

fn read(body: &[u8]) -> Result<(Principal, Resource, Option<Resource>), Refusal> {
    let invalid = || Refusal(StatusCode::BAD_REQUEST, "the body is not what the contract says");
    let call: Call = serde_json::from_slice(body).map_err(|_| invalid())?;
    let principal = Principal::from_json(call.principal.get()).ok_or_else(invalid)?;
    let resource = call.resource.resource().ok_or_else(invalid)?;
    let parent = match call.parent {
        Some(parent) => Some(parent.resource().ok_or_else(invalid)?),
        None => None,
    };
    Ok((principal, resource, parent))
}

impl Selected {
    fn resource(self) -> Option<Resource> {
        let id = ResourceId::new(self.selector)?;
        Some(Resource { kind: ResourceType::new(self.kind), id })
    }
}

/// Only 200 is success.
fn answer(result: Result<(), Error>) -> Result<Response, Refusal> {
    match result.map_err(|error| error.kind) {
        Ok(()) => Ok(json(StatusCode::OK, &json!({}))),
        Err(ErrorKind::Unauthenticated) => Err(Refusal(StatusCode::UNAUTHORIZED, "unknown")),
        Err(ErrorKind::Refused) => Err(Refusal(StatusCode::FORBIDDEN, "refused")),
        Err(ErrorKind::Unavailable | ErrorKind::Unexpected) => {
            Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "the back end is down"))
        }
    }
}
