//! `check` says what a configuration means, and `check --explain` what would happen to a request.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as loudly as tests")]

use std::process::ExitCode;

use authz_sidecar::cli;
use authz_sidecar::config::schema;

/// What the command prints to both outputs, and whether it succeeded.
fn command(arguments: &[&str]) -> (bool, String, String) {
    let arguments = ["authz-sidecar"].iter().chain(arguments).map(Into::into);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli::main(arguments, [], &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS), text(out), text(err))
}

fn explained(method: &str, path: &str) -> String {
    let (ok, out, err) = command(&["check", "config/agentex.yaml", "--explain", method, path]);
    assert!(ok, "{err}");
    out
}

#[test]
fn check_says_what_a_configuration_means() {
    let (ok, out, err) = command(&["check", "config/agentex.yaml"]);
    assert!(ok, "{err}");
    assert!(out.starts_with("OK: the configuration is valid."));
    assert!(out.contains("create-key: POST /agent_api_keys creates api_key (enforced, reads"));
    for warning in ["exclusive_writer is false", "credentials.service", "only `as: service` proves"]
    {
        assert!(out.contains(warning), "{warning}");
    }
}

#[test]
fn check_fails_with_the_mistakes_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    std::fs::write(&file, "listen: 127.0.0.1:80\nlimits: { conections: 1 }\n").unwrap();
    let (ok, out, err) = command(&["check", file.to_str().unwrap()]);
    assert!(!ok);
    assert!(out.is_empty());
    let mend = "2:11: unknown field `conections`; did you mean `connections`?";
    assert_eq!(err, format!("{}:{mend}\n", file.display()));
}

#[test]
fn explain_tells_the_steps_of_a_create_in_order() {
    let out = explained("POST", "/agent_api_keys/webhook-trigger");
    let steps = [
        "rule: create-webhook-key",
        "1. read the whole body",
        "2. ask authn",
        "3. with journal.exclusive_writer: list the rows that are there, GET /agent_api_keys?",
        "4. journal `prepared`",
        "5. while the request is under way, look up the parent: GET /agents/name/{$request.body#/agent_name}",
        "6. send the request",
        "7. take the new id from the answer: $response.body#/key_id",
        "8. register api_key:{$response.body#/key_id} with the parent agent:",
        "9. journal `registered`",
        "Journaled:",
        "probe: GET /agent_api_keys?agent_name={$request.body#/agent_name}&limit=1000",
        "When it goes wrong:",
        "the client gets 503 with the undo's state",
    ];
    let mut rest = out.as_str();
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("no {step:?} in\n{rest}"));
        rest = &rest[at..];
    }
}

#[test]
fn explain_fills_in_what_the_request_tells() {
    let out = explained("DELETE", "/agent_api_keys/name/a%20b?agent_id=7");
    assert!(out.contains("canonical path: \"/agent_api_keys/name/a b\""));
    assert!(out.contains("GET /agent_api_keys?agent_id=7&limit=1000\n"), "{out}");
    assert!(out.contains("where /name is \"a b\""));
    assert!(out.contains("/api_key_type is not compared"));
}

#[test]
fn p5_explain_tells_why_a_request_is_refused_or_passes() {
    assert!(explained("GET", "/agent_api_keys").contains("no rule matches: passes through"));
    assert!(explained("GET", "/agent_api_keys").contains("with POST, the rule \"create-key\""));
    assert!(explained("DELETE", "/agent_api_keys%2Fk").contains("refused with 400"));
    assert!(explained("DELETE", "agent_api_keys/k").contains("refused with 400"));
    assert!(explained("DELETE", "http://x:1/agent_api_keys/k?a#b").contains("rule: delete-key"));
}

#[test]
fn the_schema_command_prints_the_schema() {
    assert_eq!(command(&["schema"]), (true, schema(), String::new()));
}

#[test]
fn a_wrong_command_line_is_told() {
    let (ok, _, err) = command(&["chekc"]);
    assert!(!ok);
    assert!(err.contains("check"), "{err}");
}
