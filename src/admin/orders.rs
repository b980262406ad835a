//! The pages of the admin port that change something: `retry` and `discard`.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::operations::{Desk, no_id};
use super::reply;
use super::token::Denied;
use crate::dualwrite::Refused;
use crate::model::{OperationId, Order, Words};

/// Bytes of an order (promise P8).
pub(super) const LONGEST_BODY: usize = 8 << 10;

/// Who orders, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    by: Words,
    reason: Option<Words>,
}

/// `POST /operations/{id}/retry`.
pub(super) async fn retry(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let order = |Signed { by, reason }| Ok(Order::Retry { by, reason });
    follow(desk, &id, &headers, body, order).await
}

/// `POST /operations/{id}/discard`.
pub(super) async fn discard(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let order = |Signed { by, reason }| match reason {
        Some(reason) => Ok(Order::Discard { by, reason }),
        None => Err("a discard wants a reason: it waives what the sidecar promises"),
    };
    follow(desk, &id, &headers, body, order).await
}

async fn follow(
    desk: Desk,
    id: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    order: impl FnOnce(Signed) -> Result<Order, &'static str>,
) -> Response {
    let allowed = match desk.token {
        Some(token) => token.allows(headers).await,
        None => Err(Denied::Off),
    };
    if let Err(denied) = allowed {
        tracing::warn!(operation = id, reason = %denied, "an order was denied");
        return denied.reply();
    }
    let Ok(id) = OperationId::parse(id) else { return no_id() };
    let wanted = |why: &str| {
        let detail = format!(r#"the body is JSON, {{"by": "NAME", "reason": "WHY"}}: {why}"#);
        reply::problem(StatusCode::BAD_REQUEST, &detail)
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return reply::problem(error.status(), &error.body_text()),
    };
    let order = match serde_json::from_slice(&body) {
        Ok(signed) => order(signed),
        Err(error) => return wanted(&error.to_string()),
    };
    match order {
        Ok(order) => match desk.operations.order(id, order).await {
            Ok(operation) => reply::json(StatusCode::OK, &operation),
            Err(refused) => reply::problem(status(&refused), &refused.to_string()),
        },
        Err(why) => wanted(why),
    }
}

fn status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::NoSuch => StatusCode::NOT_FOUND,
        Refused::Halt(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Ended
        | Refused::UnderWay
        | Refused::NothingToAttempt
        | Refused::TooOften
        | Refused::Elsewhere
        | Refused::Of(_)
        | Refused::NobodyRuns => StatusCode::CONFLICT,
    }
}
