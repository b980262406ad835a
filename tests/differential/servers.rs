//! The servers: real ones, which tell on their standard output what reached their application.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::support::client::Client;
use crate::support::postgres::python;
use crate::support::{eventually, repository};

/// All of them.
pub(crate) const ALL: [&str; 8] = [
    "uvicorn-httptools",
    "uvicorn-h11",
    "hypercorn",
    // Decodes the path once, as Starlette does.
    "node",
    // Asks WHATWG's URL for the path.
    "node-url",
    // Has the habits of many routers at once, for the strict dialect.
    LOOSE,
    // Passes the target on as the client spelt it, to uvicorn.
    "nginx",
    // Passes a normalised target on: decoded, without dot segments and repeated slashes.
    "nginx-normalised",
];

/// The one that the sidecar needs its strict dialect before.
pub(crate) const LOOSE: &str = "node-loose";

/// A request that reached a server's application.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Arrival {
    /// `http`, or what else the server made of it.
    pub(crate) kind: String,
    pub(crate) method: String,
    /// As the application saw it.
    pub(crate) path: String,
    /// Its `x-case`.
    pub(crate) case: String,
    /// Its `Accept-Encoding`.
    pub(crate) encodings: String,
    /// Its credentials, as [`judge::caller`](super::judge::caller) writes them.
    pub(crate) caller: String,
    /// The handler that ran, if one did.
    pub(crate) handler: Option<String>,
    /// The last part of the path, where the handler takes it.
    #[serde(default)]
    pub(crate) argument: String,
    /// The agent that the handler made a key for, where the body names it.
    #[serde(default)]
    pub(crate) parent: String,
    /// What the handler read.
    #[serde(default)]
    pub(crate) body: String,
}

/// A running server. Ends with the value.
pub(crate) struct Server {
    /// What to write as `upstream:`.
    pub(crate) upstream: String,
    application: Client,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    _children: Vec<Child>,
    _directory: TempDir,
}

impl Server {
    /// Starts the one of that name, and waits until it answers.
    pub(crate) async fn start(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = match name {
            "node" | "node-url" | LOOSE => {
                let mut command = Command::new("node");
                let kind = name.strip_prefix("node-").unwrap_or("once");
                command.arg(repository("tests/differential/server.mjs")).arg(kind);
                command
            }
            _ => {
                let mut command = Command::new(python());
                command.arg(repository("tests/differential/server.py"));
                match name {
                    "hypercorn" => command.arg("hypercorn"),
                    "uvicorn-h11" => command.args(["uvicorn", "h11"]),
                    _ => command.args(["uvicorn", "httptools"]),
                };
                command
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("scripts/differential.sh installs it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap().expect("it tells where it listens");
        let first: serde_json::Value = serde_json::from_str(&first).unwrap();
        let address = first["listening"].as_str().unwrap().to_owned();
        let arrivals = Arc::default();
        tokio::spawn(follow(lines, Arc::clone(&arrivals)));
        let mut children = vec![child];
        let mut upstream = format!("http://{address}");
        if let Some(kind) = name.strip_prefix("nginx") {
            children.push(nginx(&directory, &address, !kind.is_empty()).await);
            upstream = format!("unix:{}/nginx.sock", directory.path().display());
        }
        let application = Client::new(&address);
        let server =
            Self { upstream, application, arrivals, _children: children, _directory: directory };
        server.arrivals().await;
        server
    }

    /// What has arrived until now; forgets it.
    pub(crate) async fn arrivals(&self) -> Vec<Arrival> {
        eventually("it answers", || async {
            let call = self.application.get("/flush").header("x-case", "flush");
            call.try_send().await.ok()
        })
        .await;
        // Lines come in the order in which they were printed.
        eventually("all is told", || async {
            let arrivals = self.arrivals.lock().unwrap();
            arrivals.iter().any(|arrival| arrival.case == "flush").then_some(())
        })
        .await;
        let mut arrivals = std::mem::take(&mut *self.arrivals.lock().unwrap());
        arrivals.retain(|arrival| arrival.case != "flush");
        arrivals
    }
}

async fn follow(mut lines: Lines<BufReader<ChildStdout>>, arrivals: Arc<Mutex<Vec<Arrival>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let arrival = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        arrivals.lock().unwrap().push(arrival);
    }
}

async fn nginx(directory: &TempDir, service: &str, normalises: bool) -> Child {
    let text = std::fs::read_to_string(repository("tests/differential/nginx.conf")).unwrap();
    let text = text
        .replace("@DIR@", &directory.path().display().to_string())
        .replace("@SERVICE@", service)
        .replace("@PATH@", if normalises { "/" } else { "" });
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    // Ends with this process, however that ends.
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "nginx", "-e", "/dev/null", "-c"])
        .arg(file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("setpriv starts nginx");
    let socket = directory.path().join("nginx.sock");
    eventually("nginx listens", || async { UnixStream::connect(&socket).await.ok() }).await;
    child
}
