//! The strict dialect: what routers that nobody knows may make of a path (promise P5).
//!
//! [`DecodedPath::readings`] lists how servers in front of Starlette's router differ. Other routers
//! have more habits: case does not matter, a trailing slash, what follows `;` or a last `.ext` is
//! dropped, escapes are decoded twice or never, `+` is a space. Instead of all their combinations
//! there are two questions here, each answered on the safe side: whether a path that a rule matches
//! is one to every router ([`is_certain`]), and whether a path that no rule matches might be one's
//! to any ([`Loose`]).

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::request::form_decode;
use crate::model::DecodedPath;

/// How the service takes a path from a request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As Starlette's router does, behind any of the servers that `scripts/differential.sh` asks.
    #[default]
    Starlette,
    /// In a way that is not known: whatever some router could take otherwise is refused.
    Strict,
}

/// Times that a path is decoded to see what it comes to at last.
const ROUNDS: usize = 4;

/// Whether every router takes `path`, which a rule matches, as the rule does. `ends_in_value`: the
/// rule's last segment is a parameter, which an extension would belong to.
pub(super) fn is_certain(path: &DecodedPath<'_>, ends_in_value: bool) -> bool {
    let text = path.text();
    let last = text.rsplit('/').next().unwrap_or_default();
    path.is_plain()
        && escapes_are_needed(path.raw())
        && text.split('/').all(is_certain_segment)
        && !(ends_in_value && stem(last) != last)
}

/// Whether every router takes `value` for itself where it is a segment of a path of the sidecar's own,
/// encoded.
pub(super) fn is_certain_value(value: &str) -> bool {
    is_certain_segment(value) && stem(value) == value
}

/// Whether every framework takes the parameter `name` from these pairs of a query alike: some read the
/// first of several and some the last, `name[]` for a list, names in any case, and `;` for `&`.
pub(super) fn is_certain_parameter<'q>(
    pairs: impl Iterator<Item = (&'q str, &'q str)>,
    name: &str,
) -> bool {
    let mut found = 0;
    for (key, value) in pairs {
        let decoded = form_decode(key);
        let stem = decoded.split('[').next().unwrap_or_default().trim();
        if stem.eq_ignore_ascii_case(name) {
            found += 1;
            if decoded != name || form_decode(value).contains('\u{FFFD}') {
                return false;
            }
        }
        if key.contains(';') || value.contains(';') {
            return false;
        }
    }
    found <= 1
}

fn is_certain_segment(text: &str) -> bool {
    !text.contains(CUTS) && !text.contains(['+', '%', '\u{FFFD}']) && !text.ends_with(['.', ' '])
}

/// What some end a segment, or a path, at: parameters, and what is a query or a fragment to who decodes
/// before it looks for one.
const CUTS: [char; 3] = [';', '?', '#'];

/// Whether all that is encoded has to be: routers that match before they decode see the same.
fn escapes_are_needed(raw: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    raw.split('%').skip(1).all(|behind| {
        let byte = behind.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|byte| !unreserved(byte))
    })
}

/// A path with all that a router may ignore taken away.
pub(super) struct Loose {
    segments: Vec<String>,
    /// Whether each segment is where every router sees it.
    in_place: bool,
    /// Whether it was decoded to its end.
    whole: bool,
}

impl Loose {
    pub(super) fn of(path: &DecodedPath<'_>) -> Self {
        let (text, whole) = decoded_to_the_end(path.raw());
        let mut segments: Vec<_> = text.split('/').skip(1).map(bare).collect();
        while segments.last().is_some_and(String::is_empty) {
            segments.pop();
        }
        // What is cut may have hidden a dot segment, or been all of its segment.
        let in_place = path.is_plain()
            && !path.text().contains('%')
            && !text.contains(CUTS)
            && !segments.iter().any(String::is_empty);
        Self { segments, in_place, whole }
    }

    /// Whether a router might match it with these segments, of which `None` is a parameter.
    pub(super) fn may_be<'s>(
        &self,
        template: impl ExactSizeIterator<Item = Option<&'s str>>,
    ) -> bool {
        let is = |segment: &str, literal: &str| segment == bare(literal);
        // An extension is one at the path's end only.
        let ends = |segment: &str, literal: &str| {
            let literal = bare(literal);
            segment == literal || stem(segment) == stem(&literal)
        };
        if !self.whole {
            return true;
        }
        let mut left = self.segments.iter();
        if self.in_place {
            let last = template.len();
            return last == left.len()
                && (1..).zip(template).zip(left).all(|((place, wanted), segment)| {
                    wanted.is_none_or(|literal| {
                        is(segment, literal) || (place == last && ends(segment, literal))
                    })
                });
        }
        // Segments may vanish, a host, dots and what they undo, but none comes and none moves.
        template.flatten().all(|literal| left.any(|segment| ends(segment, literal)))
    }
}

