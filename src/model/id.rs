//! Identifiers: of operations (ours) and of resources (the service's).

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies one intercepted request from its first journal record to its last.
///
/// A UUID version 7 (RFC 9562), so that ids sort by the time they were made. It appears in
/// problem answers, logs and `/operations`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(Uuid);

impl OperationId {
    /// A new id, unique across processes.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads an id as it is printed.
    ///
    /// # Errors
    /// When `text` is not a UUID.
    pub fn parse(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }

    /// The id as the journal keeps it.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for OperationId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl Default for OperationId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A type in the authorization graph, such as `api_key` or `agent`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceType(String);

impl ResourceType {
    /// Names a type; the rules decide which names exist.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as the back end knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The service's id of a resource, compared byte for byte and never normalised.
///
/// An id is not empty, is at most [`ResourceId::MAX_LEN`] bytes long and has no control
/// character: what does not fit is not an id that a rule could put into a path or a back end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

impl ResourceId {
    /// Longest id in bytes. UUIDs have 36; nothing we know exceeds 255.
    pub const MAX_LEN: usize = 512;

    /// Accepts `text` as an id, or gives `None` where it can't be one.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let fits = !text.is_empty() && text.len() <= Self::MAX_LEN;
        (fits && !text.chars().any(char::is_control)).then_some(Self(text))
    }

    /// Reads an id from a JSON string or integer, as services spell them.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Self::new(text.as_str()),
            serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => {
                Self::new(number.to_string())
            }
            _ => None,
        }
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ResourceId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text).ok_or("not a resource id: empty, too long, or with a control character")
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node of the authorization graph: what is registered, deregistered, or named as a parent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ResourceType,
    /// Its id; the back end's wire calls it the *selector*.
    pub id: ResourceId,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_text_or_an_integer_and_nothing_else() {
        use serde_json::json;
        let id = |value| ResourceId::from_json(&value).map(|id| id.to_string());
        assert_eq!(id(json!("k-1")), Some("k-1".into()));
        assert_eq!(id(json!(7)), Some("7".into()));
        for bad in [json!(""), json!("a\nb"), json!(1.5), json!(null), json!({}), json!([1])] {
            assert_eq!(id(bad), None);
        }
        assert_eq!(id(json!("x".repeat(ResourceId::MAX_LEN + 1))), None);
    }
}
