//! The two ways to one service: straight, and through a sidecar.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::support::postgres::python;
use crate::support::repository;
use crate::support::sidecar::{Config, Sidecar};

/// Nobody listens there: a request that no rule matches needs no back end.
const NOBODY: &str = "http://127.0.0.1:1";

/// Longer than any client takes, also where many tests run at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// What each hop has of its own (RFC 9110 §7.6.1), and the clock.
pub(crate) const OF_A_HOP: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "date"];

/// A service, and a sidecar in front of it.
pub(crate) struct Ways {
    service: String,
    sidecar: Sidecar,
}

impl Ways {
    /// To tests/transparency/service.py on `server`, as that file names them. Tests share it.
    pub(crate) async fn to(server: &'static str) -> Self {
        let address = tokio::task::spawn_blocking(move || service(server)).await.unwrap();
        Self::to_address(address).await
    }

    /// To a service of the test's own.
    pub(crate) async fn to_address(service: String) -> Self {
        let config = Config::new(&format!("http://{service}"), NOBODY);
        Self { service, sidecar: Sidecar::start(config).await }
    }

    /// The addresses to compare, each with its name: that of the service, that of the sidecar.
    pub(crate) fn both(&self) -> [(&'static str, &str); 2] {
        [("straight", &self.service), ("through", self.sidecar.address())]
    }

    /// The sidecar's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.sidecar.pid()
    }

    /// What a client printed, a JSON document a line, for each way.
    pub(crate) async fn printed(&self, client: Client) -> [Vec<Value>; 2] {
        let [straight, through] = self.both();
        [run(client, straight).await, run(client, through).await]
    }
}

/// The address of the one service of that kind, which ends with this process.
fn service(server: &'static str) -> String {
    static STARTED: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
    let mut started = STARTED.lock().unwrap();
    let start = || {
        let (tell, told) = std::sync::mpsc::channel();
        // It ends with the thread that started it.
        std::thread::spawn(move || {
            let mut command = std::process::Command::new(python());
            command.arg(repository("tests/transparency/service.py")).arg(server);
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut line = String::new();
            std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            tell.send(line).unwrap();
            child.wait()
        });
        let line = told.recv_timeout(PATIENCE).expect("the service starts");
        let first: Value = serde_json::from_str(&line).expect("it tells where it listens");
        first["listening"].as_str().unwrap().to_owned()
    };
    started.entry(server).or_insert_with(start).clone()
}

/// A name that nobody has had before: none may meet what another left at the service.
pub(crate) fn fresh(name: &str) -> String {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    format!("{name}-{}", NAMES.fetch_add(1, Relaxed))
}

/// A client in a process of its own.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    /// A Python script of tests/transparency, and its first argument.
    Python(&'static str, &'static str),
    /// Node's fetch.
    Fetch,
}

/// Runs it, with the address and a fresh name.
async fn run(client: Client, way: (&str, &str)) -> Vec<Value> {
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
        .arg(fresh(name))
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
