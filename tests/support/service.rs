//! The keys service of `tests/service`, and what tests do to it behind the sidecar's back.

mod fault;
pub mod late;
pub mod quirks;
pub mod removed;

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use uuid::Uuid;

pub use self::fault::Fault;
use super::client::{Client, Error};
use super::postgres::{Postgres, python};
use super::{eventually, repository};

/// How a service is started; [`Options::default`] is uvicorn's default on a TCP port.
#[derive(Clone, Debug, Default)]
pub struct Options {
    h11: bool,
    unix: bool,
    gzip: bool,
    settings: Map<String, Value>,
}

impl Options {
    /// Parses HTTP by h11 instead of httptools.
    pub fn h11(mut self) -> Self {
        self.h11 = true;
        self
    }

    /// Listens on a unix socket.
    pub fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Puts a gzip middleware in front.
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Sets one of `tests/service/settings.py`: `created_at`, `skew`, `commit_delay`, `require`,
    /// `null_result`.
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }
}

/// A running keys service over a database of its own. Ends with the value.
pub struct Service {
    options: Options,
    database: String,
    directory: TempDir,
    address: String,
    control: Client,
    process: Process,
}

struct Process {
    child: Child,
    // The service ends when this closes: also when this process is killed.
    _alive: ChildStdin,
}

/// A row of `agent_api_keys`.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Row {
    /// The key's id.
    pub id: String,
    /// Its agent.
    pub agent_id: String,
    /// Its name, which isn't unique.
    pub name: String,
    /// `external`, `internal`, `github` or `slack`.
    pub api_key_type: String,
    /// When it was inserted, with a zone.
    pub created_at: String,
}

/// A row, and the secret that the request for it brought, where that is one of those asked for.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
pub struct Made {
    /// The key's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The secret.
    pub secret: Option<String>,
    /// For how many seconds it has been committed, where a request made it.
    pub age: Option<f64>,
}

/// A request that reached the service.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
pub struct Seen {
    /// Unix time of its arrival, in seconds.
    pub at: f64,
    /// The method.
    pub method: String,
    /// The path, decoded once.
    pub path: String,
    /// The path as it was sent.
    pub raw_path: String,
    /// The query, encoded.
    pub query: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The handler that ran (`create_key`, `delete_key_by_name`, …), if one did.
    pub handler: Option<String>,
    /// The status that was answered, if one was.
    pub status: Option<u16>,
    /// Whether the service has finished with it, the commit included.
    pub done: bool,
}

impl Seen {
    /// The value of a header, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Service {
    /// Starts one and waits until it answers.
    pub async fn start(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = format!("keys_{}", Uuid::now_v7().simple());
        let socket = directory.path().join("http.sock").display().to_string();
        let listen = if options.unix { socket } else { "127.0.0.1:0".into() };
        let (process, address, control) = spawn(&options, &database, &listen).await;
        let control = Client::new(control);
        Self { options, database, directory, address, control, process }
    }

    /// One with an agent, `a1`: what most tests need.
    pub async fn with_agent(options: Options) -> Self {
        let service = Self::start(options).await;
        service.agent("a1").await;
        service
    }

    /// The name of its database, on [`Postgres::shared`].
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Where it listens: `HOST:PORT`, or the path of its socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What to write as `upstream:`.
    pub fn upstream(&self) -> String {
        let scheme = if self.options.unix { "unix:" } else { "http://" };
        format!("{scheme}{}", self.address)
    }

    /// A client of the service itself, past any sidecar.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// Kills it without warning.
    pub async fn kill(&mut self) {
        self.process.child.kill().await.unwrap();
    }

    /// Kills it where it runs, and starts it anew at the same address over the same rows. Faults
    /// and requests seen are forgotten, settings are those of the start.
    pub async fn restart(&mut self) {
        self.kill().await;
        let (process, _, control) = spawn(&self.options, &self.database, &self.address).await;
        self.process = process;
        self.control = Client::new(control);
    }

    /// All rows of `agent_api_keys` that are committed, oldest first.
    pub async fn rows(&self) -> Vec<Row> {
        serde_json::from_value(self.ask("GET", "/rows", None).await).unwrap()
    }

    /// The committed rows of an agent, each with that of `secrets` (its `api_key`) that it was made
    /// with: so a row is known to be that of one request.
    pub async fn made(&self, agent_id: &str, secrets: &[String]) -> Vec<Made> {
        let asked = json!({"agent_id": agent_id, "secrets": secrets});
        serde_json::from_value(self.ask("POST", "/made", Some(asked)).await).unwrap()
    }

