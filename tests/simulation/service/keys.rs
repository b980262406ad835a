//! Keys: ids that the service chooses and never gives again, names that may be there many times.

use serde_json::json;

use super::rows::Row;
use super::{Told, commit, remove_row};
use crate::faults::Manner;
use crate::wire::Asked;
use crate::world::State;

/// Makes a key. A webhook's is told another way.
pub(super) fn create(state: &mut State, asked: &Asked, manner: &Manner, webhook: bool) -> Told {
    let agent_of_name =
        || Some(asked.text("agent_name")?.trim_start_matches("name-of-").to_owned());
    let agent = asked.text("agent_id").or_else(agent_of_name);
    let kind = if webhook { asked.text("source") } else { asked.text("api_key_type") };
    let (Some(agent), Some(name)) = (agent, asked.text("name")) else {
        return Told::json(422, &json!({"detail": "invalid"}));
    };
    let kind = kind.unwrap_or_else(|| "external".into());
    let taken = |row: &Row| (&row.agent, &row.name, &row.kind) == (&agent, &name, &kind);
    if state.schedule.habits.unique_names && state.service.there.values().any(taken) {
        return Told::json(409, &json!({"detail": "name taken"}));
    }
    let id = state.service.next_id();
    let row = state.new_row(asked, id, agent, name, kind);
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

/// Makes a key on the side, of which the answer does not tell.
pub(super) fn aside(state: &mut State, asked: &Asked, manner: &Manner) -> Told {
    let (Some(agent), Some(name)) = (asked.text("agent_id"), asked.text("name")) else {
        return Told::json(422, &json!({"detail": "invalid"}));
    };
    let answer = Told::json(200, &json!({"agent": agent}));
    let id = state.service.next_id();
    let row = state.new_row(asked, id, agent, name, "external".into());
    commit(state, manner, move |state| state.insert(row));
    answer
}

/// Removes any of the keys of a name; the answer does not say which.
pub(super) fn remove(state: &mut State, asked: &Asked, manner: &Manner, name: &str) -> Told {
    let rows: Vec<_> = state.service.there.values().cloned().collect();
    let found = |row: &Row| !row.is_document() && row.is_meant_by(asked) && row.name == name;
    let rows: Vec<_> =
        rows.into_iter().filter(|row| found(row) && state.may_see(row, asked)).collect();
    match state.rng.choice(&rows) {
        Some(row) => remove_row(state, asked, manner, row.id.clone()),
        None => Told::json(404, &json!({"detail": "no such key"})),
    }
}
