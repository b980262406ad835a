//! The saga's calls to the service: the intercepted exchange itself, and the probes, look-ups,
//! confirmations and undos around it.

mod list;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, response};
use serde_json::Value;

pub(super) use self::list::Lists;
use super::config::Config;
use super::credentials::Credentials;
use super::outcome::{BodySeen, Seen};
use super::settle::Presence;
use crate::failpoint;
use crate::http::breaker::Breaker;
use crate::model::{Call, Confirm, Pointer, ResourceId, Undo};
use crate::rules;
use crate::upstream::{self, Collected, Sent, Transport};

/// A handle on the service for sagas.
pub(super) struct Service {
    pub(super) transport: Arc<dyn Transport>,
    /// What calls come to. Whoever could do without one asks it; calls for a client never do.
    pub(super) circuit: Breaker,
    /// What `as: service` sends.
    pub(super) headers: HeaderMap,
    /// Where calls that have no caller's Host are addressed to.
    pub(super) host: HeaderValue,
    pub(super) config: Config,
}

/// The service's answer to an intercepted request, as far as it is in memory.
pub(super) struct Answer {
    head: response::Parts,
    body: Collected,
}

/// Why a call proved nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The service answered something that proves nothing.
    #[error("{} was answered {}", .0.call, .0.answer.status())]
    Status(Box<Asked>),
    /// No usable answer came.
    #[error("{call}: {detail}")]
    NoAnswer {
        /// The call's method and path.
        call: String,
        /// What is the matter.
        detail: String,
    },
    /// The id can't be put into the call's path.
    #[error("the id {0} can't be one segment of a path")]
    Id(ResourceId),
}

/// A call and an answer that proves nothing.
pub(super) struct Asked {
    /// The call's method and path.
    call: String,
    /// The answer.
    pub(super) answer: Answer,
}

/// The row that a by-id question found.
pub(super) enum Found {
    /// A row with the id that was asked for, byte for byte.
    Row,
    /// A row with another id: the service reads ids more liberally than we may.
    Other(ResourceId),
    /// No row.
    None,
}

impl CallError {
    /// Whether the service answered that the call itself is at fault.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status(asked) if asked.answer.is_refusal())
    }

    /// Whether the service does not accept the caller.
    pub(super) fn is_denied(&self) -> bool {
        let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Status(asked) if denied.contains(&asked.answer.status()))
    }
}

