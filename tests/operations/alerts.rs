//! The alerts that `deploy/` ships name only metrics that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::repository;
use crate::world::World;

/// Names of our metrics in `text`.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("authz_sidecar_")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_the_alerts_name_only_metrics_that_there_are() {
    let text = std::fs::read_to_string(repository("deploy/alerts.yaml")).unwrap();
    let document: Value = serde_saphyr::from_str(&text).unwrap();
    let rules = document["groups"][0]["rules"].as_array().unwrap();
    let world = World::start().await;
    let metrics = world.sidecar.metrics().await;
    // Families without series yet are told by their type line only; a counter's samples end in
    // `_total`.
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<String> = types
        .filter_map(|line| line.split_once(' '))
        .flat_map(|(name, kind)| match kind {
            "counter" => vec![format!("{name}_total")],
            "histogram" => vec![format!("{name}_bucket")],
            _ => vec![name.to_owned()],
        })
        .collect();
    assert!(rules.len() >= 5);
    for rule in rules {
        let used = named(rule["expr"].as_str().unwrap());
        assert!(!used.is_empty(), "{rule}");
        assert!(used.is_subset(&known), "{rule}: {:?}", used.difference(&known));
        let told = rule["annotations"]["description"].as_str().unwrap();
        assert!(told.len() > 40, "{rule}");
    }
}
