//! What a service may be like at its worst, for the keys of one agent: see `tests/service/quirks.py`.

use serde::Serialize;
use serde_json::json;

use super::Service;

/// What is switched on; [`Quirks::default`] is nothing.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Quirks {
    /// Whether a create with an `Idempotency-Key` repeats the first answer to that key.
    pub replays: bool,
    /// How many seconds after its arrival a request may at most be committed, or answered.
    pub late: f64,
    /// How many seconds reads may at most be behind.
    pub lag: f64,
    /// From when until when most requests are answered 500, in seconds from when this is set.
    pub storms: Vec<(f64, f64)>,
    /// Of the dice that all of it is drawn from.
    pub seed: u64,
}

impl Service {
    /// Has the service treat the keys of the agent of that name so from now on.
    pub async fn quirks(&self, agent_name: &str, quirks: &Quirks) {
        let agent_id = format!("agent-{agent_name}");
        let spec = json!({"agent_id": agent_id, "agent_name": agent_name, "quirks": quirks});
        self.ask("POST", "/quirks", Some(spec)).await;
    }
}
