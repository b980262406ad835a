//! What a request gives to expressions: path parameters, query parameters, members of its body.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::body::{self, BodyError};
use super::source::Source;
use super::strict::{Dialect, is_certain_parameter, is_certain_value};
use crate::model::encode_segment;

/// Why a request can't be decided on: the text of the 400 that the client gets. It names
/// expressions, never values (promise P7).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

/// Longest text of a body that an expression gives, in bytes: it goes into the journal, and often
/// into a URL. Path and query are bounded by the header limit.
const MAX_VALUE: usize = 4096;

/// A request, as far as a rule's expressions read it.
pub(super) struct Request<'r> {
    params: &'r [String],
    query: &'r str,
    body: Value,
    dialect: Dialect,
}

impl<'r> Request<'r> {
    /// A request without a body, or whose body no expression reads.
    #[must_use]
    pub(super) fn without_body(params: &'r [String], query: Option<&'r str>) -> Self {
        let (query, dialect) = (query.unwrap_or_default(), Dialect::default());
        Self { params, query, body: Value::Null, dialect }
    }

    /// A request whose body is read, decoded to at most `limit` bytes.
    ///
    /// A body that is no JSON has no members, and the request goes on: the service answers it
    /// with its own 4xx and makes nothing. A body that the service may read otherwise than we do
    /// is refused.
    ///
    /// # Errors
    /// When the body can't be decoded, or not read in one way only.
    pub(super) fn with_body(
        params: &'r [String],
        head: &'r Parts,
        body: &Bytes,
        limit: usize,
    ) -> Result<Self, PlanError> {
        let mut encodings = head.headers.get_all(CONTENT_ENCODING).iter();
        let encoding = encodings.next();
        if encodings.next().is_some() {
            return Err(PlanError("the request has more than one Content-Encoding header".into()));
        }
        let body = match body::client_json(encoding, body, limit) {
            Ok(object @ Value::Object(_)) => object,
            Ok(_) => return Err(PlanError("the request's JSON body is not one object".into())),
            Err(BodyError::Syntax) => Value::Null,
            Err(error) => return Err(PlanError(format!("the request's body: {error}"))),
        };
        Ok(Self { body, ..Self::without_body(params, head.uri.query()) })
    }

    /// The same, before a service that takes paths so.
    #[must_use]
    pub(super) fn taken(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    /// The value of `source` as one segment of a path, encoded; `None` as for [`Request::text`].
    ///
    /// # Errors
    /// As [`Request::text`], and where the service might take it for another segment, or several.
    pub(super) fn segment(&self, source: &Source) -> Result<Option<String>, PlanError> {
        let Some(text) = self.text(source)? else { return Ok(None) };
        if self.dialect == Dialect::Strict && !is_certain_value(&text) {
            let what = source.expression();
            let why = "might be read otherwise in a path (dialect: strict)";
            return Err(PlanError(format!("{what} {why}")));
        }
        let none = || PlanError(format!("{} can't be one path segment", source.expression()));
        encode_segment(&text).map(Some).ok_or_else(none)
    }

    /// The value of `source` as text, for a path or a query; `None` where the request lacks it
    /// or has a JSON `null`.
    ///
    /// # Errors
    /// When it is no text, whole number or boolean, or can be read in two ways.
    pub(super) fn text(&self, source: &Source) -> Result<Option<String>, PlanError> {
        match self.value(source)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
            Some(_) => Err(not_scalar(source)),
        }
    }

    /// The value of `source`, a scalar; `None` where the request lacks it.
    ///
    /// # Errors
    /// When it is an array or an object, or can be read in two ways.
    pub(super) fn value(&self, source: &Source) -> Result<Option<Value>, PlanError> {
        match source {
            Source::Path { index, .. } => Ok(self.params.get(*index).cloned().map(Value::String)),
            Source::Query(name) => Ok(self.parameter(name)?.map(Value::String)),
            Source::Body(pointer) => match pointer.of(&self.body) {
                Some(Value::Array(_) | Value::Object(_)) => Err(not_scalar(source)),
                Some(Value::String(text)) if text.len() > MAX_VALUE => {
                    let what = source.expression();
                    Err(PlanError(format!("{what} is longer than {MAX_VALUE} bytes")))
                }
                found => Ok(found.cloned()),
            },
        }
    }

    /// Whether the request is known to lack `source`, also where its body is not at hand.
    pub(super) fn lacks(&self, source: &Source) -> bool {
        matches!(source, Source::Query(_)) && matches!(self.value(source), Ok(None))
    }

