//! How callers become principals, and the sidecar's own credentials.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::Span;
use crate::rules::{Flaw, names_secret};

/// Credentials of the sidecar's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// What calls `as: service` send, and undos after a crash. Without it, they can't
    /// authenticate.
    pub service: Option<ServiceCredentials>,
}

/// What `as: service` sends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceCredentials {
    /// A file of header lines, `name: value`, read again when it changes.
    pub headers_file: PathBuf,
}

/// How callers become principals.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The authentication service.
    pub authn: Authn,
    /// Exactly the headers that are sent to authn and that the cache key holds; `*` at the end
    /// stands for any rest.
    pub headers: Vec<String>,
    /// Fields of which one makes a principal a creator; without, a create passes unregistered.
    /// Default `user_id`, `service_account_id`.
    #[serde(default = "creator")]
    pub creator: Vec<String>,
    /// Headers whose presence passes a request by: only for a service that verifies them itself.
    #[serde(default)]
    pub bypass: Vec<String>,
    /// All fields of a principal that the journal may keep.
    #[serde(default)]
    pub store: Vec<String>,
    /// The principal that deregisters once the original is gone.
    pub deregister_as: BTreeMap<String, String>,
    /// The cache of principals.
    #[serde(default)]
    pub cache: Cache,
}

fn creator() -> Vec<String> {
    vec!["user_id".into(), "service_account_id".into()]
}

/// The authentication service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authn {
    /// The endpoint, as in `http://agentex-auth:8080/v1/authn`.
    pub url: String,
    /// Time for an answer. Default 2s.
    #[serde(default = "authn_timeout")]
    pub timeout: Span,
}

fn authn_timeout() -> Span {
    Span(Duration::from_secs(2))
}

/// The cache of principals.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// How long a principal is believed, at most. Default 60s.
    pub ttl: Span,
    /// How many are kept. Default 10000.
    pub capacity: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { ttl: Span(Duration::from_mins(1)), capacity: 10_000 }
    }
}

impl Principal {
    pub(in crate::config) fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        if self.headers.is_empty() {
            flaws.push(Flaw::new(
                "principal.headers is empty: every caller would be the same to authn",
                "list the credential headers, as in [authorization, cookie]",
            ));
        }
        if self.deregister_as.is_empty() {
            flaws.push(Flaw::new(
                "principal.deregister_as is empty",
                "give it the fields of a principal that may deregister",
            ));
        }
        let secrets = self.store.iter().filter(|name| names_secret(name));
        flaws.extend(secrets.map(|name| {
            let what = format!("principal.store names a secret (\"{name}\")");
            Flaw::new(what, "remove it: the journal holds no secrets")
        }));
        let secrets = self.deregister_as.keys().filter(|name| names_secret(name));
        flaws.extend(secrets.map(|name| {
            let what = format!("principal.deregister_as holds a secret (\"{name}\")");
            Flaw::new(what, "remove it: a principal names who acts, it proves nothing")
        }));
        flaws
    }
}
