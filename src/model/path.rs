//! The path a request is decided on (promise P5).

/// A request path, percent-decoded once as the service's router decodes it, and known to have
/// one reading only.
///
/// Starlette decodes the whole path before it splits it (contract keys-service.md, "Which
/// spellings reach a handler"). Where the text before and after decoding could be routed in two
/// ways (`%2F`, `%5C`, `//`, dot segments, control bytes), [`DecodedPath::is_plain`] says so, and
/// the rules decide whether that matters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodedPath {
    text: String,
    plain: bool,
}

/// Why a request target has no path that can be decided on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// h11 would accept such a target and route it; nobody honest sends one.
    #[error("the request target has no leading slash")]
    NoLeadingSlash,
    /// `%` not followed by two hexadecimal digits.
    #[error("the request path has a \"%\" that encodes nothing")]
    BadEscape,
}
