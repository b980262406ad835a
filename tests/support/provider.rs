//! A provider of the contract auth-provider.md for tests: authn and authz over a real socket,
//! with a graph that can be looked at, a log of every call, and faults on demand.
//!
//! ```ignore
//! let provider = Provider::start();
//! provider.principal("Bearer alice", r#"{"user_id":"alice"}"#);
//! provider.register().once().answers(503);           // then as usual again
//! let gate = provider.register().once().lands_after(); // takes effect after gate.release()
//! provider.down();                                    // connection refused, same port
//! provider.wait_until(|p| p.registered().is_empty()).await;
//! ```
//!
//! It runs on a thread and runtime of its own, so tests of any kind can use it, and it stops
//! when it is dropped. Credentials: by default `x-user-id: u` is user `u` of `acct-1`, and a
//! request without a known credential gets 401. Bodies are checked strictly: 415, 422.
#![allow(dead_code, unused_imports, reason = "each test file uses its part of the double")]
#![allow(unreachable_pub, missing_docs, reason = "a module of test crates has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::must_use_candidate,
    reason = "a double fails loudly"
)]

#[path = "provider/fault.rs"]
mod fault;
#[path = "provider/graph.rs"]
mod graph;
#[path = "provider/server.rs"]
mod server;
#[path = "provider/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::fault::{Endpoint, Gate};
use self::graph::Graph;
use self::server::{Command, Commands};

/// `/v1/authn`.
pub const AUTHN: &str = "/v1/authn";
/// `/v1/authz/register`.
pub const REGISTER: &str = "/v1/authz/register";
/// `/v1/authz/deregister`.
pub const DEREGISTER: &str = "/v1/authz/deregister";
/// `/v1/authz/check`.
pub const CHECK: &str = "/v1/authz/check";
/// `/v1/authz/search`.
pub const SEARCH: &str = "/v1/authz/search";

/// How long anything here is waited for before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The running double.
pub struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
    commands: Commands,
    thread: Option<JoinHandle<()>>,
}

/// One call, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The request target.
    pub path: String,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, verbatim.
    pub body: String,
    /// When it was read.
    pub at: Instant,
}

impl Call {
    /// The value of the first header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the server's thread and the test share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    graph: Graph,
    calls: Vec<Call>,
    faults: fault::Faults,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it looked did not change anything.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Provider {
    /// Starts one on a free loopback port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let (address, commands, thread) = server::start(Arc::clone(&shared));
        Self { address, shared, commands, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of authn.
    pub fn authn_url(&self) -> String {
        format!("{}{AUTHN}", self.url())
    }

    /// Stops listening and closes every connection: connections are refused from when this
    /// returns. Held calls are lost; those that [land later](Endpoint::lands_after) do land.
    pub fn down(&self) {
        self.command(Command::Down);
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        self.command(Command::Up);
    }

    fn command(&self, command: Command) {
        let (done, wait) = std::sync::mpsc::channel();
        self.commands.send((command, done)).expect("the provider's thread is gone");
        wait.recv_timeout(PATIENCE).expect("the provider's thread is stuck");
    }

    /// Makes authn answer `json` to every request with a header of this exact value.
    pub fn principal(&self, credential: &str, json: &str) -> &Self {
        self.shared.state().graph.principals.push((credential.into(), json.into()));
        self
    }

    /// Puts a resource into the graph without a call, as if somebody else had.
    pub fn seed(&self, resource: &str, owner: &str, parent: Option<&str>) -> &Self {
        self.shared.state().graph.put(resource.into(), owner.into(), parent.map(Into::into));
        self
    }

    /// Takes a resource out of the graph without a call, as if somebody else had.
    pub fn forget(&self, resource: &str) {
        self.shared.state().graph.forget(resource);
    }

    /// Faults of authn.
    pub fn authn(&self) -> Endpoint<'_> {
        self.on(AUTHN)
    }

    /// Faults of register.
    pub fn register(&self) -> Endpoint<'_> {
        self.on(REGISTER)
    }

    /// Faults of deregister.
    pub fn deregister(&self) -> Endpoint<'_> {
        self.on(DEREGISTER)
    }

    /// Faults of any endpoint.
    pub fn on(&self, path: &'static str) -> Endpoint<'_> {
        Endpoint::new(&self.shared, path)
    }

    /// All registered resources, as `type:id`.
    pub fn registered(&self) -> BTreeSet<String> {
        self.shared.state().graph.resources()
    }

    /// The parent edge of `type:id`, as `type:id`.
    pub fn parent_of(&self, resource: &str) -> Option<String> {
        self.shared.state().graph.parent_of(resource)
    }

    /// All registered resources with this parent edge; both as `type:id`.
    pub fn children_of(&self, parent: &str) -> BTreeSet<String> {
        self.shared.state().graph.children_of(parent)
    }

    /// The principal that registered `type:id`, byte for byte as it was sent.
    pub fn owner_of(&self, resource: &str) -> Option<String> {
        self.shared.state().graph.owner_of(resource)
    }

    /// The calls of `path` so far, oldest first; also those that a fault was answered to.
    pub fn calls(&self, path: &str) -> Vec<Call> {
        let state = self.shared.state();
        state.calls.iter().filter(|call| call.path == path).cloned().collect()
    }

    /// All calls so far, oldest first.
    pub fn all_calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.shared.state().calls.clear();
    }

    /// Waits until `condition` holds; fails the test after [`PATIENCE`].
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            self.assert_before(deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// [`wait_until`](Self::wait_until) for tests without a runtime.
    pub fn wait_until_blocking(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            self.assert_before(deadline);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn assert_before(&self, deadline: Instant) {
        let paths = || self.all_calls().into_iter().map(|call| call.path).collect::<Vec<_>>();
        assert!(
            Instant::now() < deadline,
            "waited in vain; registered: {:?}; calls: {:?}",
            self.registered(),
            paths()
        );
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let (done, _) = std::sync::mpsc::channel();
        // The thread may have ended by a panic, which the test has seen.
        let _ = self.commands.send((Command::Stop, done));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
