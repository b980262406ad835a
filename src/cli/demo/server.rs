//! What both services of the demo stand on: a socket of their own, and a gate that holds answers
//! back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A service on a free port of loopback, until it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    /// Binds and serves.
    pub(super) async fn start(router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            // It serves for ever, and is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, serving })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Holds answers back while it is closed: what was asked for has happened by then. Clones are one
/// gate.
#[derive(Clone)]
pub(super) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// Lets answers pass, those held back too.
    pub(super) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Holds answers back from now on.
    pub(super) fn close(&self) {
        self.0.send_replace(false);
    }

    /// Returns when the gate is open.
    pub(super) async fn pass(&self) {
        // An error would mean that the sender is gone, and this is the sender.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }
}

/// An answer that says no, in the keys service's form (contract keys-service.md, "Errors").
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        json(self.0, &json!({"detail": self.1}))
    }
}

/// An answer.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    (status, axum::Json(body)).into_response()
}
