//! A whole world in one process: keys service, provider and sidecar, on loopback, with bounds
//! short enough to be waited for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use authz_sidecar::app::{Addresses, App};
use authz_sidecar::config::Config;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, Call};
use crate::support::keys::{AGENT, Keys, Route};
use crate::support::provider::Provider;

/// What an order carries.
pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

/// How long a world may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a test may set. Everything else is as in `config/agentex.yaml`, or short.
pub(crate) struct Settings {
    /// L.
    pub(crate) late_effect: &'static str,
    /// How long the service may take for an intercepted request.
    pub(crate) exchange: &'static str,
    /// How long a probe, look-up, confirm or undo may take.
    pub(crate) call: &'static str,
    /// How long a registration may take, retries included.
    pub(crate) register: &'static str,
    /// How long one attempt of that, or of a deregistration, may take.
    pub(crate) attempt: &'static str,
    /// How long the 503 waits for the undo.
    pub(crate) reply: &'static str,
    /// How long the answer of a delete waits for its deregistration.
    pub(crate) inline_deregister: &'static str,
    /// The largest answer that is read for an id.
    pub(crate) answer: &'static str,
    /// Whether all creates come through the sidecar.
    pub(crate) exclusive_writer: bool,
    /// Whether the rules only observe.
    pub(crate) observe: bool,
    /// How far reads may lag.
    pub(crate) read_lag: &'static str,
    /// When an answered request has its effect.
    pub(crate) commits: &'static str,
    /// What proves that a row is new, and which headers are replay keys.
    pub(crate) new: &'static str,
    pub(crate) replay_headers: &'static str,
    /// What the back end's `register` does to what has an owner.
    pub(crate) owned: &'static str,
    /// Rules that are added.
    pub(crate) more_rules: &'static str,
    /// Whether the rule for webhooks only observes.
    pub(crate) observe_webhooks: bool,
    /// How many operations may be under way or unfinished.
    pub(crate) open_operations: usize,
    /// The journal's size limit.
    pub(crate) journal: &'static str,
    /// When the circuits to the back end open, and how often they are probed.
    pub(crate) breaker: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            late_effect: "1500ms",
            exchange: "1s",
            call: "700ms",
            register: "800ms",
            attempt: "400ms",
            reply: "5s",
            inline_deregister: "250ms",
            answer: "64KiB",
            exclusive_writer: true,
            observe: false,
            observe_webhooks: false,
            read_lag: "0s",
            commits: "late",
            new: "always",
            replay_headers: "[]",
            owned: "replaces_owner",
            more_rules: "",
            open_operations: 1000,
            journal: "1GiB",
            breaker: "{}",
        }
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) keys: Keys,
    pub(crate) provider: Provider,
    settings: Settings,
    directory: tempfile::TempDir,
    sidecar: Option<Sidecar>,
}

