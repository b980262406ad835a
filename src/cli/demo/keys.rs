//! The demo's keys service: in memory, with one agent. In what the demo uses of it, it behaves
//! as the contract keys-service.md has the real one, quirks included.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::server::{Gate, Refusal, json};
use crate::model::{Clock, SystemClock};

/// The one agent's id.
pub(super) const AGENT_ID: &str = "agent-1";

/// The one agent's name.
pub(super) const AGENT_NAME: &str = "demo-agent";

/// Keys that are ever made: far more than anybody makes by hand, far less than memory holds.
const CAPACITY: usize = 10_000;

/// The service; clones are one.
#[derive(Clone, Default)]
pub(super) struct Keys {
    /// Holds the answers of creates back, after the insert.
    pub(super) answers: Gate,
    table: Arc<Mutex<Table>>,
}

/// One key, without its secret.
#[derive(Clone, Serialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) agent_id: &'static str,
    created_at: String,
    pub(super) name: String,
    api_key_type: KeyType,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// Every secret that was ever made. A real service keeps hashes at most; this one lets the
    /// story look for them where they must not be (promise P7).
    secrets: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyType {
    #[default]
    External,
    Internal,
    Github,
    Slack,
}

impl Keys {
    /// Its routes.
    pub(super) fn router(&self) -> Router {
        Router::new()
            .route("/agent_api_keys", get(list).post(create))
            .route("/agent_api_keys/webhook-trigger", post(create_webhook))
            .route("/agent_api_keys/{id}", get(show).delete(remove))
            .route("/agent_api_keys/name/{name}", delete(remove_by_name))
            .route("/agents", get(agents))
            .route("/agents/{id}", get(agent_by_id))
            .route("/agents/name/{name}", get(agent_by_name))
            .with_state(self.clone())
    }

    /// All keys.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.table().rows.clone()
    }

    /// Every secret that was ever made.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.table().secrets.clone()
    }

    /// No change of the table can stop half-way, so a poisoned lock guards a whole table.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key and its secret.
    fn insert(
        &self,
        agent_id: &'static str,
        name: String,
        api_key_type: KeyType,
    ) -> Result<(Row, String), Refusal> {
        let mut table = self.table();
        let same = |row: &Row| row.name == name && row.api_key_type == api_key_type;
        if table.rows.iter().any(same) {
            return Err(Refusal(StatusCode::CONFLICT, "the name is taken"));
        }
        if table.secrets.len() >= CAPACITY {
            return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the table is full"));
        }
        // It opens nothing, so it need not be hard to guess.
        let secret = format!("demo-secret-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let created_at = SystemClock.now().to_string();
        let row = Row { id: Uuid::now_v7().to_string(), agent_id, created_at, name, api_key_type };
        table.rows.push(row.clone());
        table.secrets.push(secret.clone());
        Ok((row, secret))
    }
}

#[derive(Deserialize)]
struct Create {
    agent_id: Option<String>,
    agent_name: Option<String>,
    name: String,
    #[serde(default)]
    api_key_type: KeyType,
}

async fn create(State(keys): State<Keys>, body: Bytes) -> Result<Response, Refusal> {
    let Create { agent_id, agent_name, name, api_key_type } = read(&body)?;
    let agent = agent(agent_id.as_deref(), agent_name.as_deref())?;
    let (row, secret) = keys.insert(agent, name, api_key_type)?;
    keys.answers.pass().await;
    let Row { id, agent_id, created_at, name, api_key_type } = row;
    let answer = json!({
        "id": id, "agent_id": agent_id, "created_at": created_at, "name": name,
        "api_key_type": api_key_type, "api_key": secret,
    });
    Ok(json(StatusCode::OK, &answer))
}

#[derive(Deserialize)]
struct CreateWebhook {
    agent_name: String,
    source: KeyType,
    name: String,
    forward_path: String,
}

