//! Spellings of targets: by a grammar of what parsers and routers are known to differ in, and by
//! mutation of what the grammar gives.

use fastrand::Rng;

use super::case::{BODY, Case, headers};

/// The case with that number of the run with that seed.
pub(crate) fn case(seed: u64, number: usize) -> Case {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number as u64);
    let name = format!("s{seed:x}n{number}");
    let (method, target) = target(&mut rng, &name);
    let bytes = request(&mut rng, &name, method, &target);
    Case::spelling(name, bytes)
}

/// A method and a target.
pub(crate) fn target(rng: &mut Rng, name: &str) -> (&'static str, Vec<u8>) {
    let (method, mut path) = route(rng, name);
    for _ in 0..[0, 1, 1, 1, 2, 2, 3][rng.usize(..7)] {
        path = alter(rng, &path);
    }
    let mut target = [prefix(rng).as_bytes(), path.as_bytes(), suffix(rng).as_bytes()].concat();
    if rng.u8(..5) == 0 {
        for _ in 0..=rng.usize(..3) {
            mutate(rng, &mut target);
        }
    }
    (method, target)
}

/// A method and a path that mean something to the service, mostly a create or a delete.
fn route(rng: &mut Rng, name: &str) -> (&'static str, String) {
    let keys = "/agent_api_keys";
    match rng.u8(..20) {
        0..=5 => ("POST", keys.into()),
        6..=8 => ("POST", format!("{keys}/webhook-trigger")),
        9..=13 => ("DELETE", format!("{keys}/{name}")),
        14..=16 => ("DELETE", format!("{keys}/name/{name}")),
        17 => ("GET", format!("{keys}/{name}")),
        18 => ("POST", format!("/agents/{name}")),
        _ => {
            let method = ["post", "Post", "PUT", "PATCH", "HEAD", "OPTIONS", "delete", "POSTS"];
            (method[rng.usize(..8)], keys.into())
        }
    }
}

/// What routers drop, or go back at, or take for a slash.
const SEGMENTS: [&str; 24] = [
    "/.",
    "/..",
    "/x/..",
    "/%2e",
    "/%2E%2e",
    "/x/%2e.",
    "//",
    "/",
    "\\",
    "/\\",
    "%5c",
    "%2F",
    "/x%2F..",
    "/x%2Fy/..",
    "/..;",
    "/;",
    "/%2e%2e%2f",
    "/x/y/../..",
    "%2F%2F",
    "/..%2F",
    "%5C..%5C",
    "/x%5C..",
    "/.%09",
    "/x/.%00.",
];

/// What ends a path, or is none, or is another character to somebody.
const ODD: [&str; 45] = [
    "%00",
    "%0A",
    "%0D",
    "%0D%0A",
    "%09",
    "%7F",
    "%20",
    "+",
    ";",
    ";x=1",
    "%3B",
    "%23",
    "%3F",
    "%3Fx",
    "%2",
    "%",
    "%zz",
    "%u002f",
    "%c0%af",
    "%c0%ae",
    "%e0%80%af",
    "%FF",
    "%ef%bc%8f",
    "%E2%80%8B",
    "%C2%A0",
    "%C5%BF",
    "\u{e9}",
    "\u{2215}",
    ".",
    "..",
    "~",
    "%1F",
    "%80",
    "'",
    "\"",
    "<",
    "|",
    "^",
    "`",
    "{",
    "}",
    "%5B",
    "[",
    "%C2%85",
    "%E2%84%AA",
];

/// One thing that somebody on the way may read otherwise.
fn alter(rng: &mut Rng, path: &str) -> String {
    match rng.u8(..14) {
        0 | 1 | 11..=13 => escaped(rng, path, |rng, c| c != '/' && rng.u8(..4) == 0),
        2 => escaped(rng, path, |_, c| c == '/').replacen("%2F", "/", rng.usize(..2)),
        3 => escaped(rng, path, |rng, c| c == '_' || rng.u8(..8) == 0).replacen(
            '%',
            "%25",
            rng.usize(..3),
        ),
        4 | 5 => inserted(path, before_a_slash(rng, path), SEGMENTS[rng.usize(..SEGMENTS.len())]),
        6 => {
            let at = if rng.bool() { path.len() } else { boundary(path, rng.usize(..=path.len())) };
            inserted(path, at, ODD[rng.usize(..ODD.len())])
        }
        7 => {
            let at = boundary(path, rng.usize(..path.len()));
            let upper = path[at..].to_ascii_uppercase();
            format!(
                "{}{}",
                &path[..at],
                if rng.bool() { upper } else { path[at..].to_owned() + "/" }
            )
        }
        8 => {
            let places: Vec<_> = path.match_indices('/').map(|(at, _)| at).collect();
            let Some(at) = (!places.is_empty()).then(|| places[rng.usize(..places.len())]) else {
                return path.to_owned();
            };
            let slashes =
                ["//", "///", "\\", "%2f", "%5C", "/%2F", "%2F/", "/./", "\u{2215}", "%252F"];
            format!("{}{}{}", &path[..at], slashes[rng.usize(..slashes.len())], &path[at + 1..])
        }
        9 => {
            let ends =
                ["/", "%2F", "%2f/", "/.", "/..", "/x/..", "/%2e%2e", "%0A", "//", "\\", ".json"];
            path.to_owned() + ends[rng.usize(..ends.len())]
        }
        _ => escaped(rng, path, |_, _| true),
    }
}

