//! stub
pub fn registry() -> prometheus_client::registry::Registry {
    prometheus_client::registry::Registry::with_prefix("authz_sidecar")
}
pub fn init(log: Option<&str>) -> Result<(), String> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(log.unwrap_or("info")).map_err(|e| e.to_string())?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|e| e.to_string())
}
