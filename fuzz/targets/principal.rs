//! Requests' headers, each request's behind an empty line: what the cache gives a request is what
//! authn said of the credentials of exactly that request (P5).

#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use authz_sidecar::model::{Principal, SystemClock};
use authz_sidecar::principal::{Ask, Config, Error, Metrics, Resolved, Resolver};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

/// Answers with what it was asked.
struct Echo;

#[async_trait]
impl Ask for Echo {
    async fn ask(&self, credentials: HeaderMap) -> Result<Resolved, Error> {
        let pairs = credentials.iter().map(|(name, value)| (name.to_string(), shown(value)));
        Ok(Resolved { principal: principal(&pairs.collect()), has_creator: true })
    }
}

/// Escaped, so that different bytes look different.
fn shown(value: &HeaderValue) -> String {
    value.as_bytes().escape_ascii().to_string()
}

fn principal(pairs: &BTreeMap<String, String>) -> Principal {
    let text = serde_json::to_string(pairs).expect("strings");
    Principal::from_json(&text).expect("an object")
}

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = include_str!("../../config/agentex.yaml");
    let document: serde_json::Value = serde_saphyr::from_str(text).expect("it is valid");
    serde_saphyr::from_str(&document["principal"].to_string()).expect("JSON is YAML")
});

fuzz_target!(|input: &str| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let clock = Arc::new(SystemClock);
    let resolver = Resolver::asking(Arc::new(Echo), &CONFIG, clock, Metrics::default());
    let resolver = resolver.expect("it ships");
    for request in input.split("\n\n").take(8) {
        let mut headers = HeaderMap::new();
        for line in request.lines().take(32) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_bytes(value.trim().as_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        let resolved = runtime.block_on(resolver.resolve(&headers));
        match (expected(&headers), resolved) {
            (Some(pairs), Ok(resolved)) => {
                let (is, was) = (principal(&pairs), resolved.principal);
                assert_eq!(is.json().get(), was.json().get(), "somebody else's principal");
            }
            (None, Err(Error::Duplicate(_) | Error::Lookalike(_))) => {}
            (expected, resolved) => panic!("{expected:?}, {resolved:?}"),
        }
    }
});

/// The credentials by the configuration's words; none where one that is no cookie occurs twice, or
/// one is misspelt with `_`, or another's name is.
fn expected(headers: &HeaderMap) -> Option<BTreeMap<String, String>> {
    let exact = [
        "authorization",
        "cookie",
        "x-api-key",
        "x-user-id",
        "x-service-account-id",
        "x-selected-account-id",
    ];
    let is = |name: &str| {
        exact.contains(&name) || name.starts_with("x-auth") || name.starts_with("x-session")
    };
    let misspelt = |name: &str| {
        let dashed = name.replace('_', "-");
        dashed != name && is(&dashed) && (!is(name) || headers.contains_key(dashed))
    };
    if headers.keys().any(|name| misspelt(name.as_str())) {
        return None;
    }
    let mut pairs = BTreeMap::<String, String>::new();
    for (name, value) in headers.iter().filter(|(name, _)| is(name.as_str())) {
        let value = shown(value);
        let known = pairs.entry(name.to_string());
        match known {
            std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(value)),
            std::collections::btree_map::Entry::Occupied(mut one) if name == "cookie" => {
                one.get_mut().push_str("; ");
                one.get_mut().push_str(&value);
            }
            std::collections::btree_map::Entry::Occupied(_) => return None,
        }
    }
    Some(pairs)
}
