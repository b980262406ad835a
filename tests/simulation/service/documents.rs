//! Documents: ids that clients choose and that come back, names that find what is there, and replay
//! keys. A second transaction on what another has not committed is refused with a conflict.

use serde_json::{Value, json};

use super::rows::{DOCUMENT, Row};
use super::{Told, commit};
use crate::faults::Manner;
use crate::wire::Asked;
use crate::world::State;

/// Makes a document under the id of the path, or finds it.
pub(super) fn put(state: &mut State, asked: &Asked, manner: &Manner, id: &str) -> Told {
    state.touches(asked, id);
    if state.service.pending.contains(id) {
        return conflict();
    }
    match state.service.there.get(id).cloned() {
        Some(row) if !state.may_see(&row, asked) => Told::json(403, &json!({"detail": "no"})),
        Some(row) => found(state, asked, 200, &row),
        None => make(state, asked, manner, id.to_owned()),
    }
}

/// Makes a document under a new id, unless the replay key or the name finds one.
pub(super) fn post(state: &mut State, asked: &Asked, manner: &Manner) -> Told {
    let key = replay_key(state, asked);
    if let Some(key) = &key {
        if let Some(row) = state.service.replays.get(key).cloned() {
            return found(state, asked, 201, &row);
        }
        if state.service.pending.contains(key) {
            return conflict();
        }
    }
    let name = asked.text("name").map(|name| state.kept(name));
    let names = |row: &&Row| {
        row.is_document()
            && asked.text("folder").as_ref() == Some(&row.agent)
            && name.as_ref() == Some(&row.name)
    };
    let there = state.service.there.values().find(names).cloned();
    match there.filter(|_| state.schedule.habits.upserts) {
        Some(row) if !state.may_see(&row, asked) => Told::json(403, &json!({"detail": "no"})),
        Some(row) => found(state, asked, 200, &row),
        None => {
            let id = state.service.next_id();
            make(state, asked, manner, id)
        }
    }
}

/// Answers a document that a request did not make.
fn found(state: &mut State, asked: &Asked, status: u16, row: &Row) -> Told {
    state.touches(asked, &row.id);
    if let Some(client) = asked.client {
        state.clients[client].found = Some(row.made);
    }
    told(status, row)
}

fn make(state: &mut State, asked: &Asked, manner: &Manner, id: String) -> Told {
    let (Some(folder), Some(name)) = (asked.text("folder"), asked.text("name")) else {
        return Told::json(422, &json!({"detail": "invalid"}));
    };
    let row = state.new_row(asked, id, folder, name, DOCUMENT.to_owned());
    let answer = told(201, &row);
    let key = replay_key(state, asked);
    state.service.pending.insert(row.id.clone());
    state.service.pending.extend(key.clone());
    commit(state, manner, move |state| {
        if let Some(key) = key {
            state.service.pending.remove(&key);
            state.service.replays.insert(key, row.clone());
        }
        state.insert(row);
    });
    answer
}

/// The key under which an answer is repeated. Where the one that asks is registered as the owner of what it is
/// answered, each user has keys of their own.
fn replay_key(state: &State, asked: &Asked) -> Option<String> {
    let key = asked.key.as_ref().filter(|_| state.schedule.habits.replays)?;
    let whose = asked.user.as_ref().filter(|_| state.schedule.habits.keeps_owner);
    Some(format!("{key} of {whose:?}"))
}

fn told(status: u16, row: &Row) -> Told {
    let body: Value = json!({"data": row.json()});
    Told::json(status, &body)
}

fn conflict() -> Told {
    Told::json(409, &json!({"detail": "another request is at it"}))
}
