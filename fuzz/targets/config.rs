//! A configuration in YAML: it is read, or refused with problems that each have a place in it.

#![no_main]

use authz_sidecar::config::Config;
use authz_sidecar::rules::Place;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Err(error) = Config::parse("fuzz.yaml", text, []) else { return };
    assert!(!error.problems.is_empty(), "refused without a reason");
    let lines = u64::try_from(text.split(['\n', '\r']).count()).expect("few");
    for problem in &error.problems {
        if let Place::File { line, column } = problem.place {
            // Of a text that ends too soon the place is behind its end.
            assert!((1..=lines + 1).contains(&line) && column >= 1, "{problem:?}");
        }
    }
    let told = error.to_string();
    assert!(told.lines().count() >= error.problems.len(), "{told}");
});
