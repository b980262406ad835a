//! The configuration's section `principal`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use crate::http::{BuildError as ClientError, Url};
use crate::model::{Principal, Span};

/// How the sidecar finds out who is calling.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The authentication service.
    pub authn: AuthnConfig,
    /// The request headers that say who is calling: exact names, or the beginning of a name and
    /// `*`. Exactly these are sent to authn and make up the cache key. Default: those of the
    /// provider contract (authorization, cookie, x-api-key, x-user-id, x-service-account-id,
    /// x-selected-account-id, x-auth*, x-session*).
    #[serde(default = "headers")]
    pub headers: Vec<HeaderPattern>,
    /// The principal's fields that name a creator. Where all are absent or null, a create is
    /// passed on unregistered. Default: `user_id`, `service_account_id`.
    #[serde(default = "creator")]
    pub creator: Vec<String>,
    /// Headers that mark requests which have no principal by design; their creates are passed on
    /// unregistered. Only for a service that verifies them itself. Default: none.
    #[serde(default)]
    pub bypass: Vec<Name>,
    /// The principal's fields that the journal may keep, to deregister with after a crash. None
    /// of them may be secret. Default: none.
    #[serde(default)]
    pub store: Vec<String>,
    /// The principal that deregisters where neither the caller's nor its stored fields are
    /// known. Required.
    pub deregister_as: Identity,
    /// The principal's fields that hold a secret: a principal in which one of them is set is
    /// not cached. Default: `api_key`.
    #[serde(default = "secret_fields")]
    pub secret_fields: Vec<String>,
    /// How long answers are believed.
    #[serde(default)]
    pub cache: CacheConfig,
}

/// The authentication service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthnConfig {
    /// The whole URL that is called, such as `http://agentex-auth:8080/v1/authn`.
    pub url: Url,
    /// Longest time a call may take, waiting for its turn included. Default 2s.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Longest time a connection may take to be made. Default 1s.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// How many calls may be under way at a time. Default 64; 0 counts as 1.
    #[serde(default = "max_concurrent")]
    pub max_concurrent: usize,
}

/// How long and how many answers are kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// How long a principal is believed, less up to 20 % of it by chance, and never past its
    /// bearer token's `exp`. Default 60s.
    pub ttl: Span,
    /// How many principals are kept. Default 10000.
    pub capacity: u64,
    /// How long a refusal (401, 403) is believed. Default 1s.
    pub rejected_ttl: Span,
    /// How many refusals are kept. Default 1000.
    pub rejected_capacity: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl: Span(Duration::from_mins(1)),
            capacity: 10_000,
            rejected_ttl: Span(Duration::from_secs(1)),
            rejected_capacity: 1_000,
        }
    }
}

fn timeout() -> Span {
    Span(Duration::from_secs(2))
}

fn connect_timeout() -> Span {
    Span(Duration::from_secs(1))
}

fn max_concurrent() -> usize {
    crate::http::Config::default().concurrency
}

fn creator() -> Vec<String> {
    vec!["user_id".into(), "service_account_id".into()]
}

fn secret_fields() -> Vec<String> {
    vec!["api_key".into()]
}

fn headers() -> Vec<HeaderPattern> {
    let exact = [
        "authorization",
        "cookie",
        "x-api-key",
        "x-user-id",
        "x-service-account-id",
        "x-selected-account-id",
    ];
    let exact = exact.map(|name| HeaderPattern::Exact(HeaderName::from_static(name)));
    let prefixes = ["x-auth", "x-session"].map(|prefix| HeaderPattern::Prefix(prefix.into()));
    exact.into_iter().chain(prefixes).collect()
}

impl Config {
    /// Checks what one field alone can't tell.
    ///
    /// # Errors
    /// Where a field that holds a secret would be stored, or no header says who is calling.
    pub fn validate(&self) -> Result<(), BuildError> {
        if self.headers.is_empty() {
            return Err(BuildError::NoHeaders);
        }
        match self.store.iter().find(|field| self.secret_fields.contains(field)) {
            Some(field) => Err(BuildError::SecretStored(field.clone())),
            None => Ok(()),
        }
    }
}

