//! What the client gets: the service's own answer, or a problem (RFC 9457).

use std::fmt;
use std::time::Duration;

use http::Response;

use super::outcome::ClientGets;
use super::service::Answer;
use crate::error::{Kind, Problem, UndoState};
use crate::model::OperationId;
use crate::upstream::Body;

/// An answer on its way to the client.
pub(super) type Reply = Response<Body>;

/// When a client may try a refused request again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A problem that is the whole answer.
pub(super) fn problem(problem: Problem) -> Reply {
    problem.into_response().map(|body| Body::whole(body, None))
}

/// Marks an answer to a request that was refused before it was sent.
#[derive(Clone, Copy)]
struct Unsent;

/// Whether nothing of the request was sent, for certain.
pub(super) fn is_unsent(reply: &Reply) -> bool {
    reply.extensions().get::<Unsent>().is_some()
}

fn unsent(refused: Problem) -> Reply {
    let mut reply = problem(refused);
    reply.extensions_mut().insert(Unsent);
    reply
}

/// A request that was refused before it was sent.
pub(super) fn unavailable(operation: OperationId, why: impl fmt::Display) -> Reply {
    let detail = format!("{why}; nothing was sent");
    let refused = Problem::new(Kind::Unavailable, detail).operation(operation);
    unsent(refused.retry_after(RETRY_AFTER))
}

/// A create that was refused because the circuit to the back end is open; it is worth trying
/// again after `wait`.
pub(super) fn circuit_open(operation: OperationId, wait: Duration) -> Reply {
    let detail = "the authorization back end does not answer (its circuit is open): nothing could \
                  be registered; nothing was sent";
    // A client that comes a little late is served; one that comes early may not be.
    let wait = wait.max(Duration::from_secs(1));
    unsent(Problem::new(Kind::Unavailable, detail).operation(operation).retry_after(wait))
}

/// A request that found every place taken.
pub(super) fn overloaded(operation: OperationId) -> Reply {
    let detail = "too many operations are unfinished (bounds.open_operations); nothing was sent";
    problem(Problem::new(Kind::Overloaded, detail).operation(operation).retry_after(RETRY_AFTER))
}

/// A create that could not be undone, whatever the service answers.
pub(super) fn replay_key(operation: OperationId) -> Reply {
    let detail = "the request has a replay key (replay_headers), so that its answer may repeat an earlier one: a \
                  row could not be proven new, nor be undone; nothing was sent. Send it without the key";
    problem(Problem::new(Kind::BadRequest, detail).operation(operation))
}

/// A create that does not stand.
pub(super) fn not_registered(operation: OperationId, undo: UndoState) -> Reply {
    let detail = match undo {
        UndoState::Done => "the resource could not be registered and was removed again",
        UndoState::Pending => "the resource could not be registered and is being removed",
        UndoState::Unknown => {
            "it is not known whether the resource is registered; recovery, or a person, decides"
        }
    };
    let problem_ = Problem::new(Kind::NotRegistered, detail).operation(operation).undo(undo);
    problem(problem_.retry_after(RETRY_AFTER))
}

/// A create whose id belongs to another operation.
pub(super) fn conflict(operation: OperationId) -> Reply {
    let detail = "the service answered with a row that can't be proven to be this create's; nothing was undone";
    let undo = UndoState::Unknown;
    problem(Problem::new(Kind::NotRegistered, detail).operation(operation).undo(undo))
}

/// What the classifier says the client gets for an exchange. `unusable` is what is true of the row
/// of a success that names none.
pub(super) fn classified(
    operation: OperationId,
    gets: ClientGets,
    answer: Option<Answer>,
    unusable: UndoState,
) -> Reply {
    let made = |kind, detail| problem(Problem::new(kind, detail).operation(operation));
    match (gets, answer) {
        (ClientGets::ServiceAnswer, Some(answer)) => answer.into_response(),
        (ClientGets::Unreachable, _) => {
            made(Kind::UpstreamUnreachable, "the service can't be reached; nothing was sent")
        }
        (ClientGets::TimedOut, _) => made(
            Kind::UpstreamTimeout,
            "the service did not answer in time; what came of the request is being found out",
        ),
        (ClientGets::Unusable, _) => not_registered(operation, unusable),
        (ClientGets::BadAnswer, Some(answer)) if answer.is_whole() => made(
            Kind::UpstreamInvalid,
            "the service answered with a redirect that does not say what came of the request",
        ),
        (ClientGets::BadAnswer | ClientGets::ServiceAnswer, _) => made(
            Kind::UpstreamCut,
            "the service's answer broke off; what came of the request is being found out",
        ),
    }
}
