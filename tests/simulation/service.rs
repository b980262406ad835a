//! A model of the keys service, quirks included: names that are not unique, 200 for the delete of
//! nothing, a delete by name that tells no id, commits after the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use authz_sidecar::model::Timestamp;
use authz_sidecar::upstream::{Body, Error, ErrorKind, Sent, Transport};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};

use crate::faults::{Manner, Work};
use crate::life::Life;
use crate::network::{NoAnswer, call};
use crate::wire::{Asked, Whose};
use crate::world::{Neighbour, State};

/// The rows, and what became of those that are gone.
#[derive(Default)]
pub(crate) struct Service {
    pub(crate) rows: BTreeMap<String, Row>,
    /// Rows that are gone: who had them removed.
    pub(crate) removed: BTreeMap<String, (Row, Whose)>,
    made: usize,
}

/// A key.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) created_at: Timestamp,
    /// Who asked for it.
    pub(crate) maker: Whose,
}

/// An answer on its way.
struct Told {
    status: u16,
    body: String,
    /// Whether it breaks off in the middle.
    cut: bool,
}

/// The way of one replica to the service.
pub(crate) struct Way(pub(crate) Arc<Life>);

#[async_trait]
impl Transport for Way {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let asked = Asked::read(&request);
        let manner = self.0.world.with(|state| {
            let mut manner = state.manner(Neighbour::Service);
            // What is done twice must be idempotent: a POST, or a delete of any row of a name, that
            // a network repeats is beyond every promise.
            manner.again = manner.again.filter(|_| asked.is_idempotent());
            state.say(&self.0.name, "sends", |_| asked.to_string());
            manner
        });
        let (question, work) = (asked.clone(), manner.clone());
        let answered = call(&self.0, &manner, move |state| serve(state, &question, &work)).await;
        let error = |sent| Error { kind: ErrorKind::Cut, detail: "simulated".into(), sent };
        match answered {
            Ok(told) => {
                self.0.say("is told", || format!("{} for {asked}", told.shown()));
                Ok(told.into_response(error(Sent::Maybe)))
            }
            Err(NoAnswer::NotSent) => Err(error(Sent::Never)),
            Err(NoAnswer::Cut) => {
                self.0.say("is told", || format!("nothing for {asked}: it broke off"));
                Err(error(Sent::Maybe))
            }
        }
    }
}

/// What the service does about a request that arrives now.
fn serve(state: &mut State, asked: &Asked, manner: &Manner) -> Told {
    let told = match manner.work {
        Work::FailsBefore => Told::json(500, &json!({"message": "no"})),
        Work::FailsAfter => {
            work(state, asked, manner);
            Told::json(500, &json!({"message": "no"}))
        }
        Work::Odd(which) => odd(state, asked, manner, which),
        Work::Done => work(state, asked, manner),
    };
    if asked.is_write() {
        state.say("service", "answers", |_| format!("{} to {asked}", told.shown()));
    }
    told
}

fn work(state: &mut State, asked: &Asked, manner: &Manner) -> Told {
    match (asked.method.as_str(), &asked.path()[..]) {
        ("POST", ["agent_api_keys", rest @ ..]) => create(state, asked, manner, !rest.is_empty()),
        ("GET", ["agent_api_keys"]) => list(state, asked),
        ("GET", ["agent_api_keys", id]) => match state.service.rows.get(*id) {
            Some(row) => Told::json(200, &row.json()),
            None => Told::json(404, &json!({"detail": "no such key"})),
        },
        ("GET", ["agents", "name", name]) => {
            Told::json(200, &json!({"id": name.trim_start_matches("name-of-")}))
        }
        ("DELETE", ["agent_api_keys", "name", name]) => {
            let found = |row: &&Row| asked.means(row) && row.name == **name;
            let rows: Vec<_> = state.service.rows.values().filter(found).cloned().collect();
            match state.rng.choice(&rows) {
                Some(row) => remove(state, row.id.clone(), asked.whose(), manner),
                None => Told::json(404, &json!({"detail": "no such key"})),
            }
        }
        ("DELETE", ["agent_api_keys", id]) => {
            remove(state, (*id).to_owned(), asked.whose(), manner)
        }
        _ => Told::json(405, &json!({"detail": "no such route"})),
    }
}

