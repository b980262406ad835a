//! The two ways to one service: straight, and through a sidecar.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::postgres::python;
use crate::support::repository;
use crate::support::sidecar::{Config, Sidecar};

/// Nobody listens there: a request that no rule matches needs no back end.
const NOBODY: &str = "http://127.0.0.1:1";

/// Longer than any client takes, also where many tests run at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many clients ran: none may meet what another left at the service.
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// What each hop has of its own (RFC 9110 §7.6.1), and the clock.
const OF_A_HOP: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "date"];

/// A service, and a sidecar in front of it.
pub(crate) struct Ways {
    service: String,
    sidecar: Sidecar,
    _process: Option<Child>,
}

impl Ways {
    /// To tests/transparency/service.py on `server`, as that file names them.
    pub(crate) async fn to(server: &str) -> Self {
        let mut process = Command::new(python())
            .arg(repository("tests/transparency/service.py"))
            .arg(server)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let read = stdout.read_line(&mut line);
        tokio::time::timeout(PATIENCE, read).await.expect("the service starts").unwrap();
        let first: Value = serde_json::from_str(&line).expect("it tells where it listens");
        let address = first["listening"].as_str().unwrap().to_owned();
        Self { _process: Some(process), ..Self::to_address(address).await }
    }

    /// To a service of the test's own.
    pub(crate) async fn to_address(service: String) -> Self {
        let config = Config::new(&format!("http://{service}"), NOBODY);
        let sidecar = Sidecar::start(config).await;
        Self { service, sidecar, _process: None }
    }

    /// The addresses to compare, each with its name: that of the service, that of the sidecar.
    pub(crate) fn both(&self) -> [(&'static str, &str); 2] {
        [("straight", &self.service), ("through", self.sidecar.address())]
    }

    /// What a client printed, a JSON document a line, for each way.
    pub(crate) async fn printed(&self, client: Client, what: &[&str]) -> [Vec<Value>; 2] {
        let [straight, through] = self.both();
        [run(client, straight, what).await, run(client, through, what).await]
    }
}

/// A client in a process of its own.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    /// A Python script of tests/transparency, and its first argument.
    Python(&'static str, &'static str),
    /// Node's fetch.
    Fetch,
}

/// Runs it, `what` behind the address, and then a name that nobody has had before.
async fn run(client: Client, way: (&str, &str), what: &[&str]) -> Vec<Value> {
    let mut command = match client {
        Client::Python(script, version) => {
            let mut command = Command::new(python());
            command.arg(repository("tests/transparency").join(script)).arg(version);
            command
        }
        Client::Fetch => {
            let mut command = Command::new("node");
            command.arg(repository("tests/transparency/by_fetch.mjs"));
            command
        }
    };
    let (name, address) = way;
    let child = command
        .arg(address)
        .args(what)
        .arg(format!("{name}-{}", RUNS.fetch_add(1, Relaxed)))
        // Whoever runs the tests behind a proxy does not mean these.
        .env_remove("http_proxy")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = tokio::time::timeout(PATIENCE, child).await.expect("the client ends").unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{name}: {errors}");
    let told = String::from_utf8(ran.stdout).unwrap();
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that two runs saw the same, exchange by exchange, but for headers of these names.
pub(crate) fn assert_same(printed: [Vec<Value>; 2], at_least: usize, but: &[&str]) {
    let [straight, through] = printed;
    assert!(straight.len() >= at_least, "only {} exchanges", straight.len());
    assert_eq!(straight.len(), through.len());
    for (straight, through) in straight.into_iter().zip(through) {
        let (straight, through) = (less_hops(straight, but), less_hops(through, but));
        for (what, saw) in straight.as_object().unwrap() {
            assert_eq!(&through[what], saw, "{what} of {}", straight["request"]);
        }
    }
}

/// An exchange less what may differ: headers of a hop, the order of those that differ in name, the time.
fn less_hops(mut exchange: Value, but: &[&str]) -> Value {
    if let Some(headers) = exchange["headers"].as_array_mut() {
        headers.retain(|header| {
            let name = header[0].as_str().unwrap();
            !OF_A_HOP.contains(&name) && !but.contains(&name)
        });
        headers.sort_by_key(|header| header[0].to_string());
    }
    exchange
}
