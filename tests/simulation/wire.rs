//! Requests as the service reads them, and whose they are.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::Value;

use crate::service::Row;

/// Who is behind a request, a row or a relationship.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Whose {
    /// The client with that number.
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
    client: Option<usize>,
}

impl Asked {
    pub(crate) fn read(request: &Request<Bytes>) -> Self {
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mark = request.headers().get(MARK).and_then(|mark| mark.to_str().ok()?.parse().ok());
        Self {
            method: request.method().clone(),
            target: request.uri().to_string(),
            query: pairs.filter_map(|pair| pair.split_once('=').map(owned)).collect(),
            body: serde_json::from_slice(request.body()).unwrap_or_default(),
            client: mark,
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

    /// Whether doing it twice is doing it once.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != Method::POST && !self.path().contains(&"name")
    }

    /// Whether its query means `row`. What it does not say, it does not care about.
    pub(crate) fn means(&self, row: &Row) -> bool {
        let is = |name: &str, value: &str| self.query.get(name).is_none_or(|asked| asked == value);
        is("agent_id", &row.agent)
            && is("agent_name", &format!("name-of-{}", row.agent))
            && is("api_key_type", &row.kind)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        if !self.body.is_null() {
            write!(f, " {}", self.body)?;
        }
        match self.client {
            Some(client) => write!(f, " of client {client}"),
            None => Ok(()),
        }
    }
}
