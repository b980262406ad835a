//! Straight on the journal, and what happens where nobody can be asked.

use crate::world::{World, id, records, run};

fn journal(world: &World) -> String {
    format!("sqlite:{}", world.sidecar.directory().join("journal.db").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_journal_that_a_sidecar_has_open_names_it_and_the_way_to_ask() {
    let world = World::start().await;
    let refused = run(&["list", "--journal", &journal(&world)]).await.failed(1);
    let holder = format!("process {} on ", world.sidecar.pid());
    assert!(refused.contains(&holder) && refused.contains("has it open"), "{refused}");
    assert!(refused.contains("--admin http://"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_while_no_sidecar_runs_its_journal_is_asked_and_takes_a_discard() {
    let mut world = World::start().await;
    let operation = id(&world.stuck_undo().await);
    world.sidecar.kill9().await;
    let (at, config) = (journal(&world), world.sidecar.directory().join("config.yaml"));
    let listed = run(&["list", "--journal", &at]).await.ok();
    assert!(listed.contains(&operation), "{listed}");
    let shown = run(&["show", &operation, "--journal", &at]).await.ok();
    assert!(shown.contains("until a sidecar runs"), "{shown}");
    let retry = run(&["retry", &operation, "--journal", &at]).await.failed(4);
    assert!(retry.contains("start it"), "{retry}");
    // The configuration says where the journal is, once nobody listens on the port.
    let fixed = world.sidecar.admin_address().to_owned();
    let text = std::fs::read_to_string(&config).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["admin"] = fixed.into();
    std::fs::write(&config, document.to_string()).unwrap();
    let config = config.display().to_string();
    let order = ["discard", &operation, "--reason", "the row stays", "--config", &config, "--json"];
    let ordered = run(&order).await;
    assert!(ordered.err.contains("the journal is opened"), "{}", ordered.err);
    let shown = ordered.json();
    assert_eq!(shown["phase"], "finished_discarded");
    assert!(records(&shown).ends_with(&["discarded", "finished"]), "{shown:#}");
    world.keys.mend();
    world.sidecar.restart().await;
    assert_eq!(world.sidecar.operations().await.len(), 0);
    assert_eq!(world.keys.rows().len(), 1, "nobody undoes it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_where_nobody_can_be_asked_the_command_says_what_to_name() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let nobody = run(&["list", "--admin", &port]).await.failed(1);
    assert!(nobody.contains("--journal"), "{nobody}");
    let missing = run(&["list", "--journal", "sqlite:/nowhere/at/all.db"]).await.failed(1);
    assert!(missing.contains("there is no journal at"), "{missing}");
    run(&["list", "--admin", &port, "--journal", "sqlite:/j.db"]).await.failed(2);
    run(&["show", "nonsense"]).await.failed(2);
}