impl Service {
    /// Whether there is something for `as: service` to send.
    pub(super) fn has_credentials(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Sends an intercepted request, once, and reads the answer up to the limit.
    ///
    /// A whole answer shows that the service is there. That there is none shows nothing but where
    /// it could not be reached: this request may be what it chokes on.
    pub(super) async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, Sent> {
        let answer = self.send(request).await;
        match &answer {
            Ok(answer) if answer.is_whole() => self.circuit.succeeded(),
            Err(Sent::Never) => self.circuit.failed(),
            Ok(_) | Err(Sent::Maybe) => {}
        }
        answer
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Answer, Sent> {
        let response = self.transport.send(request).await.map_err(|error| error.sent)?;
        let (head, body) = response.into_parts();
        let body = upstream::collect(body, self.config.answer.0).await;
        Ok(Answer { head, body })
    }

    /// Asks whether the row with `id` exists.
    pub(super) async fn find(
        &self,
        confirm: &Confirm,
        id: &ResourceId,
        credentials: &Credentials,
    ) -> Result<Found, CallError> {
        let call = confirm.call.for_id(id).ok_or_else(|| CallError::Id(id.clone()))?;
        failpoint::hit("find.asking");
        let answer = self.call(&call, credentials).await?;
        failpoint::hit("find.told");
        if confirm.gone_on.contains(&answer.status().as_u16()) {
            return Ok(Found::None);
        }
        let row = self.json(&call, answer)?;
        match confirm.id.of(&row).and_then(ResourceId::from_json) {
            Some(found) if found == *id => Ok(Found::Row),
            Some(found) => Ok(Found::Other(found)),
            None => Err(no_answer(&call, "the answer holds no id where the rule says")),
        }
    }

    /// Asks whether exactly the row with `id` is there or gone. A row with another id proves
    /// neither.
    pub(super) async fn confirm(
        &self,
        confirm: &Confirm,
        id: &ResourceId,
        credentials: &Credentials,
    ) -> Result<Presence, CallError> {
        match self.find(confirm, id, credentials).await? {
            Found::Row => Ok(Presence::Present),
            Found::None => Ok(Presence::Gone),
            Found::Other(_) => Err(CallError::NoAnswer {
                call: format!("{} {}…", confirm.call.method, confirm.call.before),
                detail: "the answer is about a row with another id".into(),
            }),
        }
    }

    /// Sends the undo's DELETE. `Ok` means that it is worth asking [`Service::confirm`] now.
    pub(super) async fn undo(
        &self,
        undo: &Undo,
        id: &ResourceId,
        credentials: &Credentials,
    ) -> Result<(), CallError> {
        let call = undo.call.for_id(id).ok_or_else(|| CallError::Id(id.clone()))?;
        failpoint::hit("undo.sending");
        let answer = self.call(&call, credentials).await;
        failpoint::hit(if answer.is_ok() { "undo.answered" } else { "undo.failed" });
        let answer = answer?;
        let accepted = undo.accepted_on.contains(&answer.status().as_u16());
        if accepted { Ok(()) } else { Err(status(&call, answer)) }
    }

    /// Looks one value up.
    pub(super) async fn look_up(
        &self,
        call: &Call,
        id: &Pointer,
        credentials: &Credentials,
    ) -> Result<ResourceId, CallError> {
        failpoint::hit("parent.asking");
        let answer = self.call(call, credentials).await?;
        failpoint::hit("parent.told");
        let answer = self.json(call, answer)?;
        id.of(&answer)
            .and_then(ResourceId::from_json)
            .ok_or_else(|| no_answer(call, "the answer holds no id where the rule says"))
    }

    /// Makes one call and gives its answer if it is whole.
    async fn call(&self, call: &Call, credentials: &Credentials) -> Result<Answer, CallError> {
        let request = self.request(call, credentials)?;
        let answer = tokio::time::timeout(self.config.call.0, self.send(request)).await;
        // Whatever it says: who answers is there.
        if matches!(&answer, Ok(Ok(answer)) if answer.is_whole()) {
            self.circuit.succeeded();
        } else {
            self.circuit.failed();
        }
        let why = match answer {
            Err(_) => "no answer within bounds.call",
            Ok(Err(_)) => "the service can't be reached or broke off",
            Ok(Ok(answer)) => match &answer.body {
                Collected::Whole(..) => return Ok(answer),
                Collected::TooLarge { .. } => "the answer is larger than bounds.answer",
                Collected::Cut { .. } => "the answer was cut",
            },
        };
        Err(no_answer(call, why))
    }

    fn request(&self, call: &Call, credentials: &Credentials) -> Result<Request<Bytes>, CallError> {
        let invalid = |_| no_answer(call, "the call is not a valid request");
        let builder = Request::builder().method(call.method.as_str()).uri(call.target.as_str());
        let mut request = builder.body(Bytes::new()).map_err(invalid)?;
        *request.headers_mut() = credentials.headers(call.credentials, &self.headers);
        request.headers_mut().entry(header::HOST).or_insert_with(|| self.host.clone());
        Ok(request)
    }

    /// The answer's document; anything but a plain success proves nothing.
    fn json(&self, call: &Call, answer: Answer) -> Result<Value, CallError> {
        if answer.status() != StatusCode::OK {
            return Err(status(call, answer));
        }
        let document = answer.document(self.config.answer.0);
        document.ok_or_else(|| no_answer(call, "the answer is not readable JSON"))
    }
}

impl Answer {
    /// What the classifier looks at; `id` says where a create's answer holds its id.
    pub(super) fn seen(&self, id: Option<&Pointer>, limit: usize) -> Seen {
        let body = match (&self.body, id) {
            (Collected::TooLarge { .. }, _) => BodySeen::TooLarge,
            (Collected::Cut { .. }, _) => BodySeen::Cut,
            (Collected::Whole(..), None) => BodySeen::NoId,
            (Collected::Whole(..), Some(id)) => {
                let id = self
                    .document(limit)
                    .and_then(|body| id.of(&body).and_then(ResourceId::from_json));
                id.map_or(BodySeen::NoId, BodySeen::Id)
            }
        };
        Seen::Answer { status: self.head.status.as_u16(), body }
    }

    /// The answer's JSON document, decoded in a copy, if it is whole and is one.
    pub(super) fn document(&self, limit: usize) -> Option<Value> {
        let Collected::Whole(body, _) = &self.body else { return None };
        rules::body::json(self.head.headers.get(header::CONTENT_ENCODING), body, limit).ok()
    }

    /// Whether its body did not break off.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.body, Collected::Cut { .. })
    }

    /// Whether the service says that the request itself is at fault, so that it would say the
    /// same to the delete: 4xx, but those that speak of the moment.
    pub(super) fn is_refusal(&self) -> bool {
        self.head.status.is_client_error() && !matches!(self.head.status.as_u16(), 408 | 425 | 429)
    }

    /// The answer's status.
    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The service's original bytes, headers and encoding, for the client.
    pub(super) fn into_response(self) -> Response<upstream::Body> {
        let body = match self.body {
            Collected::Whole(data, trailers) => upstream::Body::whole(data, trailers),
            Collected::TooLarge { prefix, rest } => upstream::Body::resume(prefix, rest),
            Collected::Cut { prefix, .. } => upstream::Body::whole(prefix, None),
        };
        Response::from_parts(self.head, body)
    }
}

fn status(call: &Call, answer: Answer) -> CallError {
    CallError::Status(Box::new(Asked { call: name(call), answer }))
}

fn no_answer(call: &Call, detail: &str) -> CallError {
    CallError::NoAnswer { call: name(call), detail: detail.into() }
}

/// Queries may hold what clients typed; method and path name the call well enough.
fn name(call: &Call) -> String {
    format!("{} {}", call.method, call.target.split('?').next().unwrap_or_default())
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.call)
    }
}
