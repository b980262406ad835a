//! Straight on the journal, and what happens where nobody can be asked.

use authz_sidecar::dualwrite::index::begin;
use authz_sidecar::journal::{Config, Journal, Location, Metrics, open};
use authz_sidecar::model::{
    As, Confirm, CreatePlan, Effect, Entry, IdCall, Ids, Kind, Mode, Newness, Opening, OperationId,
    Plan, Pointer, Record, ResourceType, Timestamp, Undo,
};

use serde_json::json;

use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
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
    assert!(records(&shown).ends_with(&["discarded"]), "{shown:#}");
    world.keys.mend();
    world.sidecar.restart().await;
    assert_eq!(world.sidecar.operations().await.len(), 0);
    assert_eq!(world.keys.rows().len(), 1, "nobody undoes it any more");
}

/// Kills the sidecar in the middle of an operation at `phase`, discards that, and starts it again:
/// nothing is done for it any more. Gives the records and where it stood.
async fn discarded_under_way(world: &mut World, phase: &str) -> (Vec<String>, String) {
    let operation = id(&world.stands(phase).await);
    world.sidecar.kill9().await;
    let at = journal(world);
    let shown = run(&["show", &operation, "--journal", &at, "--json"]).await.json();
    assert_eq!(shown["phase"], phase, "{shown:#}");
    assert!(shown["discarding"].is_string(), "{shown:#}");
    let order = ["discard", &operation, "--reason", "it stays", "--journal", &at, "--json"];
    let shown = run(&order).await.json();
    assert_eq!(shown["phase"], "finished_discarded", "{shown:#}");
    let again = run(&order).await.failed(4);
    assert!(again.contains("ended"), "{again}");
    world.sidecar.restart().await;
    assert_eq!(world.sidecar.operations().await.len(), 0);
    let history = shown["history"].as_array().unwrap();
    let discarded = history.iter().find(|one| one["record"] == "discarded").unwrap();
    assert_eq!(discarded["reason"], "it stays");
    let stood = discarded["phase"].as_str().unwrap().to_owned();
    (records(&shown).into_iter().map(str::to_owned).collect(), stood)
}

