//! The path a request is decided on (promise P5).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A request path, percent-decoded once as the service's router decodes it.
///
/// Starlette decodes the whole path before it matches (contract keys-service.md, "Which
/// spellings reach a handler"): so `%2F` is a separator to it, a bad escape stays as it is, and
/// bytes that are not UTF-8 become U+FFFD. Whatever stands between the sidecar and that router may
/// take the same bytes differently; [`DecodedPath::readings`] lists how, and the rules refuse a
/// request of which two readings differ in what matches.
///
/// A path without `%` borrows, so that unmatched requests cost no allocation.
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
}

impl<'a> DecodedPath<'a> {
    /// Decodes the path of a request target, without its query.
    ///
    /// # Errors
    /// When it doesn't begin with a slash.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        if !path.starts_with('/') {
            return Err(PathError::NoLeadingSlash);
        }
        let text = if path.contains('%') {
            percent_decode_str(path).decode_utf8_lossy()
        } else {
            Cow::Borrowed(path)
        };
        let slash_hidden = matches!(text, Cow::Owned(_)) && slashes(&text) != slashes(path);
        let plain = !slash_hidden && is_plain(&text);
        Ok(Self { raw: path, text, plain })
    }

    /// The path as the service's router sees it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The path as it came.
    #[must_use]
    pub fn raw(&self) -> &str {
        self.raw
    }

    /// Whether every router takes it as [`DecodedPath::text`]: there are no other readings.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// What else the path may be taken for, each once, without [`DecodedPath::text`] itself.
    ///
    /// Ways to decode, before or after splitting at slashes (where it is split first, an encoded
    /// slash stays in its segment and is shown as `%2F`, or becomes one at the very end); and five
    /// habits that a router may or may not have: a backslash is a slash (anywhere, or only where
    /// it is not encoded), control characters vanish, two slashes begin a host (as in WHATWG's
    /// URL), repeated slashes are one, dot segments are resolved. All combinations, at most 191.
    /// A trailing slash is no such habit: the service answers it with a redirect, which must pass.
    pub fn readings(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let readings = if self.plain { Vec::new() } else { self.enumerate() };
        readings.into_iter().map(Cow::Owned)
    }

    fn enumerate(&self) -> Vec<String> {
        // WHATWG's URL knows a backslash from an encoded one.
        let slashed = backslash_is_slash(self.raw);
        let decode = |raw: &str| percent_decode_str(raw).decode_utf8_lossy().into_owned();
        let whole = with_habits([decode(self.raw), decode(&slashed)]);
        let split = with_habits([split_then_decode(self.raw), split_then_decode(&slashed)]);
        let late: Vec<_> = split.iter().map(|reading| reading.replace("%2F", "/")).collect();
        let mut readings = distinct(whole.into_iter().chain(split).chain(late));
        readings.retain(|reading| *reading != self.text);
        readings
    }
}

/// In the order in which a router that has several applies them.
const HABITS: [fn(&str) -> String; 5] =
    [backslash_is_slash, without_controls, without_host, one_slash, without_dot_segments];

/// All combinations of the habits.
fn with_habits(bases: [String; 2]) -> Vec<String> {
    HABITS.iter().fold(distinct(bases), |readings, habit| {
        let changed: Vec<_> = readings.iter().map(|reading| habit(reading)).collect();
        distinct(readings.into_iter().chain(changed))
    })
}

fn distinct(readings: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for reading in readings {
        if !all.contains(&reading) {
            all.push(reading);
        }
    }
    all
}

fn slashes(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'/').count()
}

/// Whether no habit changes `text`. One pass: this is on the way of every request.
fn is_plain(text: &str) -> bool {
    let mut previous = 0;
    let mut dotted = false;
    for byte in text.bytes() {
        if byte == b'\\' || byte.is_ascii_control() || (byte == b'/' && previous == b'/') {
            return false;
        }
        dotted |= byte == b'.' && previous == b'/';
        previous = byte;
    }
    !(dotted && text.split('/').any(|segment| segment == "." || segment == ".."))
}

fn split_then_decode(raw: &str) -> String {
    let decode = |segment| percent_decode_str(segment).decode_utf8_lossy().replace('/', "%2F");
    raw.split('/').map(decode).collect::<Vec<_>>().join("/")
}

fn backslash_is_slash(path: &str) -> String {
    path.replace('\\', "/")
}

/// `//host/path` against a base of a special scheme, which takes further slashes for none.
fn without_host(path: &str) -> String {
    if !path.starts_with("//") {
        return path.to_owned();
    }
    let behind = path.trim_start_matches('/');
    behind.find('/').map_or("/", |end| &behind[end..]).to_owned()
}

fn without_controls(path: &str) -> String {
    path.replace(|c: char| c.is_ascii_control(), "")
}

