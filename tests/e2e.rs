//! End to end: the sidecar's binary with `config/agentex.yaml`, a real FastAPI service under
//! uvicorn over PostgreSQL behind it, a provider beside it, unchanged clients in front.
//! `tests/contract/keys-service.tsv` says which line of the contract each test covers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as loudly as tests"
)]

#[path = "e2e/creates.rs"]
mod creates;
#[path = "e2e/credentials.rs"]
mod credentials;
#[path = "e2e/deletes.rs"]
mod deletes;
#[path = "e2e/spellings.rs"]
mod spellings;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use support::client::{Answer, Call};
use support::provider::Provider;
use support::service::{Options, Service};
use support::sidecar::{Config, Sidecar};

/// The service with its agent `a1`, the provider, and the sidecar between them.
struct World {
    service: Service,
    provider: Provider,
    sidecar: Sidecar,
}

impl World {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let provider = Provider::start();
        let service = Service::with_agent(options).await;
        let config = Config::new(&service.upstream(), &provider.url());
        let sidecar = Sidecar::start(config.late_effect(Duration::from_secs(3))).await;
        Self { service, provider, sidecar }
    }

    fn call(&self, method: &str, target: &str) -> Call {
        self.sidecar.client().request(method, target).header("x-user-id", "alice")
    }

    async fn create(&self, body: &Value) -> Answer {
        self.call("POST", "/agent_api_keys").json(body).send().await
    }

    /// Creates a key through the sidecar and gives its id.
    async fn key(&self, name: &str) -> String {
        let answer = self.create(&json!({"agent_id": "agent-a1", "name": name})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.id()
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path).send().await
    }

    /// Waits until nothing is left to do, and compares both systems.
    async fn assert_same_set(&self) {
        self.service.idle().await;
        self.sidecar.wait_quiescent().await;
        let rows: BTreeSet<String> =
            self.service.ids().await.iter().map(|id| resource(id)).collect();
        assert_eq!(rows, self.provider.registered());
        for row in rows {
            assert_eq!(self.provider.parent_of(&row), Some("agent:agent-a1".into()));
        }
    }
}

fn resource(id: &str) -> String {
    format!("api_key:{id}")
}
