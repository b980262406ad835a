//! Retry and discard, against a running sidecar.

use serde_json::Value;

use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::world::{World, id, records};

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_stuck_undo_is_listed_explained_and_retried_at_once() {
    let world = World::with(|config| config.set("/bounds/retry", "10m")).await;
    let operation = id(&world.stuck_undo().await);
    let listed = world.operator(&["list", "--stuck"]).await.ok();
    assert!(listed.contains(&operation) && listed.contains("stuck: "), "{listed}");
    let stuck = || world.sidecar.metric("authz_sidecar_operations_stuck", "create-key");
    assert!((stuck().await - 1.0).abs() < f64::EPSILON, "it alarms");
    let shown = world.operator(&["show", &operation]).await.ok();
    for part in ["undo's DELETE", "500", "discarding", "history", "undoing"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Until its next attempt is some seconds away.
    let waiting = |op: &Value| op["attempts"].as_u64() >= Some(9) && op["next_at"].is_string();
    world.sidecar.wait_operation("a long pause", waiting).await;
    world.keys.mend();
    let retried = world.operator(&["retry", &operation, "--reason", "mended", "--json"]).await;
    let due = retried.json();
    world.sidecar.wait_operation("it gets on", |one| one["stuck"] == false).await;
    let shown = world.operator(&["show", &operation, "--json"]).await.json();
    assert!(records(&shown).contains(&"retried"), "{shown:#}");
    let retried =
        shown["history"].as_array().unwrap().iter().find(|one| one["record"] == "retried");
    let retried = retried.unwrap();
    assert_eq!((&retried["by"], &retried["reason"]), (&"alice".into(), &"mended".into()));
    assert_eq!(shown["stuck"], false, "{due:#} {shown:#}");
    assert!(stuck().await.abs() < f64::EPSILON, "it does no longer");
}

/// Discards an operation, and shows that nothing is done for it any more, after a restart either.
async fn discarded(world: &mut World, operation: &Value) {
    let (id, phase) = (id(operation), operation["phase"].as_str().unwrap());
    let order = ["discard", &id, "--by", "bob", "--reason", "the row stays"];
    let told = world.operator(&order).await.ok();
    assert!(told.contains("Discarded"), "{told}");
    assert_eq!(world.operator(&order).await.failed(4).lines().count(), 1, "only once");
    assert!(!world.sidecar.operations().await.iter().any(|open| open["id"] == id.as_str()));
    world.sidecar.restart().await;
    let shown = world.operator(&["show", &id, "--json"]).await.json();
    assert_eq!(shown["phase"], "finished_discarded", "{shown:#}");
    assert!(records(&shown).ends_with(&["discarded"]), "{shown:#}");
    let audit = shown["history"].as_array().unwrap().last().unwrap();
    let told = ["by", "phase", "reason"].map(|part| audit[part].as_str().unwrap());
    assert_eq!(told, ["bob", phase, "the row stays"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_undo_is_discarded_and_its_row_stays() {
    let mut world = World::start().await;
    let stuck = world.stuck_undo().await;
    discarded(&mut world, &stuck).await;
    let calls = world.keys.calls(Route::Delete);
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(world.sidecar.operations().await.len(), 0);
    assert_eq!(world.keys.calls(Route::Delete), calls, "nobody undoes it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_client_that_waits_for_an_undo_is_not_told_that_a_discard_was_one() {
    let world = World::with(|config| {
        config.set("/bounds/reply", "20s").rule("create-key", "/commits", "before_answer")
    })
    .await;
    world.keys.on(Route::Delete, Fault::always().without_effect().status(500));
    world.provider.register().answers(403);
    let (answer, ()) = tokio::join!(world.create("n"), async {
        let undoing = world.stands("undoing").await;
        let order = ["discard", &id(&undoing), "--reason", "the row stays"];
        world.operator(&order).await.ok();
    });
    assert_eq!(answer.status, 503);
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(answer.json()["undo"], "unknown", "{}", answer.text());
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("a person"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_create_of_unknown_outcome_is_discarded() {
    let mut world = World::start().await;
    let unknown = world.unknown("n").await;
    discarded(&mut world, &unknown).await;
    assert_eq!(world.keys.rows().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_waits_for_late_effects_or_for_the_back_end_is_discarded() {
    let mut world = World::start().await;
    world.provider.register().once().answers(403);
    assert_eq!(world.create("undone").await.status, 503);
    let waiting = world.stands("undoing").await;
    discarded(&mut world, &waiting).await;
    let made = world.create("deleted").await.id();
    world.provider.deregister().answers(503);
    assert_eq!(world.delete(&made).await.status, 200);
    let gone = world.stands("looking").await;
    discarded(&mut world, &gone).await;
    world.provider.deregister().reset();
    assert_eq!(world.provider.registered().len(), 1, "it stays, as ordered");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_reported_create_without_probe_waits_for_a_person_and_no_longer() {
    let short = std::time::Duration::from_secs(1);
    let mut world = World::with(|config| {
        let rules = serde_json::json!(null);
        config.late_effect(short).rule("create-key", "/probe", rules)
    })
    .await;
    world.keys.on(Route::Create, Fault::once().status(500));
    assert_eq!(world.create("n").await.status, 500);
    let reported = world.stands("reported").await;
    let retry = world.operator(&["retry", &id(&reported)]).await.failed(4);
    assert!(retry.contains("nothing to attempt"), "{retry}");
    let metric = world.sidecar.metric("authz_sidecar_operations_reported", "create-key").await;
    assert!((metric - 1.0).abs() < f64::EPSILON);
    discarded(&mut world, &reported).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_id_that_is_another_creates_is_reported_until_a_person_discards_it() {
    let mut world = World::start().await;
    let first = world.create("first").await.id();
    let taken = first.clone();
    world.keys.on(
        Route::Create,
        Fault::once().changed(move |answer| {
            let text = String::from_utf8(answer.body.clone()).unwrap();
            let own: Value = serde_json::from_str(&text).unwrap();
            answer.body = text.replace(own["id"].as_str().unwrap(), &taken).into_bytes();
        }),
    );
    assert_eq!(world.create("second").await.status, 503);
    let reported = world.stands("reported").await;
    assert_eq!(reported["carried_on"], true, "{reported:#}");
    discarded(&mut world, &reported).await;
    assert!(world.keys.rows().contains(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_create_under_way_takes_no_order() {
    let world = World::start().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_before(&gate));
    let (answer, ()) = tokio::join!(world.create("n"), async {
        let prepared = world.stands("prepared").await;
        for verb in [&["discard", "--reason", "no"][..], &["retry"][..]] {
            let operation = id(&prepared);
            let order = [verb, &[operation.as_str()]].concat();
            let refused = world.operator(&order).await.failed(4);
            assert!(refused.contains("under way"), "{refused}");
        }
        gate.open();
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_late_answer_does_not_undo_what_was_discarded_and_is_logged() {
    let world = World::with(|config| config.set("/bounds/exchange", "300ms")).await;
    let gate = Gate::closed();
    world.keys.on(Route::List, Fault::always().without_effect().status(500));
    world.keys.on(Route::Create, Fault::once().held_after(&gate));
    assert_eq!(world.create("n").await.status, 504);
    let unknown = world.stands("unknown").await;
    world.operator(&["discard", &id(&unknown), "--reason", "it stays"]).await.ok();
    gate.open();
    let told = || async {
        let log = world.sidecar.log();
        log.into_iter().find(|line| line.contains("a late answer names a row"))
    };
    let told = crate::support::eventually("the late answer is logged", told).await;
    let row = world.keys.rows().into_iter().next().unwrap();
    assert!(told.contains(&row), "{told}");
    assert_eq!(world.keys.calls(Route::Delete), 0);
    assert_eq!(world.sidecar.operations().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_all_operations_can_be_listed_page_by_page() {
    let world = World::start().await;
    world.keys.on(Route::List, Fault::always().without_effect().status(500));
    for name in ["a", "b", "c"] {
        world.keys.on(Route::Create, Fault::once().status(500));
        assert_eq!(world.create(name).await.status, 500, "{AGENT}");
    }
    let all = world.operator(&["list", "--limit", "0", "--json"]).await.json();
    let all: Vec<_> = all["operations"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(all.len(), 3);
    let first = world.operator(&["list", "--limit", "2", "--json"]).await.json();
    assert_eq!(
        first["operations"].as_array().unwrap().iter().map(id).collect::<Vec<_>>(),
        all[..2]
    );
    let after = first["after"].as_str().unwrap();
    let rest = world.operator(&["list", "--after", after, "--json"]).await.json();
    assert_eq!(rest["operations"].as_array().unwrap().iter().map(id).collect::<Vec<_>>(), all[2..]);
    assert_eq!((&rest["more"], &rest["after"]), (&Value::Bool(false), &Value::Null));
}
