//! Bodies that rules read: decoded in a copy, within a limit, and read in one way only.

mod decode;
mod strict;

use http::HeaderValue;
use serde_json::Value;

/// Why a body can't be read. Its text names no part of the body (promise P7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// `Content-Encoding` names a coding we don't have, or the body isn't in it.
    #[error("it can't be decoded as its Content-Encoding says")]
    Encoding,
    /// Decoded, it exceeds the limit.
    #[error("it is larger than the sidecar reads of an intercepted body")]
    TooLarge,
    /// It is no JSON, for anybody.
    #[error("it is not JSON")]
    Syntax,
    /// An object has a member twice, at any depth and in any spelling.
    #[error("a JSON object has the same member twice")]
    Duplicate,
    /// Some parsers read it and others don't: a byte order mark, UTF-16 or -32, bytes that are
    /// no UTF-8, `NaN` or `Infinity`, half a surrogate pair, a number beyond every `f64`, or
    /// more than [`MAX_DEPTH`] levels.
    #[error("it is JSON for some parsers only (byte order mark, encoding, number or depth)")]
    Ambiguous,
}

/// Levels of nesting that are read. `serde_json` stops at 128, Python near 1,000.
pub const MAX_DEPTH: usize = 100;

/// Reads a service's answer: `bytes` as it came, in `content_encoding` (`gzip`, `deflate`, `br`,
/// `zstd`, several of them, or none), decoded to at most `limit` bytes at every stage.
///
/// # Errors
/// See [`BodyError`].
pub fn json(
    content_encoding: Option<&HeaderValue>,
    bytes: &[u8],
    limit: usize,
) -> Result<Value, BodyError> {
    strict::parse(&decode::decode(content_encoding, bytes, limit)?)
}

/// Reads a client's body as [`json`] reads a service's, but without `zstd`.
///
/// One block of `zstd` may unfold to gigabytes before our decoder gives a byte of it, which is
/// more trust than a client has (promise P8).
///
/// # Errors
/// See [`BodyError`].
pub(super) fn client_json(
    content_encoding: Option<&HeaderValue>,
    bytes: &[u8],
    limit: usize,
) -> Result<Value, BodyError> {
    let zstd = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("zstd"))
    };
    if content_encoding.is_some_and(zstd) {
        return Err(BodyError::Encoding);
    }
    json(content_encoding, bytes, limit)
}
