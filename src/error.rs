//! Problem answers (RFC 9457) for everything that the sidecar itself answers.
//!
//! The service's own answers never become problems; see `proxy::respond` and `dualwrite` for
//! which is which.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::model::OperationId;

/// An answer of the sidecar's own making.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    operation: Option<OperationId>,
    undo: Option<UndoState>,
    retry_after: Option<Duration>,
}

/// What went wrong, from the client's point of view: one kind, one status, one problem type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The request can't be decided on: its target, a duplicate credential, its body.
    BadRequest,
    /// The path can be read in two ways that differ in what matches (promise P5).
    AmbiguousPath,
    /// authn does not accept the request's credentials.
    Unauthenticated,
    /// The body of an intercepted request did not arrive in time; nothing was sent.
    BodyTimeout,
    /// The body of an intercepted request exceeds the limit; nothing was sent.
    BodyTooLarge,
    /// More headers than configured. (Over HTTP/1.1 hyper says so, without a problem.)
    HeadTooLarge,
    /// A fault of the sidecar.
    Internal,
    /// CONNECT, since the sidecar is no tunnel, or a transfer coding besides chunks.
    NotImplemented,
    /// No connection to the service could be made.
    UpstreamUnreachable,
    /// The service closed the connection before its answer was complete.
    UpstreamCut,
    /// The service's answer is not HTTP, or can't be used for this request.
    UpstreamInvalid,
    /// The service did not answer in time.
    UpstreamTimeout,
    /// The create was not registered, so it does not stand; `undo` tells how far that is.
    NotRegistered,
    /// What a decision needs (authn, back end, journal) does not work; nothing was sent.
    Unavailable,
    /// More requests than configured; nothing was sent.
    Overloaded,
}

/// How far the undoing of a create has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UndoState {
    /// The row is gone.
    Done,
    /// It is being removed.
    Pending,
    /// Recovery decides, or a person did.
    Unknown,
}

impl Kind {
    /// Status, slug and title: the one place where an answer's look is decided.
    fn face(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (
                StatusCode::BAD_REQUEST,
                "bad-request",
                "The request can't be read in one way only",
            ),
            Self::AmbiguousPath => {
                (StatusCode::BAD_REQUEST, "ambiguous-path", "The path can be read in two ways")
            }
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "The credentials are not accepted")
            }
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body did not arrive in time")
            }
            Self::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large")
            }
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "There are too many headers",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The sidecar failed"),
            Self::NotImplemented => {
                (StatusCode::NOT_IMPLEMENTED, "not-implemented", "Such a request is not supported")
            }
            Self::UpstreamUnreachable => {
                (StatusCode::BAD_GATEWAY, "upstream-unreachable", "The service can't be reached")
            }
            Self::UpstreamCut => (StatusCode::BAD_GATEWAY, "upstream-cut", "The service broke off"),
            Self::UpstreamInvalid => {
                (StatusCode::BAD_GATEWAY, "upstream-invalid", "The service's answer can't be used")
            }
            Self::UpstreamTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream-timeout",
                "The service did not answer in time",
            ),
            Self::NotRegistered => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not-registered",
                "The resource could not be registered",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The request can't be decided on now",
            ),
            Self::Overloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests at once")
            }
        }
    }

    /// The status that answers carry.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.face().0
    }

    /// The last part of the problem type, stable; also a metric label.
    #[must_use]
    pub fn slug(self) -> &'static str {
        self.face().1
    }
}

impl Problem {
    /// A problem with a `detail` for people. Never a header value, a body or a credential.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), operation: None, undo: None, retry_after: None }
    }

    /// Names the operation, which operators find under `/operations`.
    #[must_use]
    pub fn operation(self, id: OperationId) -> Self {
        Self { operation: Some(id), ..self }
    }

    /// Tells how far the undoing has come.
    #[must_use]
    pub fn undo(self, state: UndoState) -> Self {
        Self { undo: Some(state), ..self }
    }

    /// Says when to try again, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The answer: `application/problem+json`, never cached.
    ///
    /// A 401 carries `WWW-Authenticate: Bearer`, since RFC 9110 §15.5.2 demands a challenge and
    /// that is one at which no browser opens a dialogue.
    /// It is marked as [`Own`].
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.json()));
        response.extensions_mut().insert(Own);
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value| headers.insert(name, value);
        set(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        set(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::Unauthenticated {
            set(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            let part = u64::from(after.subsec_nanos() > 0);
            set(header::RETRY_AFTER, HeaderValue::from(after.as_secs().saturating_add(part)));
        }
        response
    }

    fn json(&self) -> Vec<u8> {
        let (status, slug, title) = self.kind.face();
        let wire = Wire {
            kind: format!("urn:authz-sidecar:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            operation: self.operation,
            undo: self.undo,
        };
        // Strings and numbers only: serialising them can't fail.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

/// Marks, among an answer's extensions, one that the sidecar gives itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own;

/// The members in RFC 9457's order; `operation` and `undo` are extensions.
#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<UndoState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_why_and_what_next() {
        let id = OperationId::new();
        let response = Problem::new(Kind::NotRegistered, "the back end did not answer")
            .operation(id)
            .undo(UndoState::Pending)
            .retry_after(Duration::from_millis(1_200))
            .into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["retry-after"], "2");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:authz-sidecar:problem:not-registered",
                "title": "The resource could not be registered",
                "status": 503,
                "detail": "the back end did not answer",
                "operation": id.to_string(),
                "undo": "pending",
            })
        );
    }

    #[test]
    fn a_problem_without_an_operation_names_none() {
        let response = Problem::new(Kind::Unauthenticated, "no").into_response();
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 4);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert!(!response.headers().contains_key("retry-after"));
    }
}