async fn create_webhook(State(keys): State<Keys>, body: Bytes) -> Result<Response, Refusal> {
    let CreateWebhook { agent_name, source, name, forward_path } = read(&body)?;
    if !matches!(source, KeyType::Github | KeyType::Slack) {
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, "source is github or slack"));
    }
    let agent = agent(None, Some(&agent_name))?;
    let (row, secret) = keys.insert(agent, name, source)?;
    keys.answers.pass().await;
    let path = format!("/webhooks/{}/{}", row.id, forward_path.trim_start_matches('/'));
    let answer = json!({
        "key_id": row.id, "agent_name": agent_name, "source": source, "name": row.name,
        "secret": secret, "webhook_path": path, "webhook_url": path,
    });
    Ok(json(StatusCode::OK, &answer))
}

#[derive(Deserialize)]
struct Listed {
    agent_id: Option<String>,
    agent_name: Option<String>,
    #[serde(default = "default_limit")]
    limit: usize,
    #[serde(default = "first_page")]
    page_number: usize,
}

fn default_limit() -> usize {
    50
}

fn first_page() -> usize {
    1
}

async fn list(
    State(keys): State<Keys>,
    Query(which): Query<Listed>,
) -> Result<axum::Json<Vec<Row>>, Refusal> {
    // There is one agent, so every key is its.
    agent(which.agent_id.as_deref(), which.agent_name.as_deref())?;
    let limit = which.limit.clamp(1, 1000);
    let skip = which.page_number.saturating_sub(1).saturating_mul(limit);
    Ok(axum::Json(keys.rows().into_iter().skip(skip).take(limit).collect()))
}

async fn show(
    State(keys): State<Keys>,
    Path(id): Path<String>,
) -> Result<axum::Json<Row>, Refusal> {
    let found = keys.rows().into_iter().find(|row| row.id == id);
    found.map(axum::Json).ok_or(Refusal(StatusCode::NOT_FOUND, "no such key"))
}

/// 200 also for an id that does not exist.
async fn remove(State(keys): State<Keys>, Path(id): Path<String>) -> Response {
    keys.table().rows.retain(|row| row.id != id);
    json(StatusCode::OK, &json!(format!("Agent API key with ID {id} deleted")))
}

#[derive(Deserialize)]
struct Named {
    agent_id: Option<String>,
    agent_name: Option<String>,
    api_key_type: Option<KeyType>,
}

/// Tells no id, and removes any one of those that fit.
async fn remove_by_name(
    State(keys): State<Keys>,
    Path(name): Path<String>,
    Query(which): Query<Named>,
) -> Result<Response, Refusal> {
    agent(which.agent_id.as_deref(), which.agent_name.as_deref())?;
    let kind = which.api_key_type;
    let fits = |row: &Row| row.name == name && kind.is_none_or(|kind| kind == row.api_key_type);
    let mut table = keys.table();
    let at = table.rows.iter().position(fits);
    let at = at.ok_or(Refusal(StatusCode::NOT_FOUND, "no such key"))?;
    table.rows.remove(at);
    Ok(json(StatusCode::OK, &json!(format!("Agent api_key '{name}' deleted"))))
}

async fn agents() -> Response {
    json(StatusCode::OK, &json!([{"id": AGENT_ID, "name": AGENT_NAME}]))
}

async fn agent_by_id(Path(id): Path<String>) -> Result<Response, Refusal> {
    agent(Some(&id), None).map(|id| json(StatusCode::OK, &json!({"id": id, "name": AGENT_NAME})))
}

async fn agent_by_name(Path(name): Path<String>) -> Result<Response, Refusal> {
    agent(None, Some(&name)).map(|id| json(StatusCode::OK, &json!({"id": id, "name": name})))
}

/// The id of the agent that is meant.
fn agent(id: Option<&str>, name: Option<&str>) -> Result<&'static str, Refusal> {
    match (id, name) {
        (Some(AGENT_ID), None) | (None, Some(AGENT_NAME)) => Ok(AGENT_ID),
        (Some(_), None) | (None, Some(_)) => Err(Refusal(StatusCode::NOT_FOUND, "no such agent")),
        _ => Err(Refusal(StatusCode::BAD_REQUEST, "name the agent by agent_id or by agent_name")),
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let invalid = |_| Refusal(StatusCode::UNPROCESSABLE_ENTITY, "the body is not what it must be");
    serde_json::from_slice(body).map_err(invalid)
}
