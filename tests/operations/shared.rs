//! Straight on a journal in PostgreSQL, which sidecars may have open at the same time.

use std::path::PathBuf;

use serde_json::json;

use crate::support::database::Database;
use crate::support::eventually;
use crate::world::{Run, World, id, records, run};

/// A sidecar on a journal in PostgreSQL, and an operator who has its configuration at hand.
struct Place {
    world: World,
    url: String,
    config: PathBuf,
}

impl Place {
    async fn new() -> Self {
        let database = Database::new().await;
        let lease = json!({"lease": "6s", "allow_no_fsync": true});
        let url = database.url();
        let world = World::with(|config| {
            config.set("/journal/url", url.as_str()).set("/journal/postgres", lease)
        })
        .await;
        let config = world.sidecar.directory().join("config.yaml");
        Self { world, url, config }
    }

    /// Runs `authz-sidecar operations …` straight on the journal. The tests' server has no fsync,
    /// which only the configuration allows.
    async fn straight(&self, arguments: &[&str]) -> Run {
        let config = self.config.to_str().unwrap();
        run(&[arguments, &["--journal", &self.url, "--config", config]].concat()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_beside_a_running_sidecar_its_journal_tells_and_leaves_the_orders_to_it() {
    let place = Place::new().await;
    let operation = id(&place.world.stuck_undo().await);
    let listed = place.straight(&["list"]).await.ok();
    assert!(listed.contains(&operation), "{listed}");
    let shown = place.straight(&["show", &operation]).await.ok();
    assert!(shown.contains("by the replica that carries it on"), "{shown}");
    let discard = ["discard", &operation, "--reason", "the row stays"];
    let refused = place.straight(&discard).await.failed(4);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let owner = format!("replica {} carries the operation on", host.trim());
    assert!(refused.contains(&owner) && refused.contains("admin port"), "{refused}");
    let refused = place.straight(&["retry", &operation]).await.failed(4);
    assert!(refused.contains("admin port"), "{refused}");
    // Nothing of that disturbed the sidecar.
    let shown = place.world.operator(&["show", &operation, "--json"]).await.json();
    assert_eq!((&shown["phase"], &shown["carried_on"]), (&json!("undoing"), &json!(true)));
    place.world.keys.mend();
    let undone = async || place.world.keys.rows().is_empty().then_some(());
    eventually("it is undone", undone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_journal_in_postgresql_without_a_sidecar_takes_a_discard_once_the_lease_is_over() {
    let mut place = Place::new().await;
    let operation = id(&place.world.stuck_undo().await);
    place.world.sidecar.kill9().await;
    let discard = ["discard", &operation, "--reason", "the row stays", "--json"];
    let refused = place.straight(&discard).await.failed(4);
    assert!(refused.contains("once its lease has run out"), "{refused}");
    let ordered = eventually("the end of its lease", async || {
        let ordered = place.straight(&discard).await;
        (ordered.code != 4).then_some(ordered)
    })
    .await
    .json();
    assert_eq!(ordered["phase"], "finished_discarded");
    assert!(records(&ordered).ends_with(&["discarded"]), "{ordered:#}");
    let again = place.straight(&discard).await.failed(4);
    assert!(again.contains("has ended"), "{again}");
    let listed = place.straight(&["list"]).await.ok();
    assert!(!listed.contains(&operation), "{listed}");
    place.world.keys.mend();
    place.world.sidecar.restart().await;
    assert_eq!(place.world.sidecar.operations().await.len(), 0);
    assert_eq!(place.world.keys.rows().len(), 1, "nobody undoes it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_journal_in_postgresql_that_was_left_in_order_takes_a_discard_at_once() {
    let mut place = Place::new().await;
    let operation = id(&place.world.stuck_undo().await);
    assert!(place.world.sidecar.stop().await.success());
    let unknown = uuid::Uuid::now_v7().to_string();
    place.straight(&["discard", &unknown, "--reason", "why not"]).await.failed(3);
    let discard = ["discard", &operation, "--reason", "the row stays", "--json"];
    assert_eq!(place.straight(&discard).await.json()["phase"], "finished_discarded");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_without_its_configuration_a_server_without_fsync_is_refused_with_the_setting() {
    let place = Place::new().await;
    let refused = run(&["list", "--journal", &place.url]).await.failed(1);
    assert!(refused.contains("fsync"), "{refused}");
}
