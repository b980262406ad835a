//! A sidecar between a service and a provider, with a token for orders, and its operator.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::client::Answer;
use crate::support::keys::{AGENT, Fault, Keys, Route};
use crate::support::provider::Provider;
use crate::support::sidecar::{Config, Sidecar};

/// Planted: it may be found nowhere but in the file.
pub(crate) const TOKEN: &str = "planted-token-0123456789abcdef";

pub(crate) struct World {
    pub(crate) keys: Keys,
    pub(crate) provider: Provider,
    pub(crate) sidecar: Sidecar,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|config| config).await
    }

    /// L is half a minute, so that nothing ends by itself while a test looks.
    pub(crate) async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (keys, provider) = (Keys::start().await, Provider::start());
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let config = Config::new(&keys.url(), &provider.url())
            .late_effect(Duration::from_secs(30))
            .set("/bounds/reply", "100ms")
            .set("/authz/deadline", "500ms")
            .set("/credentials/admin/token_file", token.to_str().unwrap());
        let sidecar = Sidecar::start(change(config)).await;
        Self { keys, provider, sidecar, directory }
    }

    pub(crate) fn token_file(&self) -> String {
        self.directory.path().join("token").display().to_string()
    }

    pub(crate) async fn create(&self, name: &str) -> Answer {
        let call = self.sidecar.client().post("/agent_api_keys").header("x-user-id", "u-1");
        call.json(&json!({"agent_id": AGENT, "name": name})).send().await
    }

    pub(crate) async fn delete(&self, id: &str) -> Answer {
        let target = format!("/agent_api_keys/{id}");
        self.sidecar.client().delete(&target).header("x-user-id", "u-1").send().await
    }

    /// An operation in that phase.
    pub(crate) async fn stands(&self, phase: &str) -> Value {
        self.sidecar.wait_operation(phase, |operation| operation["phase"] == phase).await
    }

    /// A create whose registration failed and whose row can't be removed.
    pub(crate) async fn stuck_undo(&self) -> Value {
        self.keys.on(Route::Delete, Fault::always().without_effect().status(500));
        self.provider.register().answers(403);
        assert_eq!(self.create("stuck").await.status, 503);
        self.provider.register().reset();
        self.sidecar.wait_operation("a stuck undo", |operation| operation["stuck"] == true).await
    }

    /// A create of which the service said nothing that tells whether there is a row.
    pub(crate) async fn unknown(&self, name: &str) -> Value {
        self.keys.on(Route::List, Fault::always().without_effect().status(500));
        self.keys.on(Route::Create, Fault::once().status(500));
        assert_eq!(self.create(name).await.status, 500);
        self.stands("unknown").await
    }

    /// Runs `authz-sidecar operations …` against the running sidecar, with the token.
    pub(crate) async fn operator(&self, arguments: &[&str]) -> Run {
        let (port, token) = (format!("http://{}", self.sidecar.admin_address()), self.token_file());
        let mut all = arguments.to_vec();
        all.extend(["--admin", &port, "--token-file", &token]);
        run(&all).await
    }
}

/// What a command came to.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// What it printed, where it succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// What it complained of, with that exit code.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self.err
    }
}

/// Runs `authz-sidecar operations …`.
pub(crate) async fn run(arguments: &[&str]) -> Run {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_authz-sidecar"))
        .env_remove("AUTHZ_SIDECAR_BINARY")
        .env("USER", "alice")
        .arg("operations")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

pub(crate) fn id(operation: &Value) -> String {
    operation["id"].as_str().unwrap().to_owned()
}

/// The records of an operation that was shown, by name.
pub(crate) fn records(shown: &Value) -> Vec<&str> {
    shown["history"].as_array().unwrap().iter().map(|one| one["record"].as_str().unwrap()).collect()
}
