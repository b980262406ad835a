//! Why there is no answer, and whether the call may have had an effect all the same.

use std::error::Error as StdError;
use std::fmt::Write as _;

use http_body_util::LengthLimitError;

/// Why a call has no whole answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// The class of failure.
    pub kind: ErrorKind,
    /// For the operator: method, URL and what the transport said. Never a header value or a body.
    pub detail: String,
    /// Whether the other side may have seen the request: false only where that is certain.
    pub ambiguous: bool,
}

/// Classes of failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum ErrorKind {
    /// No connection could be made.
    #[error("can't connect")]
    Connect,
    /// The time-out passed first.
    #[error("timed out")]
    Timeout,
    /// The connection ended before the answer was complete.
    #[error("the connection was closed before the answer was complete")]
    Cut,
    /// The answer's body exceeds the limit.
    #[error("the answer is too large")]
    TooLarge,
    /// The answer is not HTTP, or the request could not be made.
    #[error("not valid HTTP")]
    Invalid,
}

/// The class of a failure after the connection was made.
pub(super) fn kind_of(error: &(dyn StdError + 'static)) -> ErrorKind {
    for cause in chain(error) {
        if cause.is::<LengthLimitError>() {
            return ErrorKind::TooLarge;
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_parse() || hyper.is_parse_status() || hyper.is_parse_too_large())
        {
            return ErrorKind::Invalid;
        }
    }
    ErrorKind::Cut
}

/// The messages of a failure and its causes in one line. Those of hyper, rustls and the
/// operating system name what went wrong, never what was sent.
pub(super) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut line = String::new();
    for cause in chain(error) {
        let separator = if line.is_empty() { "" } else { ": " };
        // Writing to a String can't fail.
        let _ = write!(line, "{separator}{cause}");
    }
    line
}

fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
