//! The base URL of a back end, as the configuration writes it.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// An `http` or `https` URL with a host, without credentials, query or fragment.
///
/// It holds no secret, so it may stand in errors and logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    tls: bool,
}

/// Why a text is not a usable URL. None of the messages repeats it: it may hold a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URL of RFC 3986, or not an absolute one.
    #[error("not a URL: write scheme, host, port and path, such as http://agentex-auth:8080")]
    NotAUrl,
    /// Another scheme.
    #[error("a URL here begins with http:// or https://")]
    Scheme,
    /// `user:password@host`.
    #[error("a URL here holds no credentials: remove what stands before \"@\"")]
    Credentials,
    /// `?…` or `#…`.
    #[error("a URL here ends with its path: remove \"?\" or \"#\" and what follows")]
    Query,
}

impl Url {
    /// `http://` and that address.
    #[must_use]
    pub fn of_address(address: SocketAddr) -> Self {
        Self { text: format!("http://{address}"), tls: false }
    }

    /// The text, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether calls go over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The URL of `path`, which is empty or begins with a slash, below this one.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(['?', '#']) {
            return Err(UrlError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::NotAUrl)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::NotAUrl),
        };
        let authority = uri.authority().ok_or(UrlError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(UrlError::NotAUrl);
        }
        Ok(Self { text: text.trim_end_matches('/').to_owned(), tls })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Url {
    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "uri", "pattern": "^https?://[^@?#]+$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_joined_with_one_slash() {
        let url: Url = "http://h:1/base/".parse().unwrap();
        assert_eq!(url.join("/v1/authn"), "http://h:1/base/v1/authn");
        assert_eq!(url.join(""), "http://h:1/base");
        assert!("https://h".parse::<Url>().unwrap().is_tls());
    }

    #[test]
    fn p7_what_may_hold_a_secret_is_refused_and_not_repeated() {
        let refused = |text: &str| text.parse::<Url>().unwrap_err();
        assert_eq!(refused("http://u:s3cret@h/"), UrlError::Credentials);
        assert_eq!(refused("http://h/?token=s3cret"), UrlError::Query);
        assert_eq!(refused("ftp://h/"), UrlError::Scheme);
        assert_eq!(refused("h:80"), UrlError::NotAUrl);
        assert_eq!(refused("/v1/s3cret"), UrlError::NotAUrl);
        assert!(!refused("http://u:s3cret@h/").to_string().contains("s3cret"));
    }
}
