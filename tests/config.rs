//! The configuration: the shipped file is valid, every mistake is told with its place and its
//! mend, and the environment overrides.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as loudly as tests")]

use authz_sidecar::config::{Config, Error, SETTINGS, schema};
use authz_sidecar::rules::Rule;
use authz_sidecar::upstream::Endpoint;

const SHIPPED: &str = include_str!("../config/agentex.yaml");

/// All that is required, on lines 1 to 5; tests append from line 6 on.
const HEAD: &str = "\
upstream: http://127.0.0.1:5003
forwarded: { trust: [] }
principal: { authn: { url: http://a/v1/authn }, headers: [cookie], deregister_as: { user_id: s } }
authz: { memory: {} }
journal: { url: sqlite:j.db }
";

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse("c.yaml", text, [])
}

/// Asserts what is told about each text, line by line, without the file's name.
fn assert_told(table: &[(String, &str)]) {
    for (text, expected) in table {
        let told = wrong(text);
        let told: Vec<_> = told.lines().map(|line| line.replacen("c.yaml:", "", 1)).collect();
        assert_eq!(told.join("\n"), *expected, "of:\n{text}");
    }
}

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::parse("c.yaml", text, variables.iter().map(owned))
}

fn wrong(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// A create rule from line 6 on, with one line of it replaced.
fn with_create(replaced: &str, by: &str) -> String {
    let rule = "\
rules:
  - name: create
    match: POST /keys/{owner}
    steps: { agent: { request: 'GET /agents/{$request.body#/agent}' } }
    register:
      type: api_key
      id: $response.body#/id
      parent: { type: agent, id: $steps.agent#/id }
    new: always
    undo: { request: 'DELETE /keys/{$register.id}' }
    confirm: { request: 'GET /keys/{$register.id}' }
    probe:
      request: GET /keys
      query: { owner: $request.path.owner, limit: 100 }
      page: { number: page, size: limit }
      where: { /name: $request.body#/name }
      row: { id: /id }
      sees: all
      before: true
";
    assert!(rule.contains(replaced), "{replaced}");
    HEAD.to_owned() + &rule.replacen(replaced, by, 1)
}

fn with_delete(replaced: &str, by: &str) -> String {
    let rule = "\
rules:
  - name: delete
    match: DELETE /keys/{id}
    deregister: { type: api_key, id: $request.path.id }
    probe: { request: 'GET /keys/{$request.path.id}', row: { id: /id } }
  - name: delete-by-name
    match: DELETE /keys/name/{name}
    deregister: { type: api_key, id: $row.id }
    probe: { request: 'GET /keys', where: { /name: $request.path.name }, row: { id: /id } }
    confirm: { request: 'GET /keys/{$row.id}' }
";
    assert!(rule.contains(replaced), "{replaced}");
    HEAD.to_owned() + &rule.replacen(replaced, by, 1)
}

#[test]
fn mistakes_of_syntax_and_type_are_told_with_place_and_mend() {
    assert_told(&[
        ("listen: [".to_owned(), "1:9: expected string scalar; write a text"),
        (
            "listen: nowhere\n".to_owned(),
            "1:9: \"nowhere\" is not an address and a port: write it as in 127.0.0.1:8080",
        ),
        (
            "limits: { connections: many }\n".to_owned(),
            "1:24: this is no whole number; write digits, as in 1000",
        ),
        (
            "rules: {}\n".to_owned(),
            "1:8: expected sequence start; write a list: [a, b], or lines that begin with \"- \"",
        ),
        (
            "- a\n".to_owned(),
            "1:1: expected mapping start; write settings: {name: value}, or lines of name: value",
        ),
        (
            "rules: [{ undo: { request: DELETE /x/{$register.id} } }]\n".to_owned(),
            "1:38: while parsing a flow mapping, did not find expected ',' or '}'; look at indentation, and quote texts that have { } [ ] , # or \": \"",
        ),
        (
            "journal: { url: 'sqlite:/x', exclusive_writer: yes }\n".to_owned(),
            "1:48: this is neither true nor false; write true or false",
        ),
        ("upstream: [a]".to_owned(), "1:11: expected string scalar; write a text"),
    ]);
}

#[test]
fn mistakes_in_settings_are_told_with_place_and_mend() {
    assert_told(&[
        (
            HEAD.replace("memory: {}", ""),
            "4:8: name exactly one back end: `agentex: {url: …}` or `memory: {}`",
        ),
        (
            HEAD.replace("memory: {}", "memory: {}, agentex: { url: http://x }"),
            "4:8: name exactly one back end: `agentex: {url: …}` or `memory: {}`",
        ),
        (
            HEAD.replace("[cookie]", "[]"),
            "3:12: principal.headers is empty, so that all callers would be one: name the headers that carry credentials; see docs/CONFIGURATION.md, principal",
        ),
        (
            HEAD.replace(
                "deregister_as: { user_id: s }",
                "deregister_as: { user_id: s }, store: [secret]",
            ),
            "3:12: principal.store names a secret (\"secret\"); remove it: the journal holds no secrets",
        ),
        (
            format!("{HEAD}listen: 127.0.0.1:9900\n"),
            "6:9: `health` and `listen` are the same address; give each a port of its own",
        ),
        (
            format!("{HEAD}bounds: {{ exchange: 5m }}\n"),
            "6:9: bounds.exchange (300s) exceeds bounds.late_effect (120s); a request may take effect as long as it is waited for: raise late_effect",
        ),
        (
            format!("{HEAD}limits: {{ send_timeout: 0s }}\n"),
            "6:25: a client has at least 1s to take something: for hardly any limit write 24h",
        ),
        (
            format!("{HEAD}cors: {{ origins: [\"*\"], credentials: true }}\n"),
            "6:7: browsers refuse \"*\" together with cors.credentials; list the origins",
        ),
    ]);
}

#[test]
fn mistakes_in_rules_that_create_are_told_with_place_and_mend() {
    let c = with_create;
    assert_told(&[
        (
            c("name: create", "name: 'a b'"),
            "7:11: `a b` is no name of a rule; use up to 64 letters, digits, \"-\", \"_\" and \".\"",
        ),
        (
            c("POST /keys/{owner}", "POST"),
            "8:12: `POST` is not a method and a path; write POST /path",
        ),
        (
            c("POST /keys/{owner}", "GET /keys/{owner}"),
            "8:12: `GET` is no method that creates or deletes; write POST, PUT, PATCH or DELETE, in capitals",
        ),
        (
            c("POST /keys/{owner}", "DELETE /keys/{owner}"),
            "8:12: a DELETE creates nothing; match POST, PUT or PATCH, or write `deregister` for `register`",
        ),
        (
            c("POST /keys/{owner}", "POST /keys/{owner}/"),
            "8:12: no path segment can be matched by ``; leave out empty segments and the trailing slash: the service's router does",
        ),
        (
            c("POST /keys/{owner}", "POST /keys/{user}"),
            "19:23: `match` has no parameter {owner}; the path has {user}",
        ),
        (
            c("type: api_key", "type: 'api key'"),
            "11:13: `api key` is no resource type; write it as the back end knows it, as in api_key",
        ),
        (
            c("id: $response.body#/id", "id: $request.body#/id"),
            "12:11: `$request.body#/id` can't tell a new resource's id; take it from the service's answer, as in $response.body#/id",
        ),
        (
            c("id: $response.body#/id", "id: $response.body#/api_key"),
            "12:11: `$response.body#/api_key` names a secret (\"api_key\"), and its value would be kept; use a field that is no secret, such as an id or a name",
        ),
        (
            c("id: $response.body#/id", "id: id"),
            "12:11: `id` is not an expression; write $request.path.NAME, $request.query.NAME, $request.body#/POINTER, $response.body#/POINTER, $steps.NAME#/POINTER, $register.id or $row.id",
        ),
        (
            c("id: $steps.agent#/id }", "id: $steps.agnt#/id }"),
            "9:21: nothing uses the step \"agent\"; use it in register.parent.id, as in $steps.agent#/id\n13:34: there is no step \"agnt\"; write it under `steps`, as in agnt: {request: …}",
        ),
        (
            c("id: $steps.agent#/id }", "id: $response.body#/agent_id }"),
            "9:21: nothing uses the step \"agent\"; use it in register.parent.id, as in $steps.agent#/id",
        ),
        (
            c("id: $steps.agent#/id }", "id: $register.id }"),
            "9:21: nothing uses the step \"agent\"; use it in register.parent.id, as in $steps.agent#/id\n13:34: a resource can't be its own parent (`$register.id`); use $response.body#/…, $steps.NAME#/… or $request…",
        ),
        (
            c("{$request.body#/agent}", "{$response.body#/agent}"),
            "9:32: `$response.body#/agent` is not known before the request is sent; use $request.path, $request.query or $request.body here",
        ),
        (
            c("{$request.body#/agent}", "x-{$request.body#/agent}"),
            "9:32: `x-{$request.body#/agent}` can't be a path segment; an expression in braces takes a whole segment, as in /keys/{$request.path.id}",
        ),
        (
            c("{$request.body#/agent}'", "$request.body#/agent'"),
            "9:32: `$request.body#` can't be a path segment; put an expression in braces, as in /keys/{$request.path.id}",
        ),
        (
            c("GET /agents/", "POST /agents/"),
            "9:32: this call is a GET, not a `POST`; write GET and a path, as in GET /things",
        ),
    ]);
}

#[test]
fn mistakes_in_undo_confirm_and_probe_are_told_with_place_and_mend() {
    let c = with_create;
    assert_told(&[
        (
            c("    undo: { request: 'DELETE /keys/{$register.id}' }\n", ""),
            "11:7: the rule has no `undo`; add it: how a create that fails is taken back",
        ),
        (
            c("    confirm: { request: 'GET /keys/{$register.id}' }\n", ""),
            "11:7: the rule has no `confirm`; add it: the GET that proves a row's absence",
        ),
        (
            c("DELETE /keys/{$register.id}", "DELETE /keys"),
            "15:22: the path has {$register.id} 0 times; write it once, as in DELETE /things/{$register.id}",
        ),
        (
            c("DELETE /keys/{$register.id}", "DELETE /keys/{$register.id}/{$register.id}"),
            "15:22: the path has {$register.id} 2 times; write it once, as in DELETE /things/{$register.id}",
        ),
        (
            c("DELETE /keys/{$register.id}'", "DELETE /keys/{$register.id}', accepted_on: []"),
            "15:22: `accepted_on` is not a list of HTTP statuses; write it as in [200, 204, 404]",
        ),
        (
            c("GET /keys/{$register.id}'", "GET /keys/{$register.id}', gone_on: [404, 403]"),
            "16:62: the status 403 proves no row's absence; use 404 or 410",
        ),
        (
            c("GET /keys/{$register.id}'", "GET /keys/{$register.id}', id: id"),
            "16:57: `id` is no JSON Pointer; a JSON Pointer is empty or begins with \"/\" (RFC 6901): write \"/id\"",
        ),
        (
            c("GET /keys/{$register.id}'", "GET /keys/{$register.id}', as: service"),
            "16:57: `as: service` has no credentials to use; set credentials.service.headers_file, or use `as: caller`",
        ),
        (
            c("GET /keys/{$register.id}'", "GET /keys/{$register.id}?x=1'"),
            "16:25: `{$register.id}?x=1` can't be a path segment; put the query's parameters under `query`",
        ),
        (
            c("size: limit", "size: count"),
            "20:13: `query` gives \"count\", the rows per page, no whole number; write it under `query`, as in count: 1000",
        ),
        (
            c("number: page", "number: owner"),
            "20:13: `query` and `page` both set the parameter \"owner\"; leave it to `page`",
        ),
        (
            c("limit: 100", "limit: '{$request.query.limit}'"),
            "19:51: `{$request.query.limit}` mixes text and an expression; a query value is a constant or one expression without braces\n20:13: `query` gives \"limit\", the rows per page, no whole number; write it under `query`, as in limit: 1000",
        ),
        (
            c("{ /name: $request.body#/name }", "{ name: $request.body#/name }"),
            "21:22: `name` is no JSON Pointer into the row; a JSON Pointer is empty or begins with \"/\" (RFC 6901): write \"/name\"",
        ),
        (
            c("{ /name: $request.body#/name }", "{ /name: $request.body#/secret }"),
            "21:23: `$request.body#/secret` names a secret (\"secret\"), and its value would be kept; use a field that is no secret, such as an id or a name",
        ),
        (
            c("{ /name: $request.body#/name }", "{ /name: { value: k, default: k } }"),
            "21:23: a constant has no use for a default; leave `default` out",
        ),
        (
            c("    new: always\n", ""),
            "11:7: the rule has no `new`; add it: `always`, if the service never answers a create with an id that it gave before; else `{status: [201]}` or `listed_before`",
        ),
        (
            c("new: always", "new: { status: [] }"),
            "14:10: `new` is not a list of HTTP statuses; write it as in [200, 204, 404]",
        ),
        (
            c("      sees: all\n", ""),
            "23:15: `before: true` needs a list that shows every row; add `sees: all` if it does, else remove \
             `before`",
        ),
        (
            c("before: true", "before: false").replace("new: always", "new: listed_before"),
            "14:10: `new: listed_before` needs the rows before; add `before: true` to the rule's `probe`",
        ),
        (
            c("row: { id: /id }", "row: { id: /id, created_at: /created_at }"),
            "22:23: unknown field `created_at`; here may be: id",
        ),
        (
            c("    register:", "    deregister: { type: api_key, id: $row.id }\n    register:"),
            "10:17: a rule has either `register` or `deregister`; make two rules of it: one creates, the other deletes",
        ),
    ]);
}

#[test]
fn mistakes_in_rules_that_delete_are_told_with_place_and_mend() {
    let d = with_delete;
    assert_told(&[
        (
            d("    deregister: { type: api_key, id: $request.path.id }\n", ""),
            "7:11: the rule has neither `register` nor `deregister` nor `makes_also`; say what it creates or deletes",
        ),
        (
            d("id: $request.path.id }", "id: $request.path.key }"),
            "9:38: `match` has no parameter {key}; the path has {id}",
        ),
        (
            d("    probe: { request: 'GET /keys/{$request.path.id}', row: { id: /id } }\n", ""),
            "9:17: the rule has no `probe`; add it: the GET that shows the row by its id",
        ),
        (
            d("GET /keys/{$request.path.id}", "GET /keys"),
            "10:23: the path has {$request.path.id} 0 times; write it once, as in GET /things/{$request.path.id}",
        ),
        (
            d("    confirm: { request: 'GET /keys/{$row.id}' }\n", ""),
            "13:17: the rule has no `confirm`; add it: the GET that proves a row's absence",
        ),
        (
            d("row: { id: /id } }", "row: { id: /id }, where: { /a: 1 } }"),
            "10:86: `where` has no use here; the probe of a delete by id asks for one row: remove it",
        ),
        (
            d("DELETE /keys/name/{name}", "DELETE /keys/{name}"),
            "12:12: the rule \"delete\" matches the same requests; remove one of them",
        ),
        (
            d("name: delete-by-name", "name: delete"),
            "11:11: two rules are called \"delete\"; rename one of them",
        ),
        (
            d("GET /keys/{$row.id}", "GET /keys/{$register.id}"),
            "15:25: `$register.id` is not what this call asks for; write {$row.id}",
        ),
    ]);
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = with_create("id: $response.body#/id", "id: id")
        .replace("[cookie]", "[]")
        .replace("size: limit", "size: count");
    let told = parse_with(&text, &[("AUTHZ_SIDECAR_LISTEN", "x")]).unwrap_err().to_string();
    let places: Vec<_> = told.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["AUTHZ_SIDECAR_LISTEN", "c.yaml:3:12", "c.yaml:12:11", "c.yaml:20:13"]);
}

#[test]
fn what_is_required_is_asked_for() {
    for name in ["upstream", "forwarded", "principal", "authz", "journal"] {
        let lines = HEAD.lines().filter(|line| !line.starts_with(name));
        let text = lines.collect::<Vec<_>>().join("\n");
        assert!(wrong(&text).starts_with(&format!("c.yaml:1:1: `{name}` is missing; ")));
    }
    assert!(parse(HEAD).is_ok());
}

#[test]
fn a_file_that_can_not_be_read_is_told() {
    let missing = Config::load("/nowhere/c.yaml".as_ref(), []).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/c.yaml:1:1: can't be read: "), "{missing}");
}

#[test]
fn the_shipped_configuration_is_valid() {
    let config = parse(SHIPPED).unwrap();
    let rules: Vec<_> = config.rules.iter().map(Rule::matches).collect();
    assert_eq!(
        rules,
        [
            "POST /agent_api_keys",
            "POST /agent_api_keys/webhook-trigger",
            "DELETE /agent_api_keys/{id}",
            "DELETE /agent_api_keys/name/{name}",
        ]
    );
    assert!(config.rules.iter().all(|rule| rule.resource_type().as_str() == "api_key"));
}

#[test]
fn the_committed_schema_is_current() {
    let committed = include_str!("../config/schema.json");
    assert!(committed == schema(), "run: authz-sidecar schema > config/schema.json");
}

#[test]
fn the_environment_overrides_the_file() {
    let config = parse_with(
        HEAD,
        &[
            ("AUTHZ_SIDECAR_LISTEN", "127.0.0.1:0"),
            ("AUTHZ_SIDECAR_UPSTREAM", "unix:/run/keys/http.sock"),
            ("AUTHZ_SIDECAR_JOURNAL_URL", "sqlite:/x.db"),
            ("AUTHZ_SIDECAR_BOUNDS_LATE_EFFECT", "90s"),
            ("AUTHZ_SIDECAR_LOG", "debug"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.upstream, Endpoint::Unix("/run/keys/http.sock".into()));
    assert_eq!(config.journal.url, "sqlite:/x.db".parse().unwrap());
    assert_eq!(config.bounds.late_effect.to_string(), "90s");
}

#[test]
fn the_environment_gives_what_the_file_lacks() {
    let without = HEAD.replace("upstream: http://127.0.0.1:5003\n", "");
    let config = parse_with(&without, &[("AUTHZ_SIDECAR_UPSTREAM", "http://keys:1")]).unwrap();
    assert_eq!(config.upstream.to_string(), "http://keys:1");
}

#[test]
fn every_variable_overrides_the_setting_of_its_name() {
    for setting in SETTINGS {
        let path = setting.path.replace('.', "_").to_ascii_uppercase();
        assert_eq!(setting.variable, format!("AUTHZ_SIDECAR_{path}"));
        let head = HEAD.replace("memory: {}", "agentex: { url: http://a }");
        let bad = parse_with(&head, &[(setting.variable, "\u{1}")]);
        let text = setting.path.ends_with("file");
        let problem = bad.map(drop).map_err(|error| error.to_string());
        assert_eq!(problem.is_err(), !text, "{}: {problem:?}", setting.variable);
    }
}

#[test]
fn mistakes_in_the_environment_are_told_with_their_mend() {
    let told = |name, value| parse_with(HEAD, &[(name, value)]).unwrap_err().to_string();
    assert_eq!(
        told("AUTHZ_SIDECAR_JOURNAL_ULR", "x"),
        "environment: unknown variable AUTHZ_SIDECAR_JOURNAL_ULR; \
         did you mean AUTHZ_SIDECAR_JOURNAL_URL?"
    );
    assert_eq!(
        told("AUTHZ_SIDECAR_AUTHZ_DEADLINE", "soon"),
        "AUTHZ_SIDECAR_AUTHZ_DEADLINE: \"soon\" is not a duration: write a whole number and ms, \
         s, m or h, such as 250ms; it overrides `authz.deadline`"
    );
}

#[test]
fn p7_a_password_in_the_journal_s_url_is_refused_and_not_repeated() {
    let url = "postgres://u:s3cret@h/d";
    let by_variable = parse_with(HEAD, &[("AUTHZ_SIDECAR_JOURNAL_URL", url)]);
    let in_the_file = parse(&HEAD.replace("sqlite:j.db", url));
    for error in [by_variable, in_the_file].map(|parsed| parsed.unwrap_err().to_string()) {
        assert!(error.contains("journal.postgres.password_file"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let without = HEAD.replace("sqlite:j.db", "postgres://u@h/d");
    assert!(parse(&without).is_ok());
}

#[test]
fn check_warns_of_what_is_lost() {
    let advice = |text: &str| parse(text).unwrap().rules.advice().join("\n");
    let probe = "    probe:
      request: GET /keys
      query: { owner: $request.path.owner, limit: 100 }
      page: { number: page, size: limit }
      where: { /name: $request.body#/name }
      row: { id: /id }
      sees: all
      before: true
";
    assert!(advice(&with_create(probe, "")).contains("create: has no probe"));
    assert!(advice(&with_create("before: true", "before: false")).contains("no `before: true`"));
    assert!(
        advice(&with_create("name: create", "mode: observe\n    name: create")).contains("observe")
    );
    let shadowed = with_delete("DELETE /keys/name/{name}", "DELETE /keys/name")
        .replace("path.name", "query.name");
    assert!(advice(&shadowed).contains("delete-by-name: never applies, since \"delete\""));
}
