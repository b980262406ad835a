//! `METHOD PATH`: what the rules take a request for, against a model of Starlette's router
//! (contract keys-service.md, "Which spellings reach a handler"), in both dialects (P5).

#![no_main]

use std::sync::LazyLock;

use authz_sidecar::model::DecodedPath;
use authz_sidecar::rules::raw::RawRule;
use authz_sidecar::rules::{Dialect, Options, Route, Rules};
use http::Method;
use libfuzzer_sys::fuzz_target;

static STARLETTE: LazyLock<Rules> = LazyLock::new(|| rules(Dialect::Starlette));
static STRICT: LazyLock<Rules> = LazyLock::new(|| rules(Dialect::Strict));

/// Those of the shipped configuration.
fn rules(dialect: Dialect) -> Rules {
    let text = include_str!("../../config/agentex.yaml");
    let document: serde_json::Value = serde_saphyr::from_str(text).expect("it is valid");
    let rules = document["rules"].to_string();
    let raw: Vec<RawRule> = serde_saphyr::from_str(&rules).expect("JSON is YAML");
    Rules::compile(&raw, &Options { dialect, ..Options::default() }).expect("they ship")
}

fuzz_target!(|input: &str| {
    let Some((method, raw)) = input.split_once(' ') else { return };
    let (Ok(method), Ok(path)) = (method.parse::<Method>(), DecodedPath::parse(raw)) else {
        return;
    };
    let model = handler(&method, raw);
    let (name, certain) = taken(&STARLETTE, &method, &path);
    match (&model, &name) {
        (Some(handler), Some(rule)) => assert_eq!(handler, rule, "another rule's"),
        (Some(_), None) => assert!(!certain, "a handler that would run without intercept"),
        (None, Some(rule)) => panic!("{rule} takes what no handler gets"),
        (None, None) => {}
    }
    assert_eq!(path.text(), text(raw), "another path than the router's");
    assert!(path.readings().count() <= 191);
    assert!(path.readings().all(|reading| reading.starts_with('/')));
    // The strict dialect refuses more, and takes nothing for something else.
    let (strict, sure) = taken(&STRICT, &method, &path);
    if sure {
        assert!(certain, "strict is sure of what may be read in two ways");
        assert_eq!(strict, name);
    }
});

/// The rule that takes the request, if one does; and whether that was decided, not refused.
fn taken(rules: &Rules, method: &Method, path: &DecodedPath<'_>) -> (Option<String>, bool) {
    match rules.route(method, path) {
        Route::Unmatched => (None, true),
        Route::Ambiguous(_) => (None, false),
        Route::Matched(matched) => (Some(matched.rule.name().to_owned()), true),
    }
}

/// What Starlette would run, by its regular expressions: a parameter is `[^/]+`, and `$` also
/// matches before a newline at the very end.
fn handler(method: &Method, raw: &str) -> Option<&'static str> {
    let text = text(raw);
    let segments: Vec<&str> = text.split('/').skip(1).collect();
    let is_last =
        |segment: &str, wanted: &str| segment.strip_suffix('\n').unwrap_or(segment) == wanted;
    Some(match (method, &segments[..]) {
        (&Method::POST, [keys]) if is_last(keys, "agent_api_keys") => "create-key",
        (&Method::POST, ["agent_api_keys", last]) if is_last(last, "webhook-trigger") => {
            "create-webhook-key"
        }
        (&Method::DELETE, ["agent_api_keys", "name", name]) if !name.is_empty() => {
            "delete-key-by-name"
        }
        (&Method::DELETE, ["agent_api_keys", id]) if !id.is_empty() => "delete-key",
        _ => return None,
    })
}

/// Decoded as uvicorn does: bytes by `urllib.parse.unquote_to_bytes`, then UTF-8.
fn text(raw: &str) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let (bytes, mut decoded, mut at) = (raw.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let digits = (bytes[at] == b'%' && at + 2 < bytes.len())
            .then(|| Some((hex(bytes[at + 1])?, hex(bytes[at + 2])?)))
            .flatten();
        match digits {
            Some((high, low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two digits"));
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
