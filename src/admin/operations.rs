//! The admin port: what is unfinished, explained (promise P9).

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, Query, State, rejection::QueryRejection};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::reply;
use super::server::{Limits, serve};
use crate::model::OperationId;

/// Operations on a page unless `?limit=` says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// Most operations on a page: some MiB of text at a few KiB each (promise P8).
const MAX_LIMIT: usize = 1000;

/// Who knows about operations.
///
/// Each is told as one JSON object: its id, rule, kind, resource ids, phase, since when, what is
/// known, what happens next and when, attempts, and whether and why it is stuck. No secrets.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// At most `limit` unfinished operations, oldest first.
    async fn list(&self, limit: usize) -> Result<Vec<Value>, String>;

    /// One operation, finished or not.
    async fn show(&self, id: OperationId) -> Result<Option<Value>, String>;
}

/// Serves `/operations` and `/operations/{id}` until `stop`.
///
/// `/operations?limit=N` lists the oldest N, 1 to 1000, default 100; `more` tells whether there
/// are others.
pub async fn serve_operations(
    listener: TcpListener,
    operations: Arc<dyn Operations>,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/operations", get(list))
        .route("/operations/{id}", get(show))
        .with_state(operations)
        .fallback(reply::no_such_page);
    serve(listener, router, limits, stop).await;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    DEFAULT_LIMIT
}

async fn list(
    State(operations): State<Arc<dyn Operations>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Response {
    let limit = match page {
        Ok(Query(Page { limit })) if (1..=MAX_LIMIT).contains(&limit) => limit,
        _ => {
            let detail = "the only parameter is limit, a number from 1 to 1000";
            return reply::problem(StatusCode::BAD_REQUEST, detail);
        }
    };
    // One more than is shown tells whether there are more.
    match operations.list(limit + 1).await {
        Ok(mut found) => {
            let more = found.len() > limit;
            found.truncate(limit);
            reply::json(StatusCode::OK, &json!({"operations": found, "more": more}))
        }
        Err(reason) => reply::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn show(State(operations): State<Arc<dyn Operations>>, Path(id): Path<String>) -> Response {
    let Ok(id) = OperationId::parse(&id) else {
        return reply::problem(StatusCode::BAD_REQUEST, "an operation's id is a UUID");
    };
    match operations.show(id).await {
        Ok(Some(operation)) => reply::json(StatusCode::OK, &operation),
        Ok(None) => {
            let detail = "no such operation: it never was, or it ended and was forgotten";
            reply::problem(StatusCode::NOT_FOUND, detail)
        }
        Err(reason) => reply::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}
