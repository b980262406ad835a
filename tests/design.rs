//! The design of the next core, as an executable model: docs/design/CORE.md explains it, and
//! `docs/design/core_model.py` runs it. The model keeps its promises in every schedule, and breaks them
//! as soon as one of its decisions is broken.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::process::{Command, Output};

/// How many schedules the test runs unless told. Some ten seconds on one core.
const COUNT: &str = "2000";

fn model(arguments: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/design/core_model.py");
    let ran = Command::new("python3").arg("-B").arg(script).args(arguments).output();
    ran.expect("python3 runs")
}

/// What the model printed; whether a promise was broken is its exit status.
fn shown(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).expect("text")
}

#[test]
fn p1_p2_p3_p4_hold_in_every_schedule_of_the_model() {
    let count = std::env::var("MODEL_SCHEDULES").unwrap_or_else(|_| COUNT.into());
    let seed = std::env::var("MODEL_SEED").unwrap_or_else(|_| "1".into());
    let output = model(&[&count, &seed, "--jobs", "2"]);
    let shown = shown(&output);
    eprintln!("{shown}");
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains(&format!("{count} schedules from seed {seed}: 0 with violations")));
    for event in [
        "row condemn",
        "row report",
        "row wait",
        "found",
        "unproven",
        "conflict",
        "crash",
        "takeover",
    ] {
        assert!(shown.contains(&format!("'{event}'")), "{event} never happened: {shown}");
    }
}

/// Otherwise the schedules that hold would show nothing.
#[test]
fn every_broken_decision_of_the_model_breaks_a_promise() {
    for (control, promise) in [
        ("enqueue", "P3"),
        ("at_once", "P"),
        ("eager", "P4"),
        ("forget", "P4"),
        ("answer_first", "P4"),
    ] {
        let output = model(&["10000", "1", "--first", "--focus", "--control", control]);
        let shown = shown(&output);
        assert_eq!(output.status.code(), Some(1), "{control} goes unseen: {shown}");
        assert!(shown.contains(promise), "{control} breaks another promise: {shown}");
    }
}