impl World {
    /// A world in which everything works.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world in which something is set differently.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let mut world = Self { settings, ..Self::without_sidecar().await };
        world.start().await;
        world
    }

    /// A world whose sidecar is for the test to start.
    pub(crate) async fn without_sidecar() -> Self {
        let (keys, provider) = (Keys::start().await, Provider::start());
        let (settings, directory) = (Settings::default(), tempfile::tempdir().unwrap());
        Self { keys, provider, settings, directory, sidecar: None }
    }

    async fn start(&mut self) {
        let yaml = self.yaml();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Sidecar::start(yaml.clone()).await {
                Ok(sidecar) => break self.sidecar = Some(sidecar),
                // The process before this one may still be letting go of the journal.
                Err(error) if error.contains("has it open") && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The sidecar dies: whatever it does stops where it is.
    pub(crate) fn crash(&mut self) {
        self.sidecar.take().expect("it runs").die();
    }

    /// The sidecar dies and is started again on the same journal.
    pub(crate) async fn restart(&mut self) {
        self.crash();
        self.start().await;
    }

    /// The sidecar dies and is started again with other settings.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Settings)) {
        self.crash();
        change(&mut self.settings);
        self.start().await;
    }

    /// The sidecar is started again after a [`crash`](Self::crash).
    pub(crate) async fn revive(&mut self) {
        self.start().await;
    }

    /// The configuration that the sidecar runs with.
    pub(crate) fn yaml(&self) -> String {
        let shipped = include_str!("../../config/agentex.yaml");
        let (_, rules) = shipped.split_once("\nrules:\n").expect("it has rules");
        let rules = if self.settings.observe {
            rules.replace("\n    match:", "\n    mode: observe\n    match:")
        } else if self.settings.observe_webhooks {
            let of_webhooks = "\n    match: POST /agent_api_keys/webhook-trigger";
            rules.replace(of_webhooks, &format!("\n    mode: observe{of_webhooks}"))
        } else {
            rules.to_owned()
        };
        let new = match self.settings.new {
            "" => String::new(),
            new => format!("new: {new}"),
        };
        let rules = rules.replace("new: always", &new);
        let commits = format!("\n    commits: {}\n    match:", self.settings.commits);
        let rules = rules.replace("\n    match:", &commits);
        let none = "replay_headers: []";
        let rules =
            rules.replace(none, &format!("replay_headers: {}", self.settings.replay_headers));
        let (keys, provider) = (self.keys.url(), self.provider.url());
        let (journal, settings) = (self.journal().display().to_string(), &self.settings);
        let Settings { late_effect, exchange, register, attempt, reply, answer, .. } = settings;
        let Settings { call, exclusive_writer, open_operations, breaker, owned, .. } = settings;
        let (size, inline, lag) = (settings.journal, settings.inline_deregister, settings.read_lag);
        let token = self.directory().join("token").display().to_string();
        std::fs::write(&token, TOKEN).unwrap();
        let mut yaml = String::new();
        write!(
            yaml,
            "listen: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: {keys}\n\
             forwarded: {{ trust: [] }}\n\
             credentials: {{ admin: {{ token_file: {token} }} }}\n\
             principal:\n  authn: {{ url: {provider}/v1/authn, timeout: 700ms }}\n  \
             bypass: [x-agent-identity, x-agent-api-key]\n  \
             store: [principal_type, user_id, service_account_id, account_id]\n  \
             deregister_as: {{ principal_type: service, service_account_id: authz-sidecar }}\n\
             authz:\n  agentex: {{ url: {provider}, timeout: {attempt} }}\n  deadline: {register}\n  \
             register: {owned}\n  breaker: {breaker}\n\
             journal:\n  url: sqlite:{journal}\n  exclusive_writer: {exclusive_writer}\n  \
             max_bytes: {size}\n\
             bounds:\n  late_effect: {late_effect}\n  exchange: {exchange}\n  call: {call}\n  \
             reply: {reply}\n  open_operations: {open_operations}\n  answer: {answer}\n  retry: 200ms\n  \
             inline_deregister: {inline}\n  read_lag: {lag}\n\
             limits: {{ workers: 1 }}\ndrain: 10ms\nrules:\n{rules}{}",
            settings.more_rules
        )
        .unwrap();
        yaml
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.path().join("journal.db")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.sidecar.as_ref().expect("it runs").addresses
    }

    pub(crate) fn call(&self, method: &'static str, target: &str) -> Call {
        Call::new(self.addresses().listen, method, target)
    }

    pub(crate) fn get(&self, target: &str) -> Call {
        self.call("GET", target)
    }

    /// Asks for a key of [`AGENT`].
    pub(crate) fn create(&self, name: &str) -> Call {
        self.call("POST", "/agent_api_keys").json(&json!({"agent_id": AGENT, "name": name}))
    }

    /// Asks for the same, the agent by its name, through the webhook route.
    pub(crate) fn webhook(&self, name: &str) -> Call {
        let agent = format!("name-of-{AGENT}");
        let body = json!({"agent_name": agent, "source": "github", "name": name,
            "forward_path": "/f", "secret": "s"});
        self.call("POST", "/agent_api_keys/webhook-trigger").json(&body)
    }

    pub(crate) fn delete(&self, id: &str) -> Call {
        self.call("DELETE", &format!("/agent_api_keys/{id}"))
    }

    pub(crate) fn delete_by_name(&self, name: &str) -> Call {
        let target = format!("/agent_api_keys/name/{name}?agent_id={AGENT}&api_key_type=external");
        self.call("DELETE", &target)
    }

    /// Makes a key, registered, and gives its id.
    pub(crate) async fn made(&self, name: &str) -> String {
        self.create(name).send().await.expect(200).id()
    }

    /// Makes a key, registered, that no create of this sidecar's memory is near: a row and an
    /// edge that were there before.
    pub(crate) fn given(&self, name: &str) -> String {
        let id = self.keys.insert(AGENT, name, "external");
        self.provider.seed(&format!("api_key:{id}"), "{}", Some(&format!("agent:{AGENT}")));
        id
    }

    pub(crate) fn is_registered(&self, id: &str) -> bool {
        self.provider.registered().contains(&format!("api_key:{id}"))
    }

    /// Unfinished operations as operators see them.
    pub(crate) async fn operations(&self) -> Vec<Value> {
        let answer = Call::new(self.addresses().admin, "GET", "/operations").send().await;
        let body = dechunked(answer.expect(200)).json();
        let list = body.get("operations").unwrap_or(&body);
        list.as_array().expect("a list of operations").clone()
    }

    /// Waits until no operation is unfinished.
    pub(crate) async fn quiescent(&self) {
        self.operations_until("nothing is unfinished", <[Value]>::is_empty).await;
    }

    /// Waits until the service has been asked so often.
    pub(crate) async fn has_asked(&self, route: Route, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.keys.calls(route) < times {
            assert!(Instant::now() < deadline, "{route:?}: asked {}", self.keys.calls(route));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until an operation stands in this phase, and gives it.
    pub(crate) async fn operation_in(&self, phase: &str) -> Value {
        let in_phase = |operations: &[Value]| operations.iter().any(|o| o["phase"] == phase);
        let operations = self.operations_until(phase, in_phase).await;
        operations.into_iter().find(|o| o["phase"] == phase).unwrap()
    }

    /// Waits until the unfinished operations are as wanted.
    pub(crate) async fn operations_until(
        &self,
        what: &str,
        is: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let operations = self.operations().await;
            if is(&operations) {
                return operations;
            }
            let late = Instant::now() > deadline;
            assert!(!late, "waited in vain until {what}; unfinished: {operations:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The metrics.
    pub(crate) async fn metrics(&self) -> String {
        String::from_utf8(self.health("/metrics").await.expect(200).body).unwrap()
    }

    /// The value of a metric; 0 where it was never counted.
    pub(crate) async fn counted(&self, series: &str) -> u64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// A page of the port for probes.
    pub(crate) async fn health(&self, page: &str) -> Answer {
        dechunked(Call::new(self.addresses().health, "GET", page).send().await)
    }

    /// How often an exception to P1 was counted for the rule `create-key`.
    pub(crate) async fn exceptions(&self, exception: &str) -> u64 {
        let labels = format!("rule=\"create-key\",exception=\"{exception}\"");
        self.counted(&format!("authz_sidecar_exceptions_total{{{labels}}}")).await
    }

    /// Asserts that rows and registrations are the same set, each with its parent edge.
    #[track_caller]
    pub(crate) fn same_set(&self) {
        let rows: BTreeSet<_> = self.keys.rows().iter().map(|id| format!("api_key:{id}")).collect();
        assert_eq!(self.provider.registered(), rows, "registrations (left), rows (right)");
        for id in self.keys.rows() {
            let agent = self.keys.row(&id).unwrap().agent;
            let parent = self.provider.parent_of(&format!("api_key:{id}"));
            assert_eq!(parent, Some(format!("agent:{agent}")), "the parent edge of {id}");
        }
    }

    /// Waits for rest and asserts that there is nothing: no row, no registration.
    pub(crate) async fn comes_to_nothing(&self) {
        self.quiescent().await;
        assert_eq!(self.keys.rows(), BTreeSet::new(), "orphan rows");
        assert_eq!(self.provider.registered(), BTreeSet::new(), "orphan registrations");
    }

    /// Calls of the provider's endpoint so far.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.provider.calls(path).len()
    }
}

fn dechunked(mut answer: Answer) -> Answer {
    if answer.header("transfer-encoding") != Some("chunked") {
        return answer;
    }
    let mut body = Vec::new();
    let mut rest = &answer.body[..];
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    answer.body = body;
    answer
}

/// A running sidecar, on a runtime of its own.
struct Sidecar {
    addresses: Addresses,
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
}

impl Sidecar {
    async fn start(yaml: String) -> Result<Self, String> {
        let started = tokio::task::spawn_blocking(move || {
            let config =
                Config::parse("test.yaml", &yaml, []).map_err(|e| format!("{e}\n{yaml}"))?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let app = match runtime.block_on(App::start(config)) {
                Ok(app) => app,
                Err(error) => return Err(error.to_string()),
            };
            let (addresses, shutdown) = (app.addresses(), CancellationToken::new());
            runtime.spawn(app.run(shutdown.clone()));
            Ok(Self { addresses, runtime: Some(runtime), shutdown })
        });
        started.await.unwrap()
    }

    fn die(mut self) {
        self.stop();
    }

    /// First the sagas' runtime, so that nothing is brought to an end; then the proxy's threads.
    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.shutdown.cancel();
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.stop();
    }
}
