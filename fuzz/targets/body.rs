//! A body that rules read: JSON in one way only, or refused (P5); never more than the limit (P8).
//! The first byte chooses a content coding.

#![no_main]

use authz_sidecar::rules::body::{MAX_DEPTH, json};
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const LIMIT: usize = 1 << 16;
const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "x-unknown"];

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    if let Some(coding) = CODINGS.get(usize::from(*first)) {
        // It ends, and unfolds to no more than the limit, or the memory's limit ends the run.
        drop(json(Some(&HeaderValue::from_static(coding)), body, LIMIT));
        return;
    }
    let Ok(value) = json(None, body, LIMIT) else { return };
    assert!(body.len() <= LIMIT);
    let other: Value = serde_json::from_slice(body).expect("others read it too");
    assert_eq!(value, other, "others read something else");
    assert!(depth(&value) <= MAX_DEPTH);
    assert_eq!(members(&value), colons(body), "a member is read twice");
});

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(all) => all.len() + all.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// Of valid JSON, the colons outside of strings: one for each member that is written.
fn colons(text: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b':' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}
