//! P7: what is planted as a secret is found nowhere but where it was sent.
//!
//! The sidecar is the real binary, with its log at the level `trace`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Call;
use crate::support::keys::{AGENT, Fault, Route};
use crate::world::World;

/// Each in one header that may carry a credential.
const HEADERS: [&str; 10] = [
    "authorization",
    "cookie",
    "x-api-key",
    "x-user-id",
    "x-service-account-id",
    "x-selected-account-id",
    "x-auth-token",
    "x-session-id",
    "x-agent-api-key",
    "proxy-authorization",
];

/// A running binary.
struct Process {
    child: Child,
    log: PathBuf,
    listen: std::net::SocketAddr,
    health: std::net::SocketAddr,
    admin: std::net::SocketAddr,
}

impl Process {
    async fn start(world: &World, log: &str) -> Self {
        let (config, log) = (world.directory().join("config.yaml"), world.directory().join(log));
        std::fs::write(&config, world.yaml()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_authz-sidecar"))
            .env_remove("AUTHZ_SIDECAR_BINARY")
            .args(["run".as_ref(), config.as_os_str()])
            .env("AUTHZ_SIDECAR_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let line = listening(&log).await;
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        let (listen, health, admin) = (address("listen"), address("health"), address("admin"));
        Self { child, log, listen, health, admin }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn listening(log: &Path) -> Value {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(line) = lines.into_iter().find(|l| l["message"] == "listening") {
            return line;
        }
        assert!(Instant::now() < deadline, "it does not listen: {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A create with a secret in every place that can hold one.
fn create(address: std::net::SocketAddr, name: &str) -> Call {
    let body = json!({"agent_id": AGENT, "name": name, "api_key": "planted-in-request-api-key",
        "secret": "planted-in-request-secret"});
    with_credentials(Call::new(address, "POST", "/agent_api_keys").json(&body))
}

fn with_credentials(call: Call) -> Call {
    let sent = HEADERS.iter().filter(|name| **name != "x-agent-api-key");
    sent.fold(call, |call, name| call.header(name, &format!("planted-in-{name}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_no_planted_secret_is_found_in_journal_log_metrics_or_operations() {
    let world = World::without_sidecar().await;
    let principal = r#"{"user_id": "u-7", "api_key": "planted-in-principal-api-key",
        "session": "planted-in-principal-session"}"#;
    for name in HEADERS {
        world.provider.principal(&format!("planted-in-{name}"), principal);
    }
    let mut process = Process::start(&world, "first.log").await;
    let seen = drive(&world, &process).await;
    process.kill();
    let log = process.log.clone();
    let again = Process::start(&world, "second.log").await;
    let operations = Call::new(again.admin, "GET", "/operations").send().await;
    drop(again);

    let mut places = seen;
    places.push(("/operations after the crash".into(), operations.body));
    for entry in std::fs::read_dir(world.directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            continue;
        }
        places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    assert!(places.iter().any(|(place, _)| place.ends_with("journal.db")));
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("\"TRACE\""), "the log is not at the level it should be");
    let leaks: Vec<_> = places.iter().flat_map(|(place, bytes)| leaks(place, bytes)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// Creates, deletes, failures; and what the ports said meanwhile.
async fn drive(world: &World, process: &Process) -> Vec<(String, Vec<u8>)> {
    let id = create(process.listen, "stands").send().await.expect(200).id();
    let delete = |id: &str| {
        let target = format!("/agent_api_keys/{id}");
        with_credentials(Call::new(process.listen, "DELETE", &target))
    };
    delete(&id).send().await.expect(200);
    create(process.listen, "stands again").send().await.expect(200);
    let target = format!("/agent_api_keys/name/stands?agent_id={AGENT}");
    with_credentials(Call::new(process.listen, "DELETE", &target)).send().await.expect(404);
    let body = json!({"agent_name": format!("name-of-{AGENT}"), "source": "github", "name": "w",
        "forward_path": "/f", "secret": "planted-in-request-webhook-secret"});
    let webhook = Call::new(process.listen, "POST", "/agent_api_keys/webhook-trigger").json(&body);
    with_credentials(webhook).send().await.expect(200);
    let bypassed = Call::new(process.listen, "POST", "/agent_api_keys")
        .json(&json!({"agent_id": AGENT, "name": "agent's"}))
        .header("x-agent-api-key", "planted-in-x-agent-api-key");
    bypassed.send().await.expect(200);
    world.provider.authn().once().answers_with(500, "planted-in-authn-answer");
    create(process.listen, "no principal").send().await.expect(503);
    world.provider.register().once().answers_with(403, "planted-in-register-answer");
    create(process.listen, "refused").send().await.expect(503);
    world
        .keys
        .on(Route::Create, Fault::once().bytes(*b"HTTP/1.1 200 OK\r\nplanted-in-garbage\r\n\r\n"));
    create(process.listen, "garbage").send().await.expect(502);
    world.keys.on(Route::Create, Fault::once().status(500));
    create(process.listen, "unknown").send().await.expect(500);
    world.keys.on(
        Route::Get,
        Fault::times(2).changed(|answer| {
            (answer.status, answer.body) = (500, b"planted-in-service-answer".to_vec());
        }),
    );
    delete("k").send().await.expect(503);
    let twice = br#"{"name": "planted-in-bad-body", "name": "planted-in-bad-body"}"#;
    create(process.listen, "").raw_body(twice.to_vec()).send().await.expect(400);
    with_credentials(Call::new(process.listen, "GET", "/elsewhere")).send().await.expect(200);
    world.provider.down();
    create(process.listen, "left to the crash").send().await.expect(503);
    let mut seen = Vec::new();
    for (address, target) in [(process.admin, "/operations"), (process.health, "/metrics")] {
        let answer = Call::new(address, "GET", target).send().await.expect(200);
        seen.push((target.to_owned(), answer.body));
    }
    world.provider.up();
    seen
}

/// Which secrets `bytes` hold, and for a log the line they are in.
fn leaks(place: &str, bytes: &[u8]) -> Vec<String> {
    let needle = b"planted-in-";
    let found = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle));
    let shown = found.map(|at| {
        let begin = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |line| line + 1);
        let end = (at + 80).min(bytes.len());
        let begin = begin.max(at.saturating_sub(300));
        format!("{place}: {}", String::from_utf8_lossy(&bytes[begin..end]))
    });
    shown.collect()
}