    /// The last parameter called `name`, as Starlette reads it: `+` is a space, and bytes that
    /// are no UTF-8 are replaced.
    fn parameter(&self, name: &str) -> Result<Option<String>, PlanError> {
        // ASGI servers hand on raw bytes of the query as Latin-1, others as UTF-8.
        if !self.query.is_ascii() {
            return Err(PlanError("the query has bytes that are not percent-encoded".into()));
        }
        let pairs = self.query.rsplit('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        if self.dialect == Dialect::Strict && !is_certain_parameter(pairs.clone(), name) {
            let what = Source::Query(name.to_owned()).expression();
            let why = "might be read otherwise (dialect: strict)";
            return Err(PlanError(format!("{what} {why}")));
        }
        let mut named = pairs.filter(|(key, _)| form_decode(key) == name);
        Ok(named.next().map(|(_, value)| form_decode(value)))
    }
}

pub(super) fn form_decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn not_scalar(source: &Source) -> PlanError {
    PlanError(format!("{} is not a text, a whole number or a boolean", source.expression()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pointer;

    fn query(text: &str, name: &str) -> Option<String> {
        let request = Request::without_body(&[], Some(text));
        request.text(&Source::Query(name.into())).unwrap()
    }

    fn posted(body: &str) -> Result<Option<Value>, PlanError> {
        let (head, ()) = http::Request::new(()).into_parts();
        let request = Request::with_body(&[], &head, &Bytes::copy_from_slice(body.as_bytes()), 99)?;
        request.value(&Source::Body(Pointer::parse("/name").unwrap()))
    }

    #[test]
    fn the_last_of_two_query_parameters_wins() {
        assert_eq!(query("a=1&b=2&a=3", "a"), Some("3".into()));
        assert_eq!(query("a=1&%61=x%2By+z", "a"), Some("x+y z".into()));
        assert_eq!(query("a&&b=", "a"), Some(String::new()));
        assert_eq!(query("b=a", "a"), None);
        assert_eq!(query("?a=1", "a"), None);
    }

    #[test]
    fn p5_in_the_strict_dialect_a_parameter_that_is_there_in_two_ways_is_refused() {
        let read = |query, dialect| {
            let request = Request::without_body(&[], Some(query)).taken(dialect);
            request.text(&Source::Query("agent_id".into()))
        };
        for odd in [
            "agent_id=a&agent_id=b",
            "agent_id=a&agent%5Fid=a",
            "agent_id=a;agent_id=b",
            "x=1;agent_id=b",
            "agent_id=a&Agent_Id=b",
            "AGENT_ID=b",
            "agent_id[]=b",
            "agent_id%5B0%5D=b&agent_id=a",
            "+agent_id=b",
            "agent_id=%FF",
        ] {
            let refused = read(odd, Dialect::Strict).unwrap_err().to_string();
            assert!(refused.contains("$request.query.agent_id"), "{odd}: {refused}");
            assert!(read(odd, Dialect::Starlette).is_ok(), "{odd}");
        }
        for plain in ["", "x=1&agent_id=a%20b&agent_ids=2&[agent_id]=3", "x=1", "x=%FF"] {
            let as_starlette = read(plain, Dialect::Starlette);
            assert_eq!(read(plain, Dialect::Strict), as_starlette, "{plain}");
        }
    }

    #[test]
    fn p5_raw_bytes_in_a_query_are_refused() {
        let request = Request::without_body(&[], Some("a=é"));
        assert!(request.text(&Source::Query("a".into())).is_err());
    }

    #[test]
    fn a_body_that_is_no_json_has_no_members() {
        for bad in ["", "{", "nonsense", "{\"name\": }", "{\"name\": 1} x"] {
            assert_eq!(posted(bad), Ok(None), "{bad}");
        }
        assert_eq!(posted(r#"{"name": "k"}"#), Ok(Some("k".into())));
    }

    #[test]
    fn p5_a_body_that_can_be_read_in_two_ways_is_refused() {
        for bad in [
            r#"{"name": 1, "name": 2}"#,
            r#"{"name": 1, "n\u0061me": 2}"#,
            "\u{feff}{}",
            r#"{"name": NaN}"#,
            "[1]",
            r#"{"name": {"secret": "s3cret"}}"#,
        ] {
            let refused = posted(bad).unwrap_err().to_string();
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
