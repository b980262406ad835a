//! Which headers count, and how they are read.

use std::collections::BTreeSet;

use authz_sidecar::principal::{BuildError, Config, Error, Metrics, Resolver};

use crate::support::provider::{AUTHN, Provider};
use crate::{TestClock, World, config, headers};

#[tokio::test]
async fn the_headers_listed_are_exactly_those_sent_to_authn_besides_trace_context() {
    let world = World::new();
    let listed = [
        ("authorization", "Bearer a"),
        ("cookie", "c=1"),
        ("x-api-key", "k"),
        ("x-user-id", "u"),
        ("x-service-account-id", "s"),
        ("x-selected-account-id", "acct"),
        ("x-auth-anything", "1"),
        ("x-session-id", "2"),
    ];
    let others = [
        ("host", "service"),
        ("content-length", "7"),
        ("content-type", "text/plain"),
        ("accept", "*/*"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-other", "3"),
        ("user-agent", "curl"),
    ];
    let trace = [("traceparent", "00-1-2-01"), ("tracestate", "v=1")];
    world.who(&[&listed[..], &others[..], &trace[..]].concat()).await;
    let call = world.provider.calls(AUTHN).remove(0);
    let own = ["host", "user-agent", "content-length"];
    let sent: BTreeSet<_> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
    let sent: BTreeSet<_> = sent.into_iter().filter(|name| !own.contains(name)).collect();
    assert_eq!(sent, listed.iter().chain(&trace).map(|(name, _)| *name).collect());
    for (name, value) in listed.iter().chain(&trace) {
        assert_eq!(call.header(name), Some(*value));
    }
    assert_eq!(call.header("content-length"), Some("0"));
    assert_ne!(call.header("host"), Some("service"));
    assert_ne!(call.header("user-agent"), Some("curl"));
}

#[tokio::test]
async fn every_listed_header_is_in_the_cache_key() {
    let world = World::new();
    let base = [
        ("authorization", "Bearer a"),
        ("cookie", "c=1"),
        ("x-api-key", "k"),
        ("x-user-id", "u"),
        ("x-service-account-id", "s"),
        ("x-selected-account-id", "acct"),
        ("x-auth-foo", "1"),
        ("x-session-id", "2"),
    ];
    world.who(&base).await;
    world.who(&base).await;
    assert_eq!(world.calls(), 1);
    for (n, (name, _)) in base.iter().enumerate() {
        let mut changed = base;
        changed[n].1 = "other";
        world.who(&changed).await;
        assert_eq!(world.calls(), 2 + 2 * n, "a change of {name} found another's entry");
        let without: Vec<_> = base.iter().filter(|(other, _)| other != name).copied().collect();
        // Without a user this double answers 401; what counts is that it was asked.
        let _ = world.resolver.resolve(&headers(&without)).await;
        assert_eq!(world.calls(), 3 + 2 * n, "leaving {name} out found another's entry");
    }
}

#[tokio::test]
async fn two_users_never_share_an_entry() {
    let world = World::new();
    for user in ["u1", "u2", "u1", "u2"] {
        assert!(world.who(&[("x-user-id", user)]).await.contains(user));
    }
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn names_and_values_can_not_be_shifted_into_each_other() {
    let world = World::new();
    world.who(&[("x-user-id", "u"), ("x-auth-a", "bx-auth-cd")]).await;
    world.who(&[("x-user-id", "u"), ("x-auth-a", "b"), ("x-auth-c", "d")]).await;
    world.who(&[("x-user-id", "u"), ("x-auth-ab", ""), ("x-auth-c", "d")]).await;
    assert_eq!(world.calls(), 3);
}

#[tokio::test]
async fn order_case_and_unlisted_headers_do_not_matter() {
    let world = World::new();
    world.who(&[("x-user-id", "u"), ("cookie", "c"), ("accept", "a")]).await;
    world.who(&[("Cookie", "c"), ("accept", "b"), ("X-User-Id", "u")]).await;
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn cookie_headers_are_joined() {
    let world = World::new();
    world.who(&[("x-user-id", "u"), ("cookie", "a=1"), ("cookie", "b=2")]).await;
    assert_eq!(world.provider.calls(AUTHN)[0].header("cookie"), Some("a=1; b=2"));
    world.who(&[("x-user-id", "u"), ("cookie", "a=1; b=2")]).await;
    assert_eq!(world.calls(), 1);
    world.who(&[("x-user-id", "u"), ("cookie", "b=2"), ("cookie", "a=1")]).await;
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn a_duplicate_single_valued_credential_is_refused_unasked() {
    let world = World::new();
    for name in ["authorization", "x-user-id", "x-auth-foo"] {
        let twice = headers(&[(name, "s3cret"), (name, "s3cret")]);
        let error = world.resolver.resolve(&twice).await.unwrap_err();
        assert_eq!(error, Error::Duplicate(name.into()));
        assert!(!error.to_string().contains("s3cret"));
        world.resolver.forget(&twice).await;
    }
    assert_eq!(world.calls(), 0);
    world.who(&[("x-user-id", "u"), ("accept", "a"), ("accept", "b")]).await;
}

#[tokio::test]
async fn p5_what_is_a_credential_to_some_services_only_is_refused_unasked() {
    let world = World::new();
    for name in ["x_user_id", "X-User_Id", "x_auth-foo"] {
        let both = headers(&[("x-user-id", "alice"), (name, "s3cret")]);
        let error = world.resolver.resolve(&both).await.unwrap_err();
        assert_eq!(error, Error::Lookalike(name.to_lowercase()));
        assert!(!error.to_string().contains("s3cret"));
    }
    let twins = headers(&[("x-user-id", "u"), ("x-auth-token", "a"), ("x-auth_token", "b")]);
    let error = world.resolver.resolve(&twins).await.unwrap_err();
    assert_eq!(error, Error::Lookalike("x-auth_token".into()));
    assert_eq!(world.calls(), 0);
    world.who(&[("x-user-id", "u"), ("x_user_id_2", "v"), ("x_other", "w")]).await;
}

#[tokio::test]
async fn a_principal_without_any_creator_field_has_no_creator() {
    let world = World::new();
    let table = [
        ("Bearer 1", r#"{"user_id":"u"}"#, true),
        ("Bearer 2", r#"{"user_id":null,"service_account_id":"s"}"#, true),
        ("Bearer 3", r#"{"user_id":null}"#, false),
        ("Bearer 4", r#"{"account_id":"a"}"#, false),
    ];
    for (credential, json, has_creator) in table {
        world.provider.principal(credential, json);
        let request = headers(&[("authorization", credential)]);
        let resolved = world.resolver.resolve(&request).await.unwrap();
        assert_eq!(resolved.has_creator, has_creator, "{json}");
        assert_eq!(resolved.principal.json().get(), json);
    }
}

#[test]
fn p1_a_bypass_header_counts_only_where_the_service_would_take_it() {
    let world = World::with("", "bypass: [x-agent-identity, x-agent-api-key]");
    let bypassed = |pairs: &[(&str, &str)]| world.resolver.bypassed(&headers(pairs)).unwrap();
    assert!(bypassed(&[("X-Agent-Identity", "a1")]));
    assert!(bypassed(&[("x-agent-api-key", "k"), ("x-user-id", "u")]));
    assert!(!bypassed(&[("x-user-id", "u")]));
    assert!(!bypassed(&[("x-agent-identity", "")]));
    assert!(!bypassed(&[("x-agent-identity", " ")]));
    assert!(!bypassed(&[("x-agent-identity", ""), ("x-agent-identity", "a1")]));
    assert!(!bypassed(&[("x_agent_identity_2", "a1"), ("x_other", "b")]));
    let agent = headers(&[("x-agent-identity", "a1")]);
    assert_eq!(World::new().resolver.bypassed(&agent), Ok(false));
}

#[test]
fn p1_p5_a_header_that_bypasses_before_some_services_only_is_refused() {
    let world = World::with("", "bypass: [x-agent-identity, x-agent-key, x-agent_key, x_legacy]");
    let bypassed = |pairs: &[(&str, &str)]| world.resolver.bypassed(&headers(pairs));
    for (name, value) in [("X_Agent_Identity", ""), ("x-agent_identity", "a1")] {
        let refused = Err(Error::Lookalike(name.to_lowercase()));
        assert_eq!(bypassed(&[(name, value)]), refused);
        assert_eq!(bypassed(&[(name, value), ("x-agent-identity", "a1")]), refused);
        assert_eq!(bypassed(&[("x-agent-key", "k"), (name, value)]), refused);
    }
    // Both of them are named, and a request may have one.
    assert_eq!(bypassed(&[("x-agent-key", "k")]), Ok(true));
    assert_eq!(bypassed(&[("x-agent_key", "k")]), Ok(true));
    let twins = bypassed(&[("x-agent-key", "k"), ("x-agent_key", "")]);
    assert_eq!(twins, Err(Error::Lookalike("x-agent-key".into())));
    assert_eq!(bypassed(&[("x_legacy", "k")]), Ok(true));
    let dashed = bypassed(&[("x-legacy", "k")]);
    assert_eq!(dashed, Err(Error::Lookalike("x-legacy".into())));
}

#[tokio::test]
async fn p3_deregister_has_the_stored_fields_or_the_configured_principal() {
    let world = World::with("", "store: [user_id, account_id]");
    let request = headers(&[("x-user-id", "u")]);
    let resolved = world.resolver.resolve(&request).await.unwrap();
    let stored = world.resolver.stored(&resolved.principal);
    let principal = stored.to_principal().unwrap();
    assert_eq!(principal.json().get(), r#"{"account_id":"acct-1","user_id":"u"}"#);
    assert_eq!(world.resolver.deregister_as().json().get(), r#"{"user_id":"sidecar"}"#);
}

#[test]
fn what_is_configured_wrongly_is_refused_with_place_and_mend() {
    let provider = Provider::start();
    let read = |yaml: &str| serde_saphyr::from_str::<Config>(yaml).map_err(|e| e.to_string());
    let yaml = |more: &str| format!("{{ authn: {{ url: 'http://h/v1/authn' }}, {more} }}");
    assert!(read(&yaml("store: []")).unwrap_err().contains("deregister_as"));
    assert!(read(&yaml("deregister_as: {}")).is_err());
    assert!(read(&yaml("deregister_as: [1]")).is_err());
    for header in ["host", "Content-Length", "connection", "transfer-encoding", "expect", "\"*\""] {
        let error = read(&yaml(&format!("deregister_as: {{a: b}}, headers: [{header}]")));
        assert!(error.unwrap_err().contains("authn"), "{header}");
    }
    let build = |more: &str| {
        let clock = std::sync::Arc::new(TestClock::default());
        Resolver::new(&config(&provider, "", more), clock, Metrics::default())
    };
    assert!(matches!(build("store: [api_key]"), Err(BuildError::SecretStored(_))));
    assert!(matches!(build("headers: []"), Err(BuildError::NoHeaders)));
    let password = read("{ authn: { url: 'http://u:s3cret@h' }, deregister_as: { a: b } }");
    let error = password.unwrap_err();
    let line = error.lines().next().unwrap_or_default();
    assert!(line.contains("credentials") && !line.contains("s3cret"), "{error}");
}
