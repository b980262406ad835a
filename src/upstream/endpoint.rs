//! Where the service listens.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// Where the service listens: `http://host:port` or `unix:/path`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A host name or address, and a port.
    Tcp {
        /// Without the brackets of an IPv6 literal.
        host: String,
        /// 80 where none is written.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Why a text is no endpoint, and the mend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{text}\" is not an upstream: {reason}; write http://host:port or unix:/path")]
pub struct EndpointError {
    text: String,
    reason: &'static str,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| EndpointError { text: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let absolute = path.is_absolute();
            return absolute.then_some(Self::Unix(path)).ok_or(refuse("the path is not absolute"));
        }
        if text.starts_with("https:") {
            return Err(refuse("a sidecar speaks to its service without TLS"));
        }
        let uri: http::Uri = text.parse().map_err(|_| refuse("it is not a URL"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refuse("the scheme is unknown"));
        };
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(refuse("it has a path, but requests keep their own"));
        }
        if authority.as_str().contains('@') {
            return Err(refuse("it has credentials"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(refuse("it has no host"));
        }
        Ok(Self::Tcp { host, port: authority.port_u16().unwrap_or(80) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(http://|unix:/).+"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_as_it_is_written() {
        for text in
            ["http://127.0.0.1:5003", "http://keys:80", "http://[::1]:8080", "unix:/run/k.sock"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("http://keys".parse::<Endpoint>().unwrap().to_string(), "http://keys:80");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_mend() {
        for text in [
            "",
            "keys:80",
            "https://keys",
            "unix:run",
            "http://keys/api",
            "http://a:b@keys",
            "ftp://x",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("http://host:port"), "{error}");
        }
    }
}
