//! What stands before the server: the sidecar with its rules, or a naive model of one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::judge::{Effect, caller};
use super::relay::Relay;
use crate::support::provider::{AUTHN, DEREGISTER, Provider, REGISTER};
use crate::support::sidecar::{Config, Sidecar};

/// One of the two.
pub(crate) enum Front {
    Sidecar(Box<Sidecar>, Provider),
    Naive(Relay),
}

impl Front {
    pub(crate) async fn naive(upstream: &str) -> Self {
        Self::Naive(Relay::start(upstream.to_owned()).await)
    }

    /// The sidecar, in that dialect.
    pub(crate) async fn start(dialect: &str, upstream: &str) -> Self {
        let provider = Provider::start();
        // Each rule tells the back end of a type of its own, named as the handler that it is for.
        let mut config = Config::new(upstream, &provider.url())
            .log("warn,authz_sidecar=info")
            .set("/dialect", dialect);
        for rule in ["create-key", "create-webhook-key", "delete-key", "delete-key-by-name"] {
            let part = if rule.starts_with("create") { "register" } else { "deregister" };
            config = config.rule(rule, &format!("/{part}/type"), rule.replace('-', "_"));
        }
        // So that the server can show a row of that name, and needs to keep none.
        let config = config.rule("delete-key-by-name", "/probe/query/name", "$request.path.name");
        Self::Sidecar(Box::new(Sidecar::start(config).await), provider)
    }

    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Sidecar(sidecar, _) => sidecar.address(),
            Self::Naive(relay) => &relay.address,
        }
    }

    /// The credentials that authn was asked about; none where nobody asks.
    pub(crate) fn callers(&self) -> Option<BTreeSet<String>> {
        let Self::Sidecar(_, provider) = self else { return None };
        let calls = provider.calls(AUTHN);
        Some(calls.iter().map(|call| caller(|name| call.header(name))).collect())
    }

    /// What the rules took requests for, once nothing is unfinished.
    pub(crate) async fn effects(&self) -> BTreeSet<Effect> {
        match self {
            Self::Naive(relay) => relay.effects.lock().unwrap().iter().cloned().collect(),
            Self::Sidecar(sidecar, provider) => {
                // What was taken for another request may never end.
                let goes_on = |operation: &Value| {
                    operation["needs_a_person"] != true && operation["stuck"] != true
                };
                while sidecar.operations().await.iter().any(goes_on) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                let told = |path, deletes| {
                    let calls = provider.calls(path);
                    calls.into_iter().map(move |call| {
                        let body: Value = serde_json::from_str(&call.body).unwrap();
                        let text = |name: &str| body["resource"][name].as_str().unwrap().to_owned();
                        let parent = body["parent"]["selector"].as_str().unwrap_or_default();
                        Effect::told(deletes, &text("type"), &text("selector"), parent)
                    })
                };
                told(REGISTER, false).chain(told(DEREGISTER, true)).collect()
            }
        }
    }
}
