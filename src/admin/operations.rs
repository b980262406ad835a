//! The admin port: what is unfinished, explained, and what a person orders about it (promise P9).

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, State, rejection::QueryRejection};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::reply;
use super::server::{Limits, serve};
use super::token::Token;
use super::{orders, orders::LONGEST_BODY};
use crate::dualwrite::{Ledger, Page, Refused};
use crate::model::{OperationId, Order};

/// Operations on a page unless `?limit=` says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// Most operations on a page: some MiB of text at a few KiB each (promise P8).
const MAX_LIMIT: usize = 1000;

/// Who knows about operations.
///
/// Each is told as one JSON object, see [`crate::dualwrite::Explanation`]. No secrets.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Unfinished operations, oldest first, and where to go on if there are more.
    async fn list(&self, page: &Page) -> Result<(Vec<Value>, Option<OperationId>), String>;

    /// One operation and its history, finished or not.
    async fn show(&self, id: OperationId) -> Result<Option<Value>, String>;

    /// Follows an order. Gives the operation as it stands then.
    async fn order(&self, id: OperationId, order: Order) -> Result<Value, Refused>;
}

#[async_trait]
impl Operations for Ledger {
    async fn list(&self, page: &Page) -> Result<(Vec<Value>, Option<OperationId>), String> {
        let listing = Self::list(self, page).await.map_err(|halt| halt.to_string())?;
        let told = listing.operations.iter().map(serde_json::to_value);
        let told = told.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok((told, listing.after))
    }

    async fn show(&self, id: OperationId) -> Result<Option<Value>, String> {
        let account = Self::show(self, id).await.map_err(|halt| halt.to_string())?;
        account.map(serde_json::to_value).transpose().map_err(|error| error.to_string())
    }

    async fn order(&self, id: OperationId, order: Order) -> Result<Value, Refused> {
        let account = Self::order(self, id, order).await?;
        // It was followed all the same.
        Ok(serde_json::to_value(account).unwrap_or_default())
    }
}

/// What the admin port's pages share.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) operations: Arc<dyn Operations>,
    /// What orders must carry; without one, none is taken.
    pub(super) token: Option<Arc<Token>>,
}

/// Serves operations until `stop`.
///
/// - `GET /operations?limit=N&after=ID&stuck=true` lists unfinished ones, oldest first: N from
///   1 to 1000, default 100. `more` tells whether there are others, and `after` where to go on.
/// - `GET /operations/{id}` shows one, with its history.
/// - `POST /operations/{id}/retry` and `/discard`, with `Authorization: Bearer TOKEN` and
///   `{"by": …, "reason": …}`, give an order. Without a configured token: 403.
pub async fn serve_operations(
    listener: TcpListener,
    operations: Arc<dyn Operations>,
    token: Option<Token>,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/operations", get(list))
        .route("/operations/{id}", get(show))
        .route("/operations/{id}/retry", post(orders::retry))
        .route("/operations/{id}/discard", post(orders::discard))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(Desk { operations, token: token.map(Arc::new) })
        .fallback(reply::no_such_page);
    serve(listener, router, limits, stop).await;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "default_limit")]
    limit: usize,
    after: Option<OperationId>,
    #[serde(default)]
    stuck: bool,
}

fn default_limit() -> usize {
    DEFAULT_LIMIT
}

impl Wanted {
    fn page(self) -> Result<Page, &'static str> {
        if (1..=MAX_LIMIT).contains(&self.limit) {
            return Ok(Page { after: self.after, limit: self.limit, stuck: self.stuck });
        }
        Err("limit is a number from 1 to 1000")
    }
}

async fn list(State(desk): State<Desk>, wanted: Result<Query<Wanted>, QueryRejection>) -> Response {
    let parameters = "the parameters are limit (1 to 1000), after, and stuck (true or false)";
    let page = wanted.map_err(|_| parameters).and_then(|Query(wanted)| wanted.page());
    let page = match page {
        Ok(page) => page,
        Err(detail) => return reply::problem(StatusCode::BAD_REQUEST, detail),
    };
    match desk.operations.list(&page).await {
        Ok((found, after)) => {
            let after = after.map(|after| after.to_string());
            let body = json!({"operations": found, "more": after.is_some(), "after": after});
            reply::json(StatusCode::OK, &body)
        }
        Err(reason) => reply::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn show(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    let Ok(id) = OperationId::parse(&id) else { return no_id() };
    match desk.operations.show(id).await {
        Ok(Some(operation)) => reply::json(StatusCode::OK, &operation),
        Ok(None) => reply::problem(StatusCode::NOT_FOUND, &Refused::NoSuch.to_string()),
        Err(reason) => reply::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

pub(super) fn no_id() -> Response {
    reply::problem(StatusCode::BAD_REQUEST, "an operation's id is a UUID")
}
