//! The health port: `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::server::{Limits, serve};
use super::{Health, reply};

/// The media type of the metrics, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves probes and metrics until `stop`.
///
/// - `/livez`: 200 while the journal works, else 503 with the reason. Only a restart helps then.
/// - `/readyz`: 200 while clients are served, else 503 with what is missing. A back end that
///   fails is `degraded`, with 200: to send clients elsewhere would not help them.
/// - `/metrics`: OpenMetrics text.
pub async fn serve_health(
    listener: TcpListener,
    health: Arc<Health>,
    registry: Arc<Registry>,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(metrics)).with_state(registry))
        .fallback(reply::no_such_page);
    serve(listener, router, limits, stop).await;
}

async fn live(State(health): State<Arc<Health>>) -> Response {
    match health.alive() {
        Ok(()) => reply::json(StatusCode::OK, &json!({"alive": true})),
        Err(reason) => {
            let body = json!({"alive": false, "reason": reason});
            reply::json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let readiness = health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::json(status, &readiness)
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => reply::problem(StatusCode::INTERNAL_SERVER_ERROR, "a metric can't be written"),
    }
}