fn escaped(rng: &mut Rng, path: &str, mut which: impl FnMut(&mut Rng, char) -> bool) -> String {
    let mut all = String::new();
    for c in path.chars() {
        if which(rng, c) {
            for byte in c.to_string().bytes() {
                let hex = if rng.bool() { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
                all.push_str(&hex);
            }
        } else {
            all.push(c);
        }
    }
    all
}

fn before_a_slash(rng: &mut Rng, path: &str) -> usize {
    let places: Vec<_> = path.match_indices('/').map(|(at, _)| at).collect();
    places.get(rng.usize(..=places.len())).copied().unwrap_or(path.len())
}

fn boundary(path: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| path.is_char_boundary(*at)).unwrap_or(0)
}

fn inserted(path: &str, at: usize, what: &str) -> String {
    format!("{}{what}{}", &path[..at], &path[at..])
}

/// What may stand before the path: mostly nothing.
fn prefix(rng: &mut Rng) -> &'static str {
    let prefixes = [
        "http://keys",
        "http://elsewhere:1",
        "HTTP://USER:pass@h",
        "https://h",
        "ftp://u@h",
        "x://h",
        "http://[::1]:80",
        "http://127.0.0.1",
        "//h",
        "//",
        "/\\h",
        "\\",
        ".",
        "http:",
        "http:/",
        "http://",
        "http://h/..",
        "http://h\\",
        "http://h?",
        "http://h#",
        "http://h@evil",
        "*",
        "/x/..",
        "//h/..",
        "/%2f",
        "http://h%2Fx",
        "http://h:80x",
        "://h",
        "///h",
        "/.",
        "/./",
        "/%2e%2e",
        "h:80",
        "http://h//",
        "http://h/x/%2e%2e",
        "HtTp://h",
        "http://h:99999",
        "javascript:",
        "http://\u{e9}",
        "/agents/..",
        "/healthz/../",
        "/x%2Fy/..",
        "/x\\..",
        "%2F",
    ];
    if rng.u8(..8) == 0 { prefixes[rng.usize(..prefixes.len())] } else { "" }
}

/// What may stand behind it: mostly nothing.
fn suffix(rng: &mut Rng) -> &'static str {
    let suffixes = [
        "?",
        "??",
        "?x=1",
        "#",
        "#x",
        "?x#y",
        "#?",
        "?/agent_api_keys",
        "?x=/../y",
        "#/x",
        "?%00",
        "?%",
        "?agent_id=a1",
        "?api_key_type=external",
        "?name=a&name=b",
        "?x y",
        "?\u{e9}",
        "?%0d%0a",
        ";?",
        "?_method=GET",
        "?_method=delete",
        "?x&_method=POST",
        "?x=#&y",
        "&x=1",
        "?\"",
        "?{",
        "?|",
    ];
    if rng.u8(..4) == 0 { suffixes[rng.usize(..suffixes.len())] } else { "" }
}

/// Changes a byte or so. A first byte that ends the connection's use is rare: line ends are a matter
/// of framing.
fn mutate(rng: &mut Rng, target: &mut Vec<u8>) {
    let bytes = b"/\\.%;?#&:@+*~=_-aZ0 25feFE2F5C\x00\x01\x09\x0b\x7f\x80\xc3\xa9\xff\"<>[]{}|^`";
    let byte = bytes[rng.usize(..bytes.len())];
    let at = rng.usize(..=target.len());
    match rng.u8(..4) {
        0 => target.insert(at, byte),
        1 if at < target.len() => target[at] = byte,
        2 if at < target.len() => drop(target.remove(at)),
        _ => {
            let end = (at + rng.usize(1..6)).min(target.len());
            let copy = target[at..end].to_vec();
            let to = rng.usize(..=target.len());
            target.splice(to..to, copy);
        }
    }
}

fn request(rng: &mut Rng, name: &str, method: &str, target: &[u8]) -> Vec<u8> {
    let version = match rng.u8(..24) {
        0 => "HTTP/1.0",
        1 => ["HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/01.1", "HTTP/1.1 "][rng.usize(..5)],
        _ => "HTTP/1.1",
    };
    let mut headers = headers(name);
    match rng.u8(..16) {
        0 => headers = headers.replace("host: keys\r\n", ""),
        1 => headers.push_str("x-http-method-override: GET\r\nx-original-url: /agents\r\n"),
        2 => headers = headers.replace("host: keys", "host: elsewhere:1"),
        4 => headers.push_str("x-http-method-override: delete\r\n"),
        5 => headers.push_str("x-method-override: POST\r\nx-original-url: /Agent_api_keys\r\n"),
        3 => headers
            .push_str("x-forwarded-prefix: /agent_api_keys\r\nx-rewrite-url: /agent_api_keys\r\n"),
        _ => {}
    }
    let body = if ["GET", "HEAD", "OPTIONS"].contains(&method) {
        "\r\n".to_owned()
    } else if version == "HTTP/1.1" && rng.u8(..4) == 0 {
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len())
    } else {
        format!("content-length: {}\r\n\r\n{BODY}", BODY.len())
    };
    let rest = format!(" {version}\r\n{headers}{body}");
    [method.as_bytes(), b" ", target, rest.as_bytes()].concat()
}