/// Answers that prove nothing, refuse, or break off.
fn odd(state: &mut State, asked: &Asked, manner: &Manner, which: u8) -> Told {
    let statuses = [202, 206, 303, 408, 429, 401, 403, 422];
    match statuses.get(usize::from(which % 12)) {
        Some(&status) => {
            // A refusal means it: nothing was done.
            if !matches!(status, 401 | 403 | 422 | 429) && asked.is_write() {
                work(state, asked, manner);
            }
            Told::json(status, &json!({"detail": "odd"}))
        }
        None => Told { cut: true, ..work(state, asked, manner) },
    }
}

fn create(state: &mut State, asked: &Asked, manner: &Manner, webhook: bool) -> Told {
    let text = |name: &str| asked.body.get(name).and_then(Value::as_str).map(str::to_owned);
    let agent_of_name = || Some(text("agent_name")?.trim_start_matches("name-of-").to_owned());
    let kind = if webhook { text("source") } else { text("api_key_type") };
    let (Some(agent), Some(name)) = (text("agent_id").or_else(agent_of_name), text("name")) else {
        return Told::json(422, &json!({"detail": "invalid"}));
    };
    let kind = kind.unwrap_or_else(|| "external".into());
    let taken = |row: &Row| (&row.agent, &row.name, &row.kind) == (&agent, &name, &kind);
    if state.schedule.unique_names && state.service.rows.values().any(taken) {
        return Told::json(409, &json!({"detail": "name taken"}));
    }
    let (created_at, maker) = (state.service_clock(), asked.whose());
    let id = state.service.next_id();
    let row = Row { id, agent, name, kind, created_at, maker };
    let answer = if webhook {
        json!({"key_id": row.id, "name": row.name, "source": row.kind, "secret": "s"})
    } else {
        let mut json = row.json();
        json["api_key"] = "s".into();
        json
    };
    commit(state, manner, move |state| state.insert(row));
    Told::json(200, &answer)
}

fn list(state: &State, asked: &Asked) -> Told {
    let number = |name: &str| asked.query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (size, page) = (number("limit").unwrap_or(50), number("page_number").unwrap_or(1));
    let rows = state.service.rows.values().filter(|row| asked.means(row));
    let page: Vec<_> = rows.skip((page - 1) * size).take(size).map(Row::json).collect();
    Told::json(200, &Value::Array(page))
}

/// 200, also for what does not exist.
fn remove(state: &mut State, id: String, whose: Whose, manner: &Manner) -> Told {
    let answer = Told::json(200, &json!("deleted"));
    commit(state, manner, move |state| state.remove(&id, whose));
    answer
}

fn commit(state: &mut State, manner: &Manner, effect: impl FnOnce(&mut State) + Send + 'static) {
    if manner.effect.is_zero() { effect(state) } else { state.after(manner.effect, effect) }
}

impl State {
    /// A row is there to be seen.
    pub(crate) fn insert(&mut self, row: Row) {
        let told = match row.maker {
            Whose::Client(maker) => self.clients[maker].told.as_ref(),
            _ => None,
        };
        self.counts.late_effects += usize::from(told.is_some_and(|told| !told.is_success()));
        self.say("service", "commits", |_| format!("row {} of {:?}", row.id, row.maker));
        self.service.rows.insert(row.id.clone(), row);
    }

    /// A row is gone.
    pub(crate) fn remove(&mut self, id: &str, whose: Whose) {
        let Some(row) = self.service.rows.remove(id) else { return };
        self.say("service", "commits", |_| format!("row {id} is gone, by {whose:?}"));
        self.judge_removal(&row, whose);
        self.service.removed.insert(id.to_owned(), (row, whose));
    }
}

impl Service {
    pub(crate) fn next_id(&mut self) -> String {
        self.made += 1;
        format!("k{}", self.made)
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({"id": self.id, "agent_id": self.agent, "name": self.name,
            "api_key_type": self.kind, "created_at": self.created_at.to_string()})
    }
}

impl Told {
    fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string(), cut: false }
    }

    fn shown(&self) -> String {
        let cut = if self.cut { ", cut" } else { "" };
        let body: String = self.body.chars().take(60).collect();
        format!("{}{cut} {body}", self.status)
    }

    fn into_response(self, broken: Error) -> Response<Body> {
        let body = if self.cut {
            let half = self.body.len() / 2;
            Body::cut(Bytes::from(self.body).slice(..half), broken)
        } else {
            Body::whole(self.body.into(), None)
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status.try_into().expect("a status");
        response
    }
}
