//! The sidecar itself: the real binary, with `config/agentex.yaml` bent to the test's addresses.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::client::Client;
use super::{PATIENCE, eventually, repository};

/// A configuration for a sidecar: `config/agentex.yaml`, with overrides.
#[derive(Clone, Debug)]
pub struct Config {
    document: Value,
    log: String,
    environment: Vec<(String, String)>,
    binary: PathBuf,
}

impl Config {
    /// In front of the service at `upstream` (see `Service::upstream`) with the provider at
    /// `provider` (`http://HOST:PORT`), alone before the service (`exclusive_writer`), with bounds
    /// short enough for tests: L 2 s, S 1 s, retries every 200 ms at least.
    pub fn new(upstream: &str, provider: &str) -> Self {
        let text = std::fs::read_to_string(repository("config/agentex.yaml")).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        // Without the release binary asked for, the one that this build made.
        let built = env!("CARGO_BIN_EXE_authz-sidecar").into();
        let binary = std::env::var_os("AUTHZ_SIDECAR_BINARY").map_or(built, PathBuf::from);
        Self { document, log: "info".into(), environment: Vec::new(), binary }
            .set("/listen", "127.0.0.1:0")
            .set("/health", "127.0.0.1:0")
            .set("/admin", "127.0.0.1:0")
            .set("/upstream", upstream)
            .set("/principal/authn/url", format!("{provider}/v1/authn"))
            .set("/authz/agentex/url", provider)
            .set("/journal/exclusive_writer", true)
            .set("/bounds/retry", "200ms")
            .late_effect(Duration::from_secs(2))
    }

    /// Sets what the JSON pointer names, e.g. `/authz/deadline`; missing objects are made.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.document;
        for part in pointer.split('/').skip(1) {
            if at.is_null() {
                *at = json!({});
            }
            at = match at {
                Value::Array(rows) => {
                    let index: usize = part.parse().unwrap();
                    &mut rows[index]
                }
                _ => &mut at[part],
            };
        }
        *at = value.into();
        self
    }

    /// Removes what the JSON pointer names.
    pub fn remove(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = self.document.pointer_mut(parent).expect("such a parent");
        match parent {
            Value::Object(members) => drop(members.remove(name).expect("such a member")),
            Value::Array(rows) => drop(rows.remove(name.parse().unwrap())),
            _ => panic!("{pointer} is in neither an object nor an array"),
        }
        self
    }

    /// As [`Config::set`], within the rule of that name: `.rule("create-key", "/mode", "observe")`.
    pub fn rule(self, name: &str, pointer: &str, value: impl Into<Value>) -> Self {
        let rules = self.document["rules"].as_array().unwrap();
        let index = rules.iter().position(|rule| rule["name"] == name).expect("such a rule");
        self.set(&format!("/rules/{index}{pointer}"), value)
    }

    /// L. An exchange with the service, which may not exceed it, gets half of it.
    pub fn late_effect(self, bound: Duration) -> Self {
        self.set("/bounds/late_effect", format!("{}ms", bound.as_millis()))
            .set("/bounds/exchange", format!("{}ms", bound.as_millis() / 2))
    }
    /// The filter of its log, e.g. `trace`. Default `info`.
    pub fn log(mut self, filter: &str) -> Self {
        self.log = filter.into();
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Another binary than this build's, e.g. a release.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = path.into();
        self
    }
}

/// A running sidecar, its journal and its log. It ends with the value, without a drain.
pub struct Sidecar {
    config: Config,
    directory: TempDir,
    child: Child,
    addresses: Addresses,
    log: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Debug, serde::Deserialize)]
struct Addresses {
    listen: String,
    health: String,
    admin: String,
}

impl Sidecar {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    /// With its log, where it ends or stays silent instead.
    pub async fn start(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = format!("sqlite:{}", directory.path().join("journal.db").display());
        let mut config = config;
        if config.document["journal"]["url"].as_str().unwrap().contains("/var/lib/") {
            config = config.set("/journal/url", journal);
        }
        let log = Arc::default();
        let (child, addresses) = launch(&config, &directory, &log).await.unwrap_or_else(silent);
        Self { config, directory, child, addresses, log }
    }

    /// A client of what clients of the service see.
    pub fn client(&self) -> Client {
        Client::new(&self.addresses.listen)
    }

    /// A client of the port for probes and metrics.
    pub fn health(&self) -> Client {
        Client::new(&self.addresses.health)
    }

    /// A client of the operators' port.
    pub fn admin(&self) -> Client {
        Client::new(&self.addresses.admin)
    }

