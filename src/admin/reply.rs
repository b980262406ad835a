//! Answers of the two ports.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// A JSON answer. Nothing on these ports may be kept by a cache.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    typed(status, "application/json", body)
}

/// A problem (RFC 9457).
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({"title": title, "status": status.as_u16(), "detail": detail});
    typed(status, "application/problem+json", &body)
}

pub(super) async fn no_such_page() -> Response {
    problem(StatusCode::NOT_FOUND, "there is no such page on this port")
}

fn typed(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, media_type)];
    match serde_json::to_string(body) {
        Ok(text) => (status, headers, text + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
