//! Which request removed a row: see `tests/service/history.py`.

use serde_json::json;

use super::Service;

/// The header with which a client marks a request as its own. What the sidecar asks because of the
/// request may carry the same mark, so the value should say what it marks.
pub const MARK: &str = "x-client-request";

/// A row that a request removed.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
pub struct Removed {
    /// The key's id.
    pub id: String,
    /// The secret that the request for it brought, where that is one of those asked for.
    pub secret: Option<String>,
    /// Unix time of the commit, in seconds.
    pub at: f64,
    /// The mark of the request that removed it.
    pub by: Option<String>,
}

impl Service {
    /// The rows of an agent that requests removed since the service was started, each with that of
    /// `secrets` that it was made with.
    pub async fn removed(&self, agent_id: &str, secrets: &[String]) -> Vec<Removed> {
        let asked = json!({"agent_id": agent_id, "secrets": secrets});
        serde_json::from_value(self.ask("POST", "/removed", Some(asked)).await).unwrap()
    }
}
