//! Calls to the service: what is sent, and as whom.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::ResourceId;

/// Whose credentials a call to the service carries.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum As {
    /// The caller's, from memory; after a crash the service's.
    #[default]
    Caller,
    /// The configured `credentials.service`.
    Service,
}

/// A complete request to the service, without a body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// `GET` or `DELETE`.
    pub method: String,
    /// Path and query, encoded.
    pub target: String,
    /// Whose credentials it carries.
    #[serde(rename = "as")]
    pub credentials: As,
}

impl Call {
    /// The same call with one query parameter more.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        let pair = format!("{separator}{}={}", encode(name), encode(value));
        Self { target: format!("{}{pair}", self.target), ..self.clone() }
    }
}

/// A request to the service with one hole in its path: the id of a resource.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdCall {
    /// `GET` or `DELETE`.
    pub method: String,
    /// The target up to the id.
    pub before: String,
    /// The target after it.
    pub after: String,
    /// Whose credentials it carries.
    #[serde(rename = "as")]
    pub credentials: As,
}

impl IdCall {
    /// The call for `id`, or `None` where `id` can't be one path segment.
    #[must_use]
    pub fn for_id(&self, id: &ResourceId) -> Option<Call> {
        let segment = encode_segment(id.as_str())?;
        Some(Call {
            method: self.method.clone(),
            target: format!("{}{segment}{}", self.before, self.after),
            credentials: self.credentials,
        })
    }
}

/// RFC 3986 `unreserved`; everything else is percent-encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes `text` for a query component.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Encodes `text` as exactly one path segment, or gives `None` where a router could read it as
/// more than one or as none: with a slash, a backslash or a control character, a dot segment, or
/// nothing.
#[must_use]
pub fn encode_segment(text: &str) -> Option<String> {
    let one = !matches!(text, "" | "." | "..");
    let plain = !text.contains(['/', '\\']) && !text.chars().any(char::is_control);
    (one && plain).then(|| encode(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_path_is_one_segment_or_refused() {
        assert_eq!(encode_segment("a b?#%;é"), Some("a%20b%3F%23%25%3B%C3%A9".into()));
        for bad in ["", ".", "..", "a/b", "a\\b", "a\n"] {
            assert_eq!(encode_segment(bad), None);
        }
    }
}
