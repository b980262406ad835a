//! The root of all metrics.

use std::fmt;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The media type of what [`encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An empty registry, but for `authz_sidecar_build_info`. Each component registers its own
/// metrics in it, under the prefix `authz_sidecar`.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix("authz_sidecar");
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "What is running", build);
    registry
}

/// All metrics as OpenMetrics text, which Prometheus reads.
///
/// # Errors
/// When a metric can't be written, which none of ours gives cause for.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn names_carry_the_prefix_and_the_build_is_told() {
        let mut registry = registry();
        registry.register("requests", "Requests", Counter::<u64>::default());
        let text = encode(&registry).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let build = format!("authz_sidecar_build_info{{version=\"{version}\"}} 1\n");
        assert!(text.contains(&build), "{text}");
        assert!(text.contains("authz_sidecar_requests_total 0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