fn one_slash(path: &str) -> String {
    let mut previous = '\0';
    let keep = |c: &char| {
        let repeated = *c == '/' && previous == '/';
        previous = *c;
        !repeated
    };
    path.chars().filter(keep).collect()
}

/// RFC 3986 §5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn readings(path: &str) -> Vec<String> {
        DecodedPath::parse(path).unwrap().readings().map(Cow::into_owned).collect()
    }

    #[test]
    fn p5_a_path_is_decoded_once_and_as_a_whole() {
        let text = |path| DecodedPath::parse(path).unwrap().text().to_owned();
        assert_eq!(text("/%61gent%5Fapi_keys"), "/agent_api_keys");
        assert_eq!(text("/agent_api_keys%2Fx"), "/agent_api_keys/x");
        assert_eq!(text("/a%252Fb"), "/a%2Fb");
        assert_eq!(text("/100%"), "/100%");
        assert_eq!(text("/%zz+%FF"), "/%zz+\u{FFFD}");
        for bad in ["", "x", "%2Fx", "*", "http:/x"] {
            assert_eq!(DecodedPath::parse(bad), Err(PathError::NoLeadingSlash), "{bad}");
        }
    }

    #[test]
    fn p5_every_habit_of_a_router_is_a_reading() {
        let k = "/keys/x";
        for spelling in [
            "/keys%5Cx",
            "/keys\\x",
            "//keys/x",
            "/keys//x",
            "/keys/./x",
            "/y/../keys/x",
            "/keys/x%0A",
            "/keys/%00x",
            "/keys/y/%2E%2E/x",
            "/keys%5C%5Cx",
            "/keys%2F%2Fx",
            "/.%0A/keys/x",
            "/y%5C..%5Ckeys/x",
            "/keys/x%7F",
            "//h/keys/x",
            "/\\h/keys/x",
            "///h/keys/x",
            "//h/..//keys/x",
            "/y%2Fy/../keys%2Fx",
            "/y\\..\\keys/x",
        ] {
            assert!(readings(spelling).iter().any(|reading| reading == k), "{spelling}");
            assert!(!DecodedPath::parse(spelling).unwrap().is_plain(), "{spelling}");
        }
        assert_eq!(readings("/keys%2Fx"), ["/keys%2Fx"]);
        assert!(readings("/\\h/keys%5C").contains(&"/keys\\".to_owned()));
        assert!(readings("//keys").contains(&"/".to_owned()));
        assert_eq!(readings("/keys/%2e"), ["/keys/"]);
    }

    #[test]
    fn p6_an_honest_path_is_plain_and_not_copied() {
        for honest in ["/", "/keys/x", "/keys/", "/a.b/.well-known/x..y/...", "/é;v=1/+/~:@!$&'()"]
        {
            let path = DecodedPath::parse(honest).unwrap();
            assert!(path.is_plain(), "{honest}");
            assert!(matches!(path.text, Cow::Borrowed(_)), "{honest}");
            assert_eq!(path.readings().count(), 0);
        }
        assert!(DecodedPath::parse("/name/two%20words").unwrap().is_plain());
    }

    proptest! {
        #[test]
        fn p5_readings_are_distinct_and_missing_only_where_nothing_changes_the_path(
            path in r"/([a.\\/\n]|%2[FfEe]|%5[Cc]|%0A|%25|%)*"
        ) {
            let parsed = DecodedPath::parse(&path).unwrap();
            let readings: Vec<_> = parsed.readings().collect();
            for (n, reading) in readings.iter().enumerate() {
                prop_assert_ne!(reading.as_ref(), parsed.text());
                prop_assert!(!readings[..n].contains(reading));
                prop_assert!(reading.starts_with('/'));
            }
            prop_assert_eq!(parsed.is_plain(), readings.is_empty());
            if parsed.is_plain() {
                prop_assert_eq!(split_then_decode(&path), parsed.text());
                for habit in HABITS {
                    prop_assert_eq!(habit(parsed.text()), parsed.text());
                }
            }
        }

        #[test]
        fn p5_encoding_any_character_changes_nothing(path in "/[a-z0-9_/é ]{0,30}") {
            let encoded = path.bytes().fold(String::new(), |all, byte| match byte {
                b'/' => all + "/",
                _ => all + &format!("%{byte:02X}"),
            });
            let parsed = DecodedPath::parse(&encoded).unwrap();
            prop_assert_eq!(parsed.text(), path);
        }

        #[test]
        fn p5_no_input_is_too_odd(path in "\\PC*|[\\x00-\\x7f]*") {
            if let Ok(parsed) = DecodedPath::parse(&path) {
                prop_assert!(parsed.readings().count() <= 191);
            }
        }
    }
}
