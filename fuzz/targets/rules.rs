//! Rules in YAML, `---`, a request's head, an empty line, its body: every rule is read or refused
//! with a mend, and every request planned or refused.

#![no_main]

use authz_sidecar::model::DecodedPath;
use authz_sidecar::rules::raw::RawRule;
use authz_sidecar::rules::{Options, Route, Rules};
use bytes::Bytes;
use http::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (rules, request) = input.split_once("\n---\n").unwrap_or((input, ""));
    let Ok(raw) = serde_saphyr::from_str::<Vec<RawRule>>(rules) else { return };
    let options = Options { service_credentials: true, ..Options::default() };
    let rules = match Rules::compile(&raw, &options) {
        Ok(rules) => rules,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                assert!(
                    problem.at("rules.yaml").to_string().contains("; "),
                    "no mend: {problem:?}"
                );
            }
            return;
        }
    };
    drop(rules.advice());
    let Some((head, body)) = parsed(request) else { return };
    let Ok(path) = DecodedPath::parse(head.uri.path()) else { return };
    if let Route::Matched(matched) = rules.route(&head.method, &path) {
        drop(matched.explain(head.uri.query()));
        let Ok(plans) = matched.plan(&head, &body) else { return };
        for plan in plans.own.iter().chain(&plans.also) {
            // What the journal keeps is read back as it was.
            let text = serde_json::to_string(plan).expect("a plan can be written");
            assert_eq!(*plan, serde_json::from_str(&text).expect("and read"));
        }
    }
});

fn parsed(request: &str) -> Option<(http::request::Parts, Bytes)> {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    let (head, ()) = request.body(()).ok()?.into_parts();
    Some((head, Bytes::from(body.to_owned())))
}
