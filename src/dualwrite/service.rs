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
    /// The service answered this call, by its method and path, something that proves nothing.
    #[error("{0} was answered {status}", status = .1.status())]
    Status(String, Box<Answer>),
    /// No usable answer to this call came, for this reason.
    #[error("{0}: {1}")]
    NoAnswer(String, &'static str),
    /// The id can't be put into the call's path.
    #[error("the id {0} can't be one segment of a path")]
    Id(ResourceId),
}

impl CallError {
    /// Whether the service answered that the call itself is at fault.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status(_, answer) if answer.is_refusal())
    }

    /// Whether the service does not accept the caller.
    pub(super) fn is_denied(&self) -> bool {
        let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Status(_, answer) if denied.contains(&answer.status()))
    }
}

impl Service {
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

    /// Asks for the row with `id`, and gives the id of what was found, which is another where the service reads
    /// ids more liberally than we may.
    pub(super) async fn find(
        &self,
        confirm: &Confirm,
        id: &ResourceId,
        credentials: &Credentials,
    ) -> Result<Option<ResourceId>, CallError> {
        let call = confirm.call.for_id(id).ok_or_else(|| CallError::Id(id.clone()))?;
        failpoint::hit("find.asking");
        let answer = self.call(&call, credentials).await?;
        failpoint::hit("find.told");
        if confirm.gone_on.contains(&answer.status().as_u16()) {
            return Ok(None);
        }
        self.id(&call, answer, &confirm.id).map(Some)
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
            None => Ok(Presence::Gone),
            Some(found) if found == *id => Ok(Presence::Present),
            Some(_) => {
                let call = format!("{} {}…", confirm.call.method, confirm.call.before);
                Err(CallError::NoAnswer(call, "the answer is about a row with another id"))
            }
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
        self.id(call, answer, id)
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

    /// The id that the answer's document holds at `id`.
    fn id(&self, call: &Call, answer: Answer, id: &Pointer) -> Result<ResourceId, CallError> {
        let found = id.id_of(&self.json(call, answer)?);
        found.ok_or_else(|| no_answer(call, "the answer holds no id where the rule says"))
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
        let body = match &self.body {
            Collected::TooLarge { .. } => BodySeen::TooLarge,
            Collected::Cut { .. } => BodySeen::Cut,
            Collected::Whole(..) => {
                let id = id.and_then(|id| id.id_of(&self.document(limit)?));
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
    CallError::Status(name(call), Box::new(answer))
}

fn no_answer(call: &Call, why: &'static str) -> CallError {
    CallError::NoAnswer(name(call), why)
}

/// Queries may hold what clients typed; method and path name the call well enough.
fn name(call: &Call) -> String {
    format!("{} {}", call.method, call.target.split('?').next().unwrap_or_default())
}

impl std::fmt::Debug for Answer {
    /// Nothing that the service says (promise P7).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.head.status.as_str())
    }
}
