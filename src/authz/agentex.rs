//! The back end `agentex`: JSON over HTTP, as the contract auth-provider.md has it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Authorizer, Error, ErrorKind};
use crate::http::{BuildError, Config as ClientConfig, JsonClient, Url};
use crate::model::{Principal, Resource, Span};

const REGISTER: &str = "/v1/authz/register";
const DEREGISTER: &str = "/v1/authz/deregister";

/// Configures the back end `agentex`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentexConfig {
    /// The provider's base URL; `/v1/authz/…` is appended to it.
    pub url: Url,
    /// Longest time one attempt may take, connecting included. Default 1s.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Longest time a connection may take to be made. Default 1s.
    #[serde(default = "timeout")]
    pub connect_timeout: Span,
    /// How many calls may be under way at a time; more wait, within their time-out. Default 64;
    /// 0 counts as 1.
    #[serde(default = "max_concurrent")]
    pub max_concurrent: usize,
}

fn timeout() -> Span {
    Span(Duration::from_secs(1))
}

fn max_concurrent() -> usize {
    ClientConfig::default().concurrency
}

/// A client of an `agentex` provider.
#[derive(Clone, Debug)]
pub struct Agentex {
    client: JsonClient,
    timeout: Duration,
}

impl Agentex {
    /// A client of the provider that `config` names. Nothing is sent yet.
    ///
    /// # Errors
    /// Where TLS is wanted and can't be set up.
    pub fn new(config: &AgentexConfig) -> Result<Self, BuildError> {
        let bounds = ClientConfig {
            connect_timeout: config.connect_timeout.0,
            concurrency: config.max_concurrent,
            ..ClientConfig::default()
        };
        let client = JsonClient::new(config.url.clone(), bounds)?;
        Ok(Self { client, timeout: config.timeout.0 })
    }

    async fn call(&self, path: &str, body: &impl Serialize) -> Result<(), Error> {
        let body = serde_json::to_vec(body).map_err(|_| Error {
            kind: ErrorKind::Unexpected,
            detail: format!("the body of a call of {path} can't be written as JSON"),
            ambiguous: false,
        })?;
        let answer = self
            .client
            .post(path, HeaderMap::new(), Bytes::from(body), self.timeout)
            .await
            .map_err(|error| Error {
                kind: ErrorKind::Unavailable,
                detail: error.to_string(),
                ambiguous: error.ambiguous,
            })?;
        acknowledged(answer.status).map_err(|(kind, ambiguous)| {
            let detail =
                format!("POST {}: status {}", self.client.url(path), answer.status.as_u16());
            Error { kind, detail, ambiguous }
        })
    }
}

/// Only 200 is success. What else it may be, and whether the call may have had its effect all
/// the same: a refusal has none; of any other answer nobody can tell.
fn acknowledged(status: StatusCode) -> Result<(), (ErrorKind, bool)> {
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED => Err((ErrorKind::Unauthenticated, false)),
        StatusCode::FORBIDDEN => Err((ErrorKind::Refused, false)),
        status if status.is_server_error() => Err((ErrorKind::Unavailable, true)),
        _ => Err((ErrorKind::Unexpected, true)),
    }
}

#[async_trait]
impl Authorizer for Agentex {
    async fn register(
        &self,
        principal: &Principal,
        resource: &Resource,
        parent: Option<&Resource>,
    ) -> Result<(), Error> {
        let (principal, resource) = (principal.json(), Selected(resource));
        self.call(REGISTER, &Register { principal, resource, parent: parent.map(Selected) }).await
    }

    async fn deregister(&self, principal: &Principal, resource: &Resource) -> Result<(), Error> {
        let (principal, resource) = (principal.json(), Selected(resource));
        self.call(DEREGISTER, &Deregister { principal, resource }).await
    }
}

#[derive(Serialize)]
struct Register<'a> {
    principal: &'a RawValue,
    resource: Selected<'a>,
    parent: Option<Selected<'a>>,
}

#[derive(Serialize)]
struct Deregister<'a> {
    principal: &'a RawValue,
    resource: Selected<'a>,
}

/// A resource as the wire spells it: `{"type": …, "selector": …}`.
struct Selected<'a>(&'a Resource);

impl Serialize for Selected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            selector: &'a str,
        }
        let Resource { kind, id } = self.0;
        Wire { kind: kind.as_str(), selector: id.as_str() }.serialize(serializer)
    }
}
