//! Requests as the service reads them, and whose they are.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::Value;

/// Who is behind a request, a row or a relationship.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Whose {
    /// The request of a client, by its number.
    Client(usize),
    /// The sidecar itself: undos.
    Sidecar,
    /// Somebody who writes past the sidecar.
    Outsider,
    /// It was there before.
    Given,
}

/// The header by which a client's own request is known. The sidecar's calls on a client's behalf
/// carry none whose name begins like that.
pub(crate) const MARK: &str = "content-client";

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    target: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// Who is authenticated; nobody where the sidecar asks for itself.
    pub(crate) user: Option<String>,
    /// The `Idempotency-Key`.
    pub(crate) key: Option<String>,
    pub(crate) client: Option<usize>,
}

impl Asked {
    pub(crate) fn read(request: &Request<Bytes>) -> Self {
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let header = |name| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        Self {
            method: request.method().clone(),
            target: request.uri().to_string(),
            query: pairs.filter_map(|pair| pair.split_once('=').map(owned)).collect(),
            body: serde_json::from_slice(request.body()).unwrap_or_default(),
            user: header("x-user-id"),
            key: header("idempotency-key"),
            client: header(MARK).and_then(|mark| mark.parse().ok()),
        }
    }

    /// The segments of its path.
    pub(crate) fn path(&self) -> Vec<&str> {
        let path = self.target.split('?').next().unwrap_or_default();
        path.split('/').skip(1).collect()
    }

    pub(crate) fn whose(&self) -> Whose {
        self.client.map_or(Whose::Sidecar, Whose::Client)
    }

    pub(crate) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether a network may repeat it: what makes a row, or removes any row of a name, it may not.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(self.method, Method::GET | Method::DELETE) && !self.path().contains(&"name")
    }

    /// Whether it lists the rows of `agent`.
    pub(crate) fn lists_of(&self, agent: &str) -> bool {
        let is = |name: &str, value: &str| self.query.get(name).is_none_or(|said| said == value);
        is("agent_id", agent)
            && is("folder", agent)
            && is("agent_name", &format!("name-of-{agent}"))
    }

    /// A text of its body.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.body.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// A number of its query.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.query.get(name)?.parse().ok()
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        if !self.body.is_null() {
            write!(f, " {}", self.body)?;
        }
        if let Some(key) = &self.key {
            write!(f, " {key}")?;
        }
        match self.client {
            Some(client) => write!(f, " of client {client}"),
            None => Ok(()),
        }
    }
}