/// First it is taken where a restart would take it: an effect may come of it.
#[tokio::test(flavor = "multi_thread")]
async fn p9_a_create_that_was_under_way_is_discarded_and_its_row_stays() {
    let mut world = World::start().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_before(&gate));
    let create = world.sidecar.client().post("/agent_api_keys").header("x-user-id", "u-1");
    create.json(&json!({"agent_id": AGENT, "name": "n"})).hang_up().await;
    gate.reached(1).await;
    let (records, stood) = discarded_under_way(&mut world, "prepared").await;
    assert_eq!(records, ["prepared", "closed", "discarded"]);
    assert_eq!(stood, "unknown");
    gate.open();
    eventually("the row", || async { (world.keys.rows().len() == 1).then_some(()) }).await;
    assert!(world.provider.registered().is_empty());
    assert_eq!(world.keys.calls(Route::Delete), 0, "nobody undoes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_create_that_was_being_registered_is_discarded_and_its_row_stays() {
    let mut world = World::start().await;
    let register = world.provider.register().lands_after();
    let create = world.sidecar.client().post("/agent_api_keys").header("x-user-id", "u-1");
    create.json(&json!({"agent_id": AGENT, "name": "n"})).hang_up().await;
    register.arrived(1).await;
    let (records, stood) = discarded_under_way(&mut world, "committed").await;
    assert_eq!(records, ["prepared", "committed", "undoing", "discarded"]);
    assert_eq!(stood, "undoing");
    register.release();
    eventually("the registration lands", || async {
        (world.provider.registered().len() == 1).then_some(())
    })
    .await;
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(world.keys.calls(Route::Delete), 0, "nobody undoes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_delete_that_was_under_way_is_discarded_and_its_relationships_stay() {
    let mut world = World::start().await;
    let key = world.create("n").await.id();
    // Its end comes after the answer.
    let is_over = async || world.sidecar.operations().await.is_empty().then_some(());
    eventually("the create has ended", is_over).await;
    let gate = Gate::closed();
    world.keys.on(Route::Delete, Fault::once().held_before(&gate));
    let target = format!("/agent_api_keys/{key}");
    world.sidecar.client().delete(&target).header("x-user-id", "u-1").hang_up().await;
    gate.reached(1).await;
    let (records, stood) = discarded_under_way(&mut world, "prepared").await;
    assert_eq!(records, ["prepared", "closed", "discarded"]);
    assert_eq!(stood, "looking");
    gate.open();
    eventually("the row goes", || async { world.keys.rows().is_empty().then_some(()) }).await;
    assert_eq!(world.provider.registered().len(), 1, "nobody deregisters it");
}

/// As after an outage of days: thousands are unfinished, and every hundredth waits for a person.
#[tokio::test(flavor = "multi_thread")]
async fn p8_p9_of_thousands_each_page_reads_its_own_and_all_are_listed_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let journal =
        open(&Config::at(Location::Sqlite(path.clone())), Metrics::default()).await.unwrap();
    let (mut expected, mut calls) = (Vec::new(), Vec::new());
    for n in 0..4000_u16 {
        let (operation, at) = (OperationId::new(), Timestamp::from_micros(1_000 + i64::from(n)));
        let mut records = vec![prepared(at), Record::Closed { effect: Effect::MayCome }];
        if n % 100 == 7 {
            let why = "journal.exclusive_writer is not set".into();
            records.push(Record::Reported { rows: Vec::new(), why });
        }
        let entries = records.into_iter().map(|record| Entry { at, record }).collect();
        calls.push(journal.append(begin(operation, entries).unwrap().1));
        expected.push(operation.to_string());
    }
    futures_util::future::try_join_all(calls).await.unwrap();
    drop(journal);
    let at = format!("sqlite:{}", path.display());
    let ids = |listed: &serde_json::Value| -> Vec<String> {
        listed["operations"].as_array().unwrap().iter().map(id).collect()
    };
    let all = run(&["list", "--limit", "0", "--json", "--journal", &at]).await.json();
    assert!(ids(&all) == expected, "{} of 4000", ids(&all).len());
    let first = run(&["list", "--limit", "5", "--json", "--journal", &at]).await.json();
    assert_eq!((ids(&first), &first["more"]), (expected[..5].to_vec(), &true.into()));
    let stuck = ["list", "--stuck", "--limit", "30", "--json", "--journal", &at];
    let first = run(&stuck).await.json();
    let reported: Vec<_> = expected.iter().skip(7).step_by(100).cloned().collect();
    assert_eq!((ids(&first), &first["more"]), (reported[..30].to_vec(), &true.into()));
    let after = first["after"].as_str().unwrap();
    let rest = run(&[&stuck[..], &["--after", after]].concat()).await.json();
    assert_eq!((ids(&rest), &rest["more"]), (reported[30..].to_vec(), &false.into()));
}

fn prepared(intent: Timestamp) -> Record {
    let call = |method: &str| IdCall {
        method: method.into(),
        before: "/keys/".into(),
        after: String::new(),
        credentials: As::Service,
    };
    let pointer = || Pointer::parse("/id").unwrap();
    let kind = Kind::Create(CreatePlan {
        id: pointer(),
        names: None,
        parent: None,
        undo: Undo { call: call("DELETE"), accepted_on: vec![204] },
        confirm: Confirm { call: call("GET"), gone_on: vec![404], id: pointer() },
        probe: None,
        before: false,
        new: Newness::Always,
        keeps_owner: false,
        replayed: false,
    });
    let resource_type = ResourceType::new("api_key");
    let commits = authz_sidecar::model::Commits::Late;
    let plan = Plan {
        rule: "create-key".into(),
        mode: Mode::Enforce,
        resource_type,
        commits,
        ids: Ids::Fresh,
        kind,
    };
    Record::Prepared(Opening::new(plan, intent))
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
