//! A model of the service, quirks included. It keeps keys, whose names are not unique and whose ids
//! it chooses, and documents, whose ids clients may choose. Its reads may lag, and what it does may
//! be there to be seen only after it was answered.

#[path = "service/documents.rs"]
mod documents;
#[path = "service/keys.rs"]
mod keys;
#[path = "service/rows.rs"]
pub(crate) mod rows;

use std::sync::Arc;

use async_trait::async_trait;
use authz_sidecar::upstream::{Body, Error, ErrorKind, Sent, Transport};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};

use self::rows::Row;
use crate::coverage::Event;
use crate::faults::{Manner, Work};
use crate::life::Life;
use crate::network::{NoAnswer, call};
use crate::wire::Asked;
use crate::world::{Neighbour, State};

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
            manner.again = manner.again.filter(|_| asked.is_repeatable());
            state.say(&self.0.name, "sends", |_| asked.to_string());
            state.happens_to(&asked, Event::Sent);
            manner
        });
        let (question, work) = (asked.clone(), manner.clone());
        let answered = call(&self.0, &manner, move |state| serve(state, &question, &work)).await;
        if let Ok(told) = &answered {
            self.hold(&asked, told).await;
        }
        let error = |sent| Error { kind: ErrorKind::Cut, detail: "simulated".into(), sent };
        match answered {
            Ok(told) => {
                self.0.say("is told", || format!("{} for {asked}", told.shown()));
                self.0.world.with(|state| state.happens_to(&asked, Event::Answered));
                if asked.is_write() {
                    self.0.hears();
                }
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

impl Way {
    /// Holds the answer to a create back until its row is gone, or nobody waits for it much longer.
    async fn hold(&self, asked: &Asked, told: &Told) {
        let (holds, exchange) = self.0.world.with(|state| {
            let likely = state.schedule.holds;
            let holds = likely > 0.0 && !state.calm && state.rng.f64() < likely;
            (holds, state.schedule.times.exchange)
        });
        let made: Option<Value> = serde_json::from_str(&told.body).ok();
        let id =
            made.and_then(|row| Some(row.get("id").or(row.get("key_id"))?.as_str()?.to_owned()));
        let (true, true, Some(id)) = (holds, asked.method == "POST", id) else { return };
        let removed = |state: &mut State| state.service.removed.contains_key(&id);
        for _ in 0..16 {
            if self.0.world.with(removed) {
                // What removed it may end, too.
                tokio::time::sleep(exchange / 20).await;
                return;
            }
            tokio::time::sleep(exchange / 20).await;
        }
    }
}

/// What the service does about a request that arrives now.
fn serve(state: &mut State, asked: &Asked, manner: &Manner) -> Told {
    state.happens_to(asked, Event::Arrived);
    if !asked.is_write() {
        state.looked(asked);
    }
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
        ("POST", ["agent_api_keys", rest @ ..]) => {
            keys::create(state, asked, manner, !rest.is_empty())
        }
        ("POST", ["agents", "register"]) => keys::aside(state, asked, manner),
        ("GET", ["agent_api_keys"]) => list(state, asked, |row| !row.is_document(), Value::Array),
        ("GET", ["agents", "name", name]) => {
            Told::json(200, &json!({"id": name.trim_start_matches("name-of-")}))
        }
        ("DELETE", ["agent_api_keys", "name", name]) => keys::remove(state, asked, manner, name),
        ("GET", ["agent_api_keys", id]) => get(state, asked, id, Row::json),
        ("DELETE", ["agent_api_keys", id] | ["v1", "documents", id]) => {
            remove(state, asked, manner, id)
        }
        ("GET", ["v1", "documents"]) => {
            list(state, asked, Row::is_document, |rows| json!({"data": rows}))
        }
        ("GET", ["v1", "documents", id]) => {
            get(state, asked, id, |row| json!({"data": row.json()}))
        }
        ("PUT", ["v1", "documents", id]) => documents::put(state, asked, manner, id),
        ("POST", ["v1", "documents"]) => documents::post(state, asked, manner),
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

fn list(
    state: &mut State,
    asked: &Asked,
    is_listed: impl Fn(&Row) -> bool,
    shown: impl Fn(Vec<Value>) -> Value,
) -> Told {
    let (size, page) =
        (asked.number("limit").unwrap_or(50), asked.number("page_number").unwrap_or(1));
    let rows = state.view(asked);
    let rows: Vec<_> =
        rows.values().filter(|row| is_listed(row) && row.is_meant_by(asked)).collect();
    if rows.is_empty() && state.schedule.habits.empty_is_404 {
        return Told::json(404, &json!({"detail": "there is nothing"}));
    }
    let page = rows.iter().skip((page - 1) * size).take(size).map(|row| row.json()).collect();
    Told::json(200, &shown(page))
}

fn get(state: &mut State, asked: &Asked, id: &str, shown: impl Fn(&Row) -> Value) -> Told {
    match state.view(asked).get(id) {
        Some(row) => Told::json(200, &shown(row)),
        None => Told::json(404, &json!({"detail": "no such row"})),
    }
}

/// Removes the row of an id. The answer to a row that is not seen may be the same.
fn remove(state: &mut State, asked: &Asked, manner: &Manner, id: &str) -> Told {
    state.touches(asked, id);
    let seen = if state.schedule.habits.delete_reads_replica {
        state.view(asked).contains_key(id)
    } else {
        state.service.there.get(id).is_some_and(|row| state.may_see(row, asked))
    };
    if !seen {
        let status = state.schedule.habits.absent;
        return Told::json(status, &json!("there is no such row"));
    }
    remove_row(state, asked, manner, id.to_owned())
}

fn remove_row(state: &mut State, asked: &Asked, manner: &Manner, id: String) -> Told {
    state.touches(asked, &id);
    let answer = Told::json(200, &json!("deleted"));
    if let Some(made) = state.service.there.get(&id).map(|row| row.made) {
        let whose = asked.whose();
        commit(state, manner, move |state| state.remove(&id, made, whose));
    }
    answer
}

fn commit(state: &mut State, manner: &Manner, effect: impl FnOnce(&mut State) + Send + 'static) {
    if manner.effect.is_zero() { effect(state) } else { state.after(manner.effect, effect) }
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
