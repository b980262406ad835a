//! The path a request is decided on (promise P5).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A request path, percent-decoded once as the service's router decodes it.
///
/// Starlette decodes the whole path before it splits it (contract keys-service.md, "Which
/// spellings reach a handler"). Where a path could also be routed in another way (`%2F`, `%5C`,
/// `//`, dot segments, control bytes), it is not plain, and the rules compare what each reading
/// matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodedPath<'a> {
    raw: &'a str,
    text: Cow<'a, str>,
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

impl<'a> DecodedPath<'a> {
    /// Decodes a request target's path.
    ///
    /// # Errors
    /// When it has no leading slash or a broken escape.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NoLeadingSlash);
        }
        let escape = |rest: &str| {
            let mut digits = rest.bytes();
            let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
            hex(digits.next()) && hex(digits.next())
        };
        if !raw.split('%').skip(1).all(escape) {
            return Err(PathError::BadEscape);
        }
        let text = percent_decode_str(raw).decode_utf8_lossy();
        let suspect = |part: &str| part.contains(|c: char| c == '\\' || c.is_control());
        let encoded_slash = raw.to_ascii_lowercase().contains("%2f");
        let odd = text.split('/').skip(1).any(|segment| matches!(segment, "" | "." | ".."));
        let plain = !(encoded_slash || odd || suspect(&text));
        Ok(Self { raw, text, plain })
    }

    /// The decoded text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text is the only reading.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The other readings; none of a plain path.
    pub fn readings(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let normal = || {
            let mut kept: Vec<&str> = Vec::new();
            for segment in self.text.split(['/', '\\']) {
                match segment {
                    "" | "." => {}
                    ".." => drop(kept.pop()),
                    other => kept.push(other.trim_end_matches(char::is_control)),
                }
            }
            Cow::Owned(format!("/{}", kept.join("/")))
        };
        let raw = (!self.plain).then(|| Cow::Borrowed(self.raw));
        raw.into_iter().chain((!self.plain).then(normal))
    }
}
