//! A double of the keys service with its quirks (contract keys-service.md): names are not unique,
//! deleting nothing is 200, a delete by name hits one of several rows, and a webhook create does
//! not tell its agent. It can be told to do almost anything wrong; see [`Fault`].

#![allow(dead_code, unused_imports, reason = "each test file uses its part of the double")]
#![allow(unreachable_pub, missing_docs, reason = "a module of test crates has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a double fails loudly"
)]

#[path = "keys/fault.rs"]
mod fault;
#[path = "keys/http.rs"]
mod http;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

pub use self::fault::{Fault, Gate};
pub use self::http::{Out, Request, Response, Server};

/// The agent that most tests work with.
pub const AGENT: &str = "agent-1";

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Route {
    /// `POST /agent_api_keys`.
    Create,
    /// `POST /agent_api_keys/webhook-trigger`.
    Webhook,
    /// `PUT /agent_api_keys/{id}`, which the keys service lacks: 201 where it makes the row, else 200.
    Put,
    /// `GET /agent_api_keys`.
    List,
    /// `GET /agent_api_keys/{id}`.
    Get,
    /// `DELETE /agent_api_keys/{id}`.
    Delete,
    /// `DELETE /agent_api_keys/name/{name}`.
    DeleteByName,
    /// `GET /agents/name/{name}`.
    AgentByName,
    /// Anything else.
    Other,
}

/// A key's row.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The agent that it belongs to.
    pub agent: String,
    /// Its name.
    pub name: String,
    /// Its `api_key_type`.
    pub kind: String,
    /// When it was made: naive UTC, as the service has it.
    pub created_at: String,
}

/// The service.
pub struct Keys {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<String, Row>,
    faults: BTreeMap<Route, VecDeque<Fault>>,
    seen: Vec<(Route, Request)>,
}