    /// Their ids, sorted.
    pub async fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.rows().await.into_iter().map(|row| row.id).collect();
        ids.sort();
        ids
    }

    /// The ids of all tasks.
    pub async fn tasks(&self) -> Vec<String> {
        let tasks = self.ask("GET", "/tasks", None).await;
        tasks.as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Makes an agent of that name; its id is `agent-NAME`, which is returned.
    pub async fn agent(&self, name: &str) -> String {
        let id = format!("agent-{name}");
        self.ask("POST", "/agents", Some(json!({"name": name, "id": id}))).await;
        id
    }

    /// Inserts an external key past the service's handlers; gives its id.
    pub async fn key(&self, agent_id: &str, name: &str) -> String {
        self.key_of(agent_id, name, "external", 0.0).await.0
    }

    /// As [`Service::key`], of that type and `skew` seconds in the future; gives id and secret.
    pub async fn key_of(
        &self,
        agent_id: &str,
        name: &str,
        kind: &str,
        skew: f64,
    ) -> (String, String) {
        let spec = json!({"agent_id": agent_id, "name": name, "kind": kind, "skew": skew});
        let made = self.ask("POST", "/keys", Some(spec)).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("api_key"))
    }

    /// Removes a row past the service's handlers.
    pub async fn remove(&self, id: &str) {
        self.ask("DELETE", &format!("/keys/{id}"), None).await;
    }

    /// Changes a setting (see [`Options::setting`]) while it runs.
    pub async fn set(&self, name: &str, value: impl Into<Value>) {
        let mut settings = Map::new();
        settings.insert(name.to_owned(), value.into());
        self.ask("POST", "/settings", Some(Value::Object(settings))).await;
    }

    /// A fault in a route, to be told what to do: `service.fault("POST /agent_api_keys")`. The
    /// route is spelt as `FastAPI` knows it, such as `DELETE /agent_api_keys/{id}`.
    pub fn fault(&self, route: &str) -> Fault<'_> {
        Fault::new(self, route)
    }

    /// Forgets all faults and lets what hangs or stalls go on.
    pub async fn reset(&self) {
        self.ask("DELETE", "/faults", None).await;
    }

    /// Lets what hangs or stalls now go on; faults stay.
    pub async fn release(&self) {
        self.ask("POST", "/release", None).await;
    }

    /// All requests since the start, or the last [`Service::forget`].
    pub async fn requests(&self) -> Vec<Seen> {
        serde_json::from_value(self.ask("GET", "/requests", None).await).unwrap()
    }

    /// The requests that ran `handler`.
    pub async fn requests_to(&self, handler: &str) -> Vec<Seen> {
        let mut seen = self.requests().await;
        seen.retain(|request| request.handler.as_deref() == Some(handler));
        seen
    }

    /// Waits until the service is through with everything that reached it, commits included.
    pub async fn idle(&self) {
        eventually("the service is idle", || async {
            self.requests().await.iter().all(|request| request.done).then_some(())
        })
        .await;
    }

    /// Forgets the requests.
    pub async fn forget(&self) {
        self.ask("DELETE", "/requests", None).await;
    }

    async fn ask(&self, method: &str, target: &str, body: Option<Value>) -> Value {
        let call = self.control.request(method, target);
        let call = if let Some(body) = &body { call.json(body) } else { call };
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
        answer.json()
    }

    async fn fault_hits(&self, id: u64) -> Result<u64, Error> {
        let faults = self.ask("GET", "/faults", None).await;
        let fault = faults.as_array().unwrap().iter().find(|fault| fault["id"] == id);
        fault.and_then(|fault| fault["hits"].as_u64()).ok_or_else(|| "no such fault".into())
    }
}

async fn spawn(options: &Options, database: &str, listen: &str) -> (Process, String, String) {
    let host = tokio::task::spawn_blocking(|| Postgres::shared().host()).await.unwrap();
    let mut command = Command::new(python());
    command
        .arg(repository("tests/service/main.py"))
        .arg("--database-host")
        .arg::<PathBuf>(host)
        .args(["--database", database])
        .args(["--http", if options.h11 { "h11" } else { "httptools" }])
        .args(["--settings", &Value::Object(options.settings.clone()).to_string()]);
    match listen.rsplit_once(':') {
        Some((host, port)) => command.args(["--host", host, "--port", port]),
        None => command.args(["--uds", listen]),
    };
    if options.gzip {
        command.arg("--gzip");
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let alive = child.stdin.take().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    let mut stdout = BufReader::new(stdout);
    let read = stdout.read_line(&mut line);
    tokio::time::timeout(super::PATIENCE * 2, read).await.expect("the service starts").unwrap();
    let bound: Value = serde_json::from_str(&line).expect("the service tells where it listens");
    let text = |name: &str| bound[name].as_str().unwrap().to_owned();
    (Process { child, _alive: alive }, text("listening"), text("control"))
}
