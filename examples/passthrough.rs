//! The proxy without rules, for measuring: `passthrough LISTEN UPSTREAM [WORKERS]`.

use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::proxy::{Config, Cors, Forwarded, Interceptor, Metrics, Names, Parts, Proxy};
use authz_sidecar::rules::{Matched, Rules};
use authz_sidecar::upstream::{self, Body};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;

struct Nobody;

impl Interceptor for Nobody {
    fn call(&self, _: Matched, _: Request<Bytes>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async { Response::new(Body::whole(Bytes::new(), None)) })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or_else(|| format!("{name} is missing"));
    let listen = next("LISTEN")?.parse()?;
    let endpoint = next("UPSTREAM")?.parse()?;
    let workers = next("WORKERS").ok().map(|count| count.parse()).transpose()?;
    let parts = Parts {
        router: Arc::new(Rules::default()),
        interceptor: Arc::new(Nobody),
        control: tokio::runtime::Handle::current(),
        endpoint,
        upstream: upstream::Config::default(),
        forwarded: Forwarded { trust: Vec::new() },
        cors: Cors::default(),
        credentials: Names::default(),
        metrics: Metrics::default(),
    };
    let proxy = Proxy::bind(listen, Config { workers, ..Config::default() }, parts)?;
    proxy.run(CancellationToken::new(), Duration::ZERO).await?;
    Ok(())
}