impl Keys {
    /// Starts it, without rows.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request| serve(Arc::clone(&shared), request)).await;
        Self { server, state }
    }

    /// Where it listens, as `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// What is to go wrong next on `route`, after what was said before.
    pub fn on(&self, route: Route, fault: Fault) {
        self.state().faults.entry(route).or_default().push_back(fault);
    }

    /// Nothing goes wrong any more.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// Refuses connections.
    pub async fn down(&self) {
        self.server.down().await;
    }

    /// Accepts connections again.
    pub fn up(&self) {
        self.server.up();
    }

    /// The rows' ids.
    pub fn rows(&self) -> BTreeSet<String> {
        self.state().rows.keys().cloned().collect()
    }

    /// A row.
    pub fn row(&self, id: &str) -> Option<Row> {
        self.state().rows.get(id).cloned()
    }

    /// Makes a row past every sidecar, and gives its id.
    pub fn insert(&self, agent: &str, name: &str, kind: &str) -> String {
        let row = Row::new(agent, name, kind);
        let id = row.id.clone();
        self.state().rows.insert(id.clone(), row);
        id
    }

    /// Removes a row past every sidecar.
    pub fn remove(&self, id: &str) {
        self.state().rows.remove(id).expect("there was such a row");
    }

    /// Requests of a route so far.
    pub fn calls(&self, route: Route) -> usize {
        self.requests(route).len()
    }

    /// The requests of a route so far.
    pub fn requests(&self, route: Route) -> Vec<Request> {
        let state = self.state();
        state.seen.iter().filter(|(at, _)| *at == route).map(|(_, seen)| seen.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Row {
    fn new(agent: &str, name: &str, kind: &str) -> Self {
        let mut id = uuid::Uuid::now_v7().to_string();
        // A letter for certain, so that upper case is another spelling.
        id.replace_range(..1, "a");
        let now = jiff::Timestamp::now().to_string();
        let created_at = now.trim_end_matches('Z').to_owned();
        let [agent, name, kind] = [agent, name, kind].map(str::to_owned);
        Self { id, agent, name, kind, created_at }
    }

    fn json(&self) -> Value {
        json!({"id": self.id, "agent_id": self.agent, "created_at": self.created_at,
            "name": self.name, "api_key_type": self.kind})
    }
}

fn route(request: &Request) -> (Route, String) {
    let path = request.path.trim_start_matches('/');
    let parts: Vec<_> = path.split('/').collect();
    match (request.method.as_str(), &parts[..]) {
        ("POST", ["agent_api_keys"]) => (Route::Create, String::new()),
        ("POST", ["agent_api_keys", "webhook-trigger"]) => (Route::Webhook, String::new()),
        ("PUT", ["agent_api_keys", id]) => (Route::Put, (*id).to_owned()),
        ("GET", ["agent_api_keys"]) => (Route::List, String::new()),
        ("GET", ["agent_api_keys", id]) => (Route::Get, (*id).to_owned()),
        ("DELETE", ["agent_api_keys", id]) => (Route::Delete, (*id).to_owned()),
        ("DELETE", ["agent_api_keys", "name", name]) => (Route::DeleteByName, (*name).to_owned()),
        ("GET", ["agents", "name", name]) => (Route::AgentByName, (*name).to_owned()),
        _ => (Route::Other, String::new()),
    }
}

async fn serve(shared: Arc<Mutex<State>>, request: Request) -> Out {
    let (route, argument) = route(&request);
    let fault = {
        let mut state = shared.lock().unwrap();
        state.seen.push((route, request.clone()));
        let queue = state.faults.entry(route).or_default();
        let fault = queue.front().cloned().unwrap_or_else(Fault::once);
        if let Some(first) = queue.front_mut() {
            first.left = first.left.saturating_sub(usize::from(first.left != usize::MAX));
            if first.left == 0 {
                queue.pop_front();
            }
        }
        fault
    };
    fault.serve(move || work(&shared, route, &argument, &request)).await
}

type Effect = Box<dyn FnOnce() + Send>;

/// What the service does, and what it says.
fn work(
    shared: &Arc<Mutex<State>>,
    route: Route,
    argument: &str,
    request: &Request,
) -> (Effect, Response) {
    let state = shared.lock().unwrap();
    let nothing = || -> Effect { Box::new(|| {}) };
    let says = |status, body: Value| (nothing(), Response::json(status, &body));
    match route {
        Route::Create | Route::Webhook => match new_row(route, request) {
            Ok((row, secret)) => {
                let response = Response::json(200, &made(route, &row, &secret));
                let shared = Arc::clone(shared);
                let insert = move || _ = shared.lock().unwrap().rows.insert(row.id.clone(), row);
                (Box::new(insert), response)
            }
            Err((status, detail)) => says(status, json!({ "detail": detail })),
        },
        Route::Put => match (state.rows.get(argument), new_row(route, request)) {
            (Some(row), _) => says(200, row.json()),
            (None, Ok((row, _))) => {
                let row = Row { id: argument.to_owned(), ..row };
                let response = Response::json(201, &row.json());
                let shared = Arc::clone(shared);
                let insert = move || _ = shared.lock().unwrap().rows.insert(row.id.clone(), row);
                (Box::new(insert), response)
            }
            (None, Err((status, detail))) => says(status, json!({ "detail": detail })),
        },
        Route::List => says(200, list(&state, request)),
        Route::Get => match state.rows.get(argument) {
            Some(row) => says(200, row.json()),
            None => says(404, json!({"message": "no such key", "code": 404, "data": null})),
        },
        Route::Delete => {
            let said = json!(format!("Agent API key with ID {argument} deleted"));
            (remove(shared, argument.to_owned()), Response::json(200, &said))
        }
        Route::DeleteByName => {
            let agent = agent_of(|name| request.parameter(name).map(str::to_owned));
            let kind = request.parameter("api_key_type");
            let hit = state.rows.values().find(|row| {
                row.name == argument
                    && agent.as_ref().is_ok_and(|agent| *agent == row.agent)
                    && kind.is_none_or(|kind| kind == row.kind)
            });
            match hit {
                Some(row) => {
                    let said = json!(format!("Agent api_key '{argument}' deleted"));
                    (remove(shared, row.id.clone()), Response::json(200, &said))
                }
                None => says(404, json!({"message": "no such key", "code": 404, "data": null})),
            }
        }
        Route::AgentByName => match agent_named(argument) {
            Some(id) => says(200, json!({"id": id, "name": argument})),
            None => says(404, json!({"detail": "no such agent"})),
        },
        Route::Other => says(200, json!({"path": request.path})),
    }
}

fn remove(shared: &Arc<Mutex<State>>, id: String) -> Effect {
    let shared = Arc::clone(shared);
    Box::new(move || _ = shared.lock().unwrap().rows.remove(&id))
}

fn agent_named(name: &str) -> Option<String> {
    name.strip_prefix("name-of-").map(str::to_owned)
}

/// Agents are called `name-of-ID`. Exactly one of id and name must be given.
fn agent_of(value: impl Fn(&str) -> Option<String>) -> Result<String, (u16, &'static str)> {
    match (value("agent_id"), value("agent_name")) {
        (Some(id), None) => Ok(id),
        (None, Some(name)) => agent_named(&name).ok_or((404, "no such agent")),
        _ => Err((400, "exactly one of agent_id and agent_name")),
    }
}

fn new_row(route: Route, request: &Request) -> Result<(Row, String), (u16, &'static str)> {
    let body = request.json().ok_or((422, "no JSON"))?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let agent = agent_of(text)?;
    let name = text("name").ok_or((422, "no name"))?;
    if name.len() > 255 {
        return Err((500, "the column is too short"));
    }
    let (kind, secret) = match route {
        Route::Webhook => (text("source").ok_or((422, "no source"))?, text("secret")),
        _ => (text("api_key_type").unwrap_or_else(|| "external".into()), text("api_key")),
    };
    Ok((Row::new(&agent, &name, &kind), secret.unwrap_or_else(|| "generated".into())))
}

/// The answer to a create. The secret is shown once.
fn made(route: Route, row: &Row, secret: &str) -> Value {
    if route == Route::Webhook {
        return json!({"key_id": row.id, "agent_name": format!("name-of-{}", row.agent),
            "source": row.kind, "name": row.name, "secret": secret,
            "webhook_path": "/hook", "webhook_url": "http://keys/hook"});
    }
    let mut answer = row.json();
    answer["api_key"] = json!(secret);
    answer
}

fn list(state: &State, request: &Request) -> Value {
    let number = |name, default| {
        request.parameter(name).map_or(default, |value| value.parse::<usize>().unwrap())
    };
    let (limit, page) = (number("limit", 50).min(1000), number("page_number", 1));
    let Ok(agent) = agent_of(|name| request.parameter(name).map(str::to_owned)) else {
        return json!([]);
    };
    let rows = state.rows.values().filter(|row| row.agent == agent);
    rows.skip((page - 1) * limit).take(limit).map(Row::json).collect()
}
