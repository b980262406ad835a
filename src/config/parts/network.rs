//! Where the service is, whom to believe, and how much of anything is let in.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::model::{ByteSize, Span};

/// Where the service listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// `http://HOST:PORT`.
    Tcp(Authority),
    /// `unix:/PATH`.
    Unix(PathBuf),
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mend = || {
            format!(
                "\"{text}\" is not where a service listens: write http://HOST:PORT or unix:/PATH"
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(mend()) };
        }
        let uri: Uri = text.parse().map_err(|_| mend())?;
        let bare = matches!(uri.path_and_query().map(PathAndQuery::as_str), None | Some("/"));
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        match (uri.scheme_str(), authority) {
            (Some("http"), Some(authority)) if bare => Ok(Self::Tcp(authority.clone())),
            _ => Err(mend()),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Upstream {
    fn schema_name() -> Cow<'static, str> {
        "Upstream".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(http://|unix:/)"})
    }
}

/// Where to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!("\"{text}\" is not an address and a port: write it as in 127.0.0.1:8080")
        })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": ":[0-9]+$"})
    }
}

/// A network in CIDR notation, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network(pub IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let one = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| one()).map(Self).map_err(|_| {
            de::Error::custom(format!("\"{text}\" is no network: write it as in 10.0.0.0/8"))
        })
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

/// Whose `X-Forwarded-*` and `Forwarded` headers reach the service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forwarded {
    /// Networks of the proxies in front of the sidecar; `[]` is nobody. The service believes
    /// what comes from the sidecar, so what an untrusted client sent must not pass.
    pub trust: Vec<Network>,
}

/// How much of anything is let in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Client connections at a time. Default 10000.
    pub connections: usize,
    /// Bytes of a request's head. Default 64KiB.
    pub header_bytes: ByteSize,
    /// Header fields of a request. Default 100.
    pub headers: usize,
    /// Time a client has to send a request's head. Default 10s.
    pub header_timeout: Span,
    /// Bytes of an intercepted request's body, as sent and decoded; also of an answer to it.
    /// Default 1MiB.
    pub intercepted_body: ByteSize,
    /// Intercepted requests at a time; further ones get a 503. Default 1000.
    pub operations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: ByteSize(64 << 10),
            headers: 100,
            header_timeout: Span(std::time::Duration::from_secs(10)),
            intercepted_body: ByteSize(1 << 20),
            operations: 1_000,
        }
    }
}
