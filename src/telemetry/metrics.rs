//! The root of all metrics.

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// An empty registry, but for `authz_sidecar_build_info`. Each component registers its own
/// metrics in it, under the prefix `authz_sidecar`.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix("authz_sidecar");
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "What is running", build);
    registry
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn names_carry_the_prefix_and_the_build_is_told() {
        let mut registry = registry();
        registry.register("requests", "Requests", Counter::<u64>::default());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let build = format!("authz_sidecar_build_info{{version=\"{version}\"}} 1\n");
        assert!(text.contains(&build), "{text}");
        assert!(text.contains("authz_sidecar_requests_total 0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
