//! The service misbehaves while a key is being created.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::REGISTER;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_service_that_refuses_connections_was_sent_nothing() {
    let world = World::new().await;
    world.keys.down().await;
    world.create("k").send().await.expect_problem(502, "upstream-unreachable");
    world.keys.up();
    world.quiescent().await;
    assert_eq!(world.keys.calls(Route::Create), 0);
    assert_eq!(world.asked(REGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_500_before_the_insert_is_passed_on_and_nothing_else_happens() {
    let world = World::new().await;
    world.keys.on(Route::Create, Fault::once().without_effect().status(500));
    let answer = world.create("k").send().await.expect(500);
    assert_eq!(answer.text("detail"), "as the test wants", "the service's own words");
    world.operation_in("unknown").await;
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 0);
    assert_eq!(world.asked(REGISTER), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_500_after_the_insert_is_passed_on_and_the_row_is_claimed_and_undone() {
    for status in [500, 503, 408] {
        let world = World::new().await;
        world.keys.on(Route::Create, Fault::once().status(status));
        world.create("k").send().await.expect(status);
        world.comes_to_nothing().await;
        assert_eq!(world.keys.calls(Route::Delete), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_what_others_may_have_made_is_reported_and_not_undone() {
    let world = World::with(|settings| settings.exclusive_writer = false).await;
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    let operation = world.operation_in("reported").await;
    let why = operation["known"].as_str().unwrap();
    assert!(why.contains("exclusive_writer"), "{operation}");
    assert!(operation["remedy"].is_string(), "{operation}");
    assert_eq!(world.keys.rows().len(), 1);
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_row_that_was_there_before_the_create_is_never_undone() {
    let world = World::new().await;
    let older = world.keys.insert(AGENT, "k", "external");
    world.keys.on(Route::Create, Fault::once().without_effect().status(500));
    world.create("k").send().await.expect(500);
    world.quiescent().await;
    assert_eq!(world.keys.rows(), [older].into());
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p4_of_two_rows_the_one_that_was_there_before_stands_and_the_create_s_own_is_undone() {
    let world = World::new().await;
    let older = world.keys.insert(AGENT, "k", "external");
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    world.quiescent().await;
    assert_eq!(world.keys.rows(), [older].into());
}

/// Without the list before, an older row can't be told from the create's own.
#[tokio::test(flavor = "multi_thread")]
async fn p4_where_the_rows_before_could_not_be_listed_none_is_undone() {
    let world = World::new().await;
    world.keys.insert(AGENT, "k", "external");
    world.keys.on(Route::List, Fault::once().without_effect().status(500));
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    let operation = world.operation_in("reported").await;
    let why = operation["known"].as_str().unwrap();
    assert!(why.contains("no complete list from before"), "{operation}");
    assert_eq!(world.keys.rows().len(), 2);
    assert_eq!(world.keys.calls(Route::Delete), 0);
}

/// The client tried again under the same name, and both answers were lost. The first to look must not
/// take the other's row for its own and leave: each row is undone.
#[tokio::test(flavor = "multi_thread")]
async fn s1_p2_a_row_that_comes_after_its_create_s_rival_was_undone_is_undone_too() {
    let world = World::new().await;
    let commit = Gate::closed();
    world.keys.on(Route::Create, Fault::once().lands_after(&commit).status(500));
    world.keys.on(Route::Create, Fault::once().cut_in_body());
    world.create("k").send().await.expect(500);
    world.create("k").send().await.expect_problem(502, "upstream-cut");
    world.has_asked(Route::Delete, 1).await;
    commit.open();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_answer_that_is_cut_is_a_502_and_its_row_is_undone() {
    let faults = [
        Fault::once().cut_in_head(),
        Fault::once().cut_in_body(),
        Fault::once().closes(),
        Fault::once().bytes(*b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    ];
    for fault in faults {
        let world = World::new().await;
        world.keys.on(Route::Create, fault);
        world.create("k").send().await.expect_problem(502, "upstream-cut");
        world.comes_to_nothing().await;
        assert_eq!(world.asked(REGISTER), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_success_that_names_no_row_is_no_success() {
    let faults = [
        ("no id", Fault::once().changed(|answer| answer.body = br#"{"ok": true}"#.to_vec())),
        ("null", Fault::once().changed(|answer| answer.body = br#"{"id": null}"#.to_vec())),
        ("no JSON", Fault::once().changed(|answer| answer.body = br#"{"id": "x""#.to_vec())),
        ("204", Fault::once().changed(|a| (a.status, a.body) = (204, Vec::new()))),
        ("202", Fault::once().changed(|answer| answer.status = 202)),
        ("206", Fault::once().changed(|answer| answer.status = 206)),
    ];
    for (what, fault) in faults {
        let world = World::new().await;
        world.keys.on(Route::Create, fault);
        let answer = world.create(what).send().await.expect_undone("pending");
        assert!(answer.header("retry-after").is_some(), "{what}");
        world.comes_to_nothing().await;
        assert_eq!(world.asked(REGISTER), 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_201_with_an_id_is_a_success_and_stays_a_201() {
    let world = World::new().await;
    world.keys.on(Route::Create, Fault::once().changed(|answer| answer.status = 201));
    world.create("k").send().await.expect(201);
    world.quiescent().await;
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_redirect_says_nothing_and_its_row_is_undone() {
    for status in [301, 302, 303] {
        let world = World::new().await;
        world.keys.on(Route::Create, Fault::once().changed(move |answer| answer.status = status));
        world.create("k").send().await.expect_problem(502, "upstream-invalid");
        world.comes_to_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_gzipped_answer_is_read_in_a_copy_and_passed_on_as_it_was() {
    let world = World::new().await;
    let gzip = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let sent = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let copy = sent.clone();
    let zip = Fault::once().changed(move |answer| {
        answer.body = gzip(&answer.body);
        answer.headers.push(("content-encoding".into(), "gzip".into()));
        copy.lock().unwrap().clone_from(&answer.body);
    });
    world.keys.on(Route::Create, zip);
    let answer = world.create("k").header("accept-encoding", "gzip").send().await.expect(200);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.body, *sent.lock().unwrap());
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.keys.rows().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_an_answer_over_the_limit_is_not_read_and_its_row_is_undone() {
    let world = World::with(|settings| settings.answer = "4KiB").await;
    let long = Fault::once().changed(|answer| {
        let mut body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        body["padding"] = json!("x".repeat(5_000));
        answer.body = body.to_string().into_bytes();
    });
    world.keys.on(Route::Create, long);
    world.create("k").send().await.expect_undone("pending");
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_time_out_is_a_504_and_the_row_that_it_made_is_undone() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&gate));
    world.create("k").send().await.expect_problem(504, "upstream-timeout");
    world.comes_to_nothing().await;
}

/// Without an exclusive writer no probe proves anything: only the late answer can.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_late_answer_names_the_row_that_is_undone() {
    let world = World::with(|settings| {
        settings.exclusive_writer = false;
        settings.late_effect = "4s";
    })
    .await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_before(&gate));
    world.create("k").send().await.expect_problem(504, "upstream-timeout");
    assert!(world.keys.rows().is_empty());
    gate.open();
    world.operation_in("undoing").await;
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_what_is_refused_late_ends_once_no_effect_can_come() {
    let world = World::new().await;
    let gate = Gate::closed();
    let refused = Fault::once().held_before(&gate).without_effect().status(409);
    world.keys.on(Route::Create, refused);
    world.create("k").send().await.expect_problem(504, "upstream-timeout");
    world.operation_in("unknown").await;
    gate.open();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_row_that_is_committed_after_the_answer_stays_registered() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().lands_after(&gate));
    world.made("k").await;
    gate.open();
    world.quiescent().await;
    world.same_set();
    assert_eq!(world.keys.rows().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_p2_a_row_that_is_committed_after_its_undo_is_removed_before_that_is_told() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().lands_after(&gate));
    world.provider.register().answers(403);
    let create = tokio::spawn(world.create("k").send());
    world.has_asked(Route::Get, 2).await;
    assert!(!create.is_finished(), "the row may be yet to come");
    gate.open();
    create.await.unwrap().expect_undone("done");
    assert!(world.keys.rows().is_empty(), "done is done");
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_the_id_of_another_create_is_not_undone() {
    let world = World::new().await;
    let first = world.made("first").await;
    let id = first.clone();
    let same = Fault::once().without_effect().changed(move |answer| {
        answer.body = json!({"id": id, "agent_id": AGENT}).to_string().into_bytes();
    });
    world.keys.on(Route::Create, same);
    world.provider.register().once().answers(403);
    world.create("second").send().await.expect_undone("unknown");
    world.operation_in("reported").await;
    assert_eq!(world.keys.rows(), [first.clone()].into());
    assert!(world.is_registered(&first));
}

/// The parent was deleted while the outcome of a create was unknown: the list of its rows is a 404 for good.
#[tokio::test(flavor = "multi_thread")]
async fn r2_p9_a_list_that_is_refused_time_and_again_is_reported_with_its_cause() {
    let world = World::new().await;
    world.keys.on(Route::List, Fault::once());
    world.keys.on(Route::List, Fault::always().without_effect().status(404));
    world.keys.on(Route::Create, Fault::once().cut_in_body());
    world.create("k").send().await.expect_problem(502, "upstream-cut");
    let operation = world.operation_in("reported").await;
    let why = operation["known"].as_str().unwrap();
    assert!(why.contains("GET /agent_api_keys was answered 404"), "{operation}");
    assert_eq!(operation["needs_a_person"], true);
    assert_eq!(world.keys.rows().len(), 1);
    // The person brings the parent back, or removes the row.
    world.keys.mend();
    let operation = world.operations_until("its row is named", |operations| {
        operations.iter().any(|operation| operation["resource_ids"][0].is_string())
    });
    operation.await;
}

/// After a storm of failures hundreds of creates look for their rows in the same list, which takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn r3_p8_however_many_look_for_rows_they_take_a_share_of_the_service_s_time() {
    const CREATES: usize = 60;
    const TAKES: Duration = Duration::from_millis(20);
    let world = World::new().await;
    world.keys.on(Route::Create, Fault::times(CREATES).status(500));
    world.keys.on(Route::List, Fault::times(CREATES));
    world.keys.on(Route::List, Fault::always().changed(|_| std::thread::sleep(TAKES)));
    for n in 0..CREATES {
        world.create(&format!("k-{n}")).send().await.expect(500);
    }
    let (began, listed) = (Instant::now(), world.keys.calls(Route::List));
    world.comes_to_nothing().await;
    let lists = u32::try_from(world.keys.calls(Route::List) - listed).unwrap();
    // One that rests for four times the length of each takes a fifth.
    let (busy, all) = (TAKES * lists, began.elapsed());
    assert!(busy < all / 4, "{lists} lists, {busy:?} of {all:?}");
}

/// Its client was told nothing of the row, and no list could prove whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn p2_an_id_that_is_answered_long_after_the_exchange_was_given_up_is_undone() {
    let exchange = Duration::from_millis(200);
    let world = World::with(|settings| {
        (settings.exclusive_writer, settings.exchange) = (false, "200ms");
        settings.late_effect = "5s";
    })
    .await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&gate));
    let began = Instant::now();
    world.create("k").send().await.expect(504);
    while began.elapsed() < 4 * exchange {
        world.get("/elsewhere").send().await.expect(200);
    }
    gate.open();
    world.operation_in("undoing").await;
    let gone = async || world.keys.rows().is_empty().then_some(());
    eventually("the row is removed", gone).await;
}

/// They may wait for a person for ever.
#[tokio::test(flavor = "multi_thread")]
async fn p8_p9_what_is_reported_keeps_no_other_request_out() {
    let world = World::with(|settings| {
        (settings.exclusive_writer, settings.open_operations) = (false, 1);
    })
    .await;
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    world.create("other").send().await.expect(503);
    world.operation_in("reported").await;
    world.create("other").send().await.expect(200);
}
