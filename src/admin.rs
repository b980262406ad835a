//! stub
use crate::{journal::Journal, model::OperationId};
use axum::{Json, Router, extract::State, routing::get};
use prometheus_client::registry::Registry;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
#[async_trait::async_trait]
pub trait Operations: Send + Sync + 'static {
    async fn list(&self, limit: usize) -> Result<Vec<serde_json::Value>, String>;
    async fn show(&self, id: OperationId) -> Result<Option<serde_json::Value>, String>;
}
#[derive(Clone)]
pub struct Health(Arc<dyn Journal>);
impl Health {
    pub fn new(j: Arc<dyn Journal>) -> Self {
        Self(j)
    }
    pub fn set_listening(&self, _l: bool) {}
}
pub struct BindError {
    pub setting: &'static str,
    pub address: SocketAddr,
    pub error: io::Error,
}
pub struct Bound {
    health: TcpListener,
    admin: TcpListener,
    registry: Arc<Registry>,
}
impl Bound {
    pub async fn bind(
        health: SocketAddr,
        admin: SocketAddr,
        registry: Registry,
    ) -> Result<Self, BindError> {
        let b = |setting, address| async move {
            TcpListener::bind(address).await.map_err(|error| BindError { setting, address, error })
        };
        Ok(Self {
            health: b("health", health).await?,
            admin: b("admin", admin).await?,
            registry: Arc::new(registry),
        })
    }
    pub fn health_addr(&self) -> io::Result<SocketAddr> {
        self.health.local_addr()
    }
    pub fn admin_addr(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }
    pub async fn serve(self, _h: Health, ops: Arc<dyn Operations>, stop: CancellationToken) {
        let registry = self.registry;
        let health = Router::new().route("/readyz", get(|| async { "{}" })).route(
            "/metrics",
            get(move || async move {
                let mut s = String::new();
                prometheus_client::encoding::text::encode(&mut s, &registry).unwrap();
                s
            }),
        );
        let admin = Router::new()
            .route(
                "/operations",
                get(|State(o): State<Arc<dyn Operations>>| async move {
                    Json(o.list(1000).await.unwrap())
                }),
            )
            .with_state(ops);
        tokio::select! { _ = axum::serve(self.health, health) => {}, _ = axum::serve(self.admin, admin) => {}, () = stop.cancelled() => {} }
    }
}