/// A segment as who is careless about it sees it.
fn bare(segment: &str) -> String {
    let kept = segment.split(CUTS).next().unwrap_or_default().replace('+', " ");
    folded(kept.trim_end_matches(['.', ' ']))
}

/// Decoded until nothing changes, with slashes for backslashes and without control characters;
/// and whether it came to that.
fn decoded_to_the_end(raw: &str) -> (String, bool) {
    let mut text = raw.to_owned();
    for _ in 0..ROUNDS {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().replace('\\', "/");
        let next = decoded.replace(|c: char| c.is_ascii_control(), "");
        if next == text {
            return (text, true);
        }
        text = next;
    }
    (text, false)
}

/// Without an extension.
fn stem(segment: &str) -> &str {
    match segment.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() => stem,
        _ => segment,
    }
}

/// As who ignores case sees it: `ſ` is an s to some, `İ` an i to others.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.replace('İ', "i").to_uppercase().to_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(path: &str) -> DecodedPath<'_> {
        DecodedPath::parse(path).unwrap()
    }

    fn may_be(path: &str, template: &[Option<&str>]) -> bool {
        Loose::of(&parsed(path)).may_be(template.iter().copied())
    }

    #[test]
    fn p5_what_every_router_takes_alike_is_certain() {
        for certain in
            ["/keys/k-1", "/keys/K_1~x", "/keys/two%20words", "/a.b/keys", "/keys/%C3%A9"]
        {
            assert!(is_certain(&parsed(certain), !certain.contains('.')), "{certain}");
        }
        for doubtful in [
            "/keys/k;x",
            "/keys/k%3Bx",
            "/keys/a+b",
            "/keys/%6b",
            "/%6beys/k",
            "/keys/100%25",
            "/keys/100%",
            "/keys/%FF",
            "/keys/k.json",
            "/keys/k%20",
            "/keys/k.",
            "/keys./k",
            "/keys/a%2Fb",
            "/keys/a%3Fb",
            "/keys/a%23b",
            "/keys//k",
        ] {
            assert!(!is_certain(&parsed(doubtful), true), "{doubtful}");
        }
    }

    #[test]
    fn p5_what_some_router_would_match_may_be_the_rule_s() {
        for spelling in [
            "/Keys",
            "/KEYS/",
            "/keys//",
            "/keys;v=1",
            "/keys.json",
            "/keys.",
            "/keys%20",
            "/%256beys",
            "/%25256beys",
            "/x/../keys",
            "/x/%2e%2e%2fkeys",
            "//host/keys",
            "/ke%0Ays",
            "/key%C5%BF",
            "/%2525252525252525256beys",
            "/;x/keys",
            "/.;/keys",
            "/x/..;/keys",
            "/x/%2e%2e%3b/keys",
            "/keys;/x",
            "/keys%3Fx",
            "/keys%23",
            "/keys+",
            "/%20/keys",
        ] {
            assert!(may_be(spelling, &[Some("keys")]), "{spelling}");
        }
        assert!(may_be("/agents/a%252Fb/Keys/", &[Some("agents"), None, Some("keys")]));
        assert!(may_be("/k%C4%B0", &[Some("ki")]));
        assert!(may_be("/two+words", &[Some("two words")]));
        assert!(may_be("/keys", &[Some("Keys.json")]));
    }

    #[test]
    fn p6_what_no_router_would_match_is_not_the_rule_s() {
        for path in ["/", "/key", "/keys/k", "/a/keys", "/keysmith", "/keys/two%20words", "/.keys"]
        {
            assert!(!may_be(path, &[Some("keys")]), "{path}");
        }
        assert!(!may_be("/files//a", &[Some("keys")]));
        assert!(!may_be("/files;v=1/a", &[Some("keys")]));
        assert!(!may_be("/v1.1/keys", &[Some("v1.0"), Some("keys")]));
        assert!(!may_be("/keys/../files/x", &[Some("files"), Some("keys")]));
    }

    proptest! {
        #[test]
        fn p5_no_reading_of_starlette_s_dialect_is_missed(
            path in r"/(keys|k|[.\\/\n;]|%2[FfEe]|%5[Cc]|%0A|%25|%6b|%)*"
        ) {
            let path = parsed(&path);
            let template = [Some("keys")];
            let matched = path.text() == "/keys" || path.readings().any(|reading| reading == "/keys");
            if matched {
                prop_assert!(Loose::of(&path).may_be(template.into_iter()));
            }
        }
    }
}
