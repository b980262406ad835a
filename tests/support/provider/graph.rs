//! What the provider knows and how it answers when nothing is wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{AUTHN, CHECK, Call, DEREGISTER, REGISTER, SEARCH};

#[derive(Default)]
pub struct Graph {
    /// authn's table: header value, principal.
    pub principals: Vec<(String, String)>,
    resources: BTreeMap<String, Entry>,
}

struct Entry {
    owner: String,
    parent: Option<String>,
}

type Answer = (u16, String);

impl Graph {
    pub fn resources(&self) -> BTreeSet<String> {
        self.resources.keys().cloned().collect()
    }

    pub fn parent_of(&self, resource: &str) -> Option<String> {
        self.resources.get(resource)?.parent.clone()
    }

    pub fn owner_of(&self, resource: &str) -> Option<String> {
        self.resources.get(resource).map(|entry| entry.owner.clone())
    }

    /// The resources whose parent is `parent`.
    pub fn children_of(&self, parent: &str) -> BTreeSet<String> {
        let children = self
            .resources
            .iter()
            .filter(|(_, entry)| entry.parent.as_deref().is_some_and(|known| known == parent));
        children.map(|(name, _)| name.clone()).collect()
    }

    pub fn put(&mut self, resource: String, owner: String, parent: Option<String>) {
        self.resources.insert(resource, Entry { owner, parent });
    }

    pub fn forget(&mut self, resource: &str) {
        self.resources.remove(resource);
    }

    /// Whether the resource that a deregistration means is here.
    pub fn knows(&self, call: &Call) -> bool {
        serde_json::from_str(&call.body)
            .is_ok_and(|body: Deregister| self.resources.contains_key(&body.resource.to_string()))
    }

    /// Takes the call's effect and gives its answer.
    pub fn apply(&mut self, call: &Call) -> Answer {
        let json = call.header("content-type") == Some("application/json");
        match call.path.as_str() {
            AUTHN if call.body.is_empty() => self.authn(call),
            AUTHN => (400, message("authn takes no body")),
            REGISTER | DEREGISTER | CHECK | SEARCH if !json => (415, message("not JSON")),
            REGISTER => read(call, |body| self.register(body)),
            DEREGISTER => read(call, |body| self.deregister(&body)),
            CHECK => read(call, |body| self.check(&body)),
            SEARCH => read(call, |body| self.search(&body)),
            _ => (404, message("no such endpoint")),
        }
    }

    fn authn(&self, call: &Call) -> Answer {
        let sent = |credential: &str| call.headers.iter().any(|(_, value)| value == credential);
        if let Some((_, json)) = self.principals.iter().find(|(credential, _)| sent(credential)) {
            return (200, json.clone());
        }
        match call.header("x-user-id") {
            Some(user) => {
                let principal =
                    json!({"principal_type": "user", "user_id": user, "account_id": "acct-1"});
                (200, principal.to_string())
            }
            None => (401, message("no credentials")),
        }
    }

    fn register(&mut self, body: Register) -> Answer {
        let parent = body.parent.map(|parent| parent.to_string());
        self.put(body.resource.to_string(), body.principal.get().to_owned(), parent);
        (200, "{}".into())
    }

    fn deregister(&mut self, body: &Deregister) -> Answer {
        self.resources.remove(&body.resource.to_string());
        (200, r#"{"success": true}"#.into())
    }

    fn check(&self, body: &Check) -> Answer {
        if self.allows(&body.principal, &body.resource.to_string()) {
            (200, "{}".into())
        } else {
            (403, message("denied"))
        }
    }

    fn search(&self, body: &Search) -> Answer {
        let allowed = self.resources.keys().filter(|name| self.allows(&body.principal, name));
        let ids =
            allowed.filter_map(|name| name.strip_prefix(&format!("{}:", body.filter_resource)));
        (200, json!({"items": ids.collect::<Vec<_>>()}).to_string())
    }

    /// The owner may do everything; a key also needs its parent edge, and the parent, where it
    /// is registered, the same owner.
    fn allows(&self, principal: &Value, resource: &str) -> bool {
        let Some(entry) = self.resources.get(resource) else {
            return false;
        };
        let owner: Value = serde_json::from_str(&entry.owner).unwrap_or_default();
        let same = ["user_id", "service_account_id"].iter().any(|field| {
            principal.get(field).is_some_and(|id| !id.is_null() && owner.get(field) == Some(id))
        });
        let cascades = match &entry.parent {
            Some(parent) if self.resources.contains_key(parent) => self.allows(principal, parent),
            Some(_) => true,
            None => !resource.starts_with("api_key:"),
        };
        same && cascades
    }
}

fn message(text: &str) -> String {
    json!({"message": text}).to_string()
}

fn read<'c, B: Deserialize<'c>>(call: &'c Call, act: impl FnOnce(B) -> Answer) -> Answer {
    match serde_json::from_str(&call.body) {
        Ok(body) => act(body),
        Err(error) => (422, message(&error.to_string())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selected {
    #[serde(rename = "type")]
    kind: String,
    selector: String,
}

impl std::fmt::Display for Selected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.selector)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    principal: Box<RawValue>,
    resource: Selected,
    /// May be null, must be there.
    #[serde(deserialize_with = "Option::deserialize")]
    parent: Option<Selected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deregister {
    #[serde(rename = "principal")]
    _principal: Box<RawValue>,
    resource: Selected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    principal: Value,
    resource: Selected,
    #[serde(rename = "operation")]
    _operation: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    principal: Value,
    filter_resource: String,
    #[serde(rename = "filter_operation")]
    _operation: String,
}