    /// Where clients connect, `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.addresses.listen
    }

    /// Where operators connect, `HOST:PORT`.
    pub fn admin_address(&self) -> &str {
        &self.addresses.admin
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running sidecar")
    }

    /// Where its journal and configuration are.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Kills it as a crash would: SIGKILL.
    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Kills it where it runs, and starts it anew: same ports, same journal.
    pub async fn restart(&mut self) {
        let config = self.config.clone();
        self.restart_as(config).await;
    }

    /// As [`Sidecar::restart`], with a changed configuration: `restart_as(sidecar.config().set(…))`.
    ///
    /// # Panics
    /// With its log, where it ends or stays silent instead of listening.
    pub async fn restart_as(&mut self, config: Config) {
        self.try_restart_as(config).await.unwrap_or_else(silent);
    }

    /// As [`Sidecar::restart_as`]; the log where it ends or stays silent instead of listening.
    pub async fn try_restart_as(&mut self, config: Config) -> Result<(), String> {
        if self.child.try_wait().unwrap().is_none() {
            self.kill9().await;
        }
        self.config = config
            .set("/listen", self.addresses.listen.as_str())
            .set("/health", self.addresses.health.as_str())
            .set("/admin", self.addresses.admin.as_str());
        let (child, addresses) = launch(&self.config, &self.directory, &self.log).await?;
        self.child = child;
        self.addresses = addresses;
        Ok(())
    }

    /// Lets the next restart choose its ports: somebody may take the old ones while it is down.
    pub fn leave_addresses(&mut self) {
        let [listen, health, admin] = ["127.0.0.1:0"; 3].map(str::to_owned);
        self.addresses = Addresses { listen, health, admin };
    }

    /// Its configuration.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Asks it to stop (SIGTERM) without waiting.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub async fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.pid().to_string());
        let sent = Command::new("kill").args([&signal, &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        self.terminate().await;
        self.wait().await
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE * 2, self.child.wait()).await.expect("it ends").unwrap()
    }

    /// Waits until it has ended, however long that takes.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Unfinished operations, explained; at most a thousand.
    pub async fn operations(&self) -> Vec<Value> {
        let answer = self.admin().get("/operations?limit=1000").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["operations"].as_array().unwrap().clone()
    }

    /// One operation, finished or not.
    pub async fn operation(&self, id: &str) -> Option<Value> {
        let answer = self.admin().get(&format!("/operations/{id}")).send().await;
        (answer.status == 200).then(|| answer.json())
    }

    /// The metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        self.health().get("/metrics").send().await.text()
    }

    /// The sum of all series of one metric, e.g. `authz_sidecar_…_total`, whose labels contain
    /// `labels` (empty for all).
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.metrics().await;
        let series = text.lines().filter_map(|line| line.rsplit_once(' '));
        series
            .filter(|(key, _)| key.split('{').next() == Some(name) && key.contains(labels))
            .map(|(_, value)| value.parse::<f64>().unwrap())
            .sum()
    }

    /// Waits until no operation is unfinished: at least L after the last undo.
    ///
    /// # Panics
    /// With the operations that are left, after `PATIENCE`.
    pub async fn wait_quiescent(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let left = self.operations().await;
            if left.is_empty() {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "left: {left:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for an unfinished operation that satisfies `is`.
    pub async fn wait_operation(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || async { self.operations().await.into_iter().find(&is) }).await
    }

    /// Every line that it logged, all runs together.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The lines that it logged since this was last asked for.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// The bytes of every file of its journal, one after the other: to look for secrets.
    pub fn journal_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal")) {
                bytes.extend(std::fs::read(path).unwrap());
            }
        }
        bytes
    }
}

fn silent<T>(log: String) -> T {
    panic!("the sidecar doesn't listen:\n{log}")
}

async fn launch(
    config: &Config,
    directory: &TempDir,
    log: &Arc<Mutex<Vec<String>>>,
) -> Result<(Child, Addresses), String> {
    let path = directory.path().join("config.yaml");
    // JSON is YAML.
    std::fs::write(&path, config.document.to_string()).unwrap();
    // Ends with the thread that starts it, however this process ends. That is the test's thread,
    // or one of its runtime's: both outlive the test.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&config.binary)
        .arg("run")
        .arg(&path)
        // The sidecar refuses variables of its prefix that it doesn't know.
        .env_remove("AUTHZ_SIDECAR_BINARY")
        .env("AUTHZ_SIDECAR_LOG", &config.log)
        .envs(config.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("setpriv, of util-linux, starts the sidecar");
    let stderr = child.stderr.take().unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(follow(stderr, Arc::clone(log), sender));
    match tokio::time::timeout(PATIENCE, receiver).await {
        Ok(Ok(addresses)) => Ok((child, addresses)),
        _ => Err(log.lock().unwrap().join("\n")),
    }
}

/// Keeps the log, and tells the addresses as soon as it does.
async fn follow(
    stderr: ChildStderr,
    log: Arc<Mutex<Vec<String>>>,
    listening: tokio::sync::oneshot::Sender<Addresses>,
) {
    let mut listening = Some(listening);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        log.lock().unwrap().push(line);
        if event["message"] == "listening"
            && let (Ok(addresses), Some(listening)) =
                (serde_json::from_value(event), listening.take())
        {
            // Whoever waited has given up, and says so.
            let _ = listening.send(addresses);
        }
    }
}