/// Why a resolver can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `principal.store` names a secret.
    #[error(
        "principal.store: \"{0}\" is one of principal.secret_fields, and the journal holds no secrets: remove it"
    )]
    SecretStored(String),
    /// `principal.headers` is empty.
    #[error(
        "principal.headers is empty, so that all callers would be one: name the headers that carry credentials"
    )]
    NoHeaders,
    /// The HTTP client can't be built.
    #[error("principal.authn: {0}")]
    Client(#[from] ClientError),
    /// The operating system gives no random bytes.
    #[error("no random bytes for the cache key: {0}")]
    Random(String),
}

/// A header's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(pub HeaderName);

/// Which headers say who is calling: one name, or all that begin alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderPattern {
    /// A whole name.
    Exact(HeaderName),
    /// The beginning of names, in lower case.
    Prefix(String),
}

/// Headers that belong to the message or the connection, not to the caller (contract
/// auth-provider.md: authn does not see them).
const NOT_FOR_AUTHN: [&str; 5] =
    ["content-length", "host", "connection", "transfer-encoding", "expect"];

impl fmt::Display for HeaderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl HeaderPattern {
    /// Whether the header `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &HeaderName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl FromStr for HeaderPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_a_name = || {
            format!("\"{text}\" is not a header name, nor the beginning of one followed by \"*\"")
        };
        let (stem, prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        let name = HeaderName::from_bytes(stem.as_bytes()).map_err(|_| not_a_name())?;
        let pattern = if prefix { Self::Prefix(name.to_string()) } else { Self::Exact(name) };
        match NOT_FOR_AUTHN.map(HeaderName::from_static).iter().find(|name| pattern.matches(name)) {
            Some(name) => Err(format!(
                "\"{text}\" would send \"{name}\" to authn, which says nothing about the caller: name others"
            )),
            None => Ok(pattern),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HeaderPattern {
    fn schema_name() -> Cow<'static, str> {
        "HeaderPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+\\*?$"})
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let name = HeaderName::from_bytes(text.as_bytes());
        name.map(Self).map_err(|_| de::Error::custom(format!("\"{text}\" is not a header name")))
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "HeaderName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"})
    }
}

/// A principal of the sidecar's own: a JSON object as authn would give it.
#[derive(Clone)]
pub struct Identity(pub Principal);

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::<String, Value>::deserialize(deserializer)?;
        let text = Value::Object(fields.clone()).to_string();
        let principal = Principal::from_json(&text).filter(|_| !fields.is_empty());
        principal.map(Self).ok_or_else(|| de::Error::custom("a principal has at least one field"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Identity {
    fn schema_name() -> Cow<'static, str> {
        "Principal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "minProperties": 1})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_authn_must_not_see_are_refused_also_behind_a_star() {
        for bad in ["Host", "expect", "content-length", "content-*", "*", "h*", "", "a b"] {
            assert!(bad.parse::<HeaderPattern>().is_err(), "{bad}");
        }
        let prefix: HeaderPattern = "X-Auth*".parse().unwrap();
        assert!(prefix.matches(&HeaderName::from_static("x-auth-token")));
        assert!(!prefix.matches(&HeaderName::from_static("x-aut")));
        let exact: HeaderPattern = "Cookie".parse().unwrap();
        assert!(!exact.matches(&HeaderName::from_static("cookie2")));
    }

    #[test]
    fn p7_a_secret_field_is_not_stored() {
        let yaml = "{ authn: { url: 'http://h' }, deregister_as: { a: s3cret }, store: [api_key] }";
        let config: Config = serde_saphyr::from_str(yaml).unwrap();
        assert!(matches!(config.validate(), Err(BuildError::SecretStored(_))));
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
