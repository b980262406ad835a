//! What clients ask for, and how they may have the service fail for it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::ledger::Create;
use super::load::{KEYS, Load};

/// A create that a client wants.
pub struct Wanted {
    pub target: String,
    /// As the service's faults name it.
    pub route: &'static str,
    pub body: Value,
    pub webhook: bool,
    pub secret: String,
    pub name: String,
    pub bypass: bool,
}

impl Wanted {
    /// Has it bring this secret, by which its row is known.
    pub fn bring(&mut self, secret: String) {
        let member = if self.webhook { "secret" } else { "api_key" };
        self.body[member] = secret.as_str().into();
        self.secret = secret;
    }

    /// For the ledger, before it is sent.
    pub fn note(&self, aside: bool) -> Create {
        let (secret, name, bypass) = (self.secret.clone(), self.name.clone(), self.bypass);
        Create { secret, name, bypass, aside, told: None, refused: None, answered: 0.0 }
    }
}

impl Load {
    /// Draws a create.
    pub fn wanted(&self, unique: &str, dice: &mut Rng) -> Wanted {
        let webhook = self.everything && dice.u8(..100) < 15;
        let bypass = self.everything && dice.u8(..100) < if self.quarrel { 40 } else { 8 };
        let name = match dice.bool() {
            _ if self.quarrel => "shared-0".to_owned(),
            true => shared_name(dice),
            false => format!("own-{unique}"),
        };
        let (target, route, mut body) = if webhook {
            let body = json!({"agent_name": self.agent_name, "source": "github", "name": name,
                "forward_path": "x"});
            (format!("{KEYS}/webhook-trigger"), "POST /agent_api_keys/webhook-trigger", body)
        } else {
            (KEYS.to_owned(), "POST /agent_api_keys", json!({"name": name}))
        };
        if !webhook {
            let by_name = self.everything && dice.bool();
            let (field, value) = if by_name {
                ("agent_name", &self.agent_name)
            } else {
                ("agent_id", &self.agent_id)
            };
            body[field] = value.as_str().into();
        }
        let mut wanted =
            Wanted { target, route, body, webhook, secret: String::new(), name, bypass };
        wanted.bring(format!("{}-{unique}", self.agent_name));
        wanted
    }
}

/// Where, what, and with which status: see `tests/service/faults.py`.
pub const CREATE_FAULTS: [(&str, &str, u16); 12] = [
    ("before", "status", 500),
    ("before", "status", 408),
    ("before", "delay", 0),
    ("before", "abort", 0),
    ("after", "status", 500),
    ("after", "status", 503),
    ("after", "abort", 0),
    ("after", "delay", 0),
    ("commit", "delay", 0),
    ("answer", "cut", 0),
    ("answer", "without", 0),
    ("answer", "status", 202),
];

/// Those with which an answer comes after the sidecar's patience.
pub const SLOW_CREATE: [(&str, &str, u16); 2] = [("before", "delay", 0), ("after", "delay", 0)];

pub const DELETE_FAULTS: [(&str, &str, u16); 8] = [
    ("before", "status", 500),
    ("before", "delay", 0),
    ("before", "abort", 0),
    ("after", "status", 500),
    ("after", "abort", 0),
    ("after", "delay", 0),
    ("commit", "delay", 0),
    ("answer", "status", 202),
];

/// One of the few names that clients fight over.
pub fn shared_name(dice: &mut Rng) -> String {
    format!("shared-{}", dice.u8(..2))
}
