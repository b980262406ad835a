//! The schedules that the judgement of rows closes.

use super::super::fixtures::{create, create_named, delete, delete_named, id, shared};
use super::*;
use crate::model::{
    Effect, Entry, Evidence, Ids, Mode, PassReason, Plan, Record, Timestamp, UndoReason,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn row(text: &str) -> SightedRow {
    let json = serde_json::json!({"id": text, "name": "n"});
    SightedRow { id: id(text), is_found: false, is_back: false, json }
}

fn after(mut operation: Operation, record: Record, seconds: i64) -> Operation {
    operation.apply(&Entry { at: at(seconds), record }).unwrap();
    operation
}

fn cut(create: Operation) -> Operation {
    after(create, Record::Closed { effect: Effect::MayCome }, 2)
}

/// A create of a row named "n" whose outcome is unknown; no row was there before it.
fn unknown() -> Operation {
    cut(create(Mode::Enforce, None))
}

fn with_before(rows: &[&str]) -> Operation {
    Operation { before: Some(rows.iter().map(|text| id(text)).collect()), ..unknown() }
}

fn judged(own: &Operation, rows: &[&str], others: &[Operation]) -> Judgement {
    let free: Vec<_> = rows.iter().map(|text| row(text)).collect();
    judge(own, &free, &shared(others), true)
}

fn condemned(own: &Operation, rows: &[&str], others: &[Operation]) -> Vec<String> {
    judged(own, rows, others).condemned.iter().map(ToString::to_string).collect()
}

fn why(judgement: Judgement) -> String {
    match judgement {
        Judgement { condemned, rest: Verdict::Unprovable { why, .. } } if condemned.is_empty() => {
            why
        }
        other => panic!("not reported: {other:?}"),
    }
}

#[test]
fn p7_debug_shows_no_row() {
    let json = serde_json::json!({"id": "k", "note": "s3cret"});
    let shown = format!("{:?}", SightedRow { id: id("k"), is_found: false, is_back: false, json });
    assert!(shown.contains('k') && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn p2_a_row_that_was_not_there_before_the_only_unknown_create_is_condemned() {
    assert_eq!(condemned(&unknown(), &["r"], &[]), ["r"]);
    assert_eq!(judged(&unknown(), &[], &[]), Judgement::default());
    assert_eq!(judged(&unknown(), &["r"], &[]).rest, Verdict::NoRow, "nothing else is left");
}

#[test]
fn c2_p4_a_row_that_was_there_before_is_ignored_whatever_the_service_s_clock_says() {
    assert_eq!(judged(&with_before(&["r"]), &["r"], &[]), Judgement::default());
    assert_eq!(condemned(&with_before(&["r"]), &["r", "s"], &[]), ["s"]);
}

/// The client tried again under the same name: both outcomes are unknown, and one row is there. Whose it
/// is does not matter, and each of the two goes on looking for another.
#[test]
fn s1_p2_of_two_unknown_creates_of_one_name_each_has_every_row_removed() {
    let rival = unknown();
    assert_eq!(condemned(&unknown(), &["r"], std::slice::from_ref(&rival)), ["r"]);
    assert_eq!(condemned(&rival, &["r", "s"], &[unknown()]), ["r", "s"]);
}

#[test]
fn s3_p4_where_a_rule_on_the_type_observes_no_row_is_condemned() {
    let why = why(judge(&unknown(), &[row("r")], &[], false));
    assert!(why.contains("observes") && why.contains("exclusive_writer"), "{why}");
}

#[test]
fn p4_a_row_waits_while_a_create_that_may_have_made_it_is_in_flight() {
    let in_flight = create(Mode::Enforce, None);
    let waits = judged(&unknown(), &["r"], &[in_flight]);
    assert_eq!(waits, Judgement { condemned: Vec::new(), rest: Verdict::Wait });
    let of_another_name = create_named("other", Mode::Enforce, None);
    assert_eq!(condemned(&unknown(), &["r"], &[of_another_name]), ["r"]);
    // One that began later saw the row: a client that tries again for ever postpones nothing.
    let later = Operation { before: Some([id("r")].into()), ..create(Mode::Enforce, None) };
    assert_eq!(condemned(&unknown(), &["r"], &[later]), ["r"]);
}

#[test]
fn p4_a_row_is_reported_if_one_maker_may_have_told_a_client_of_it() {
    let passed = || create(Mode::Enforce, Some(PassReason::Bypass));
    let reported = |rows: Vec<ResourceId>| Record::Reported { rows, why: "test".into() };
    let discarded = || {
        let (by, reason) = ("alice".parse().unwrap(), "test".parse().unwrap());
        let given_up = Record::Discarded { by, reason, phase: "unknown".into() };
        after(unknown(), given_up, 3)
    };
    let unsettled = Record::Finished { resolution: Resolution::Unsettled };
    let makers = [
        ("not enforced", cut(passed())),
        ("not enforced", after(cut(passed()), unsettled, 200)),
        ("not enforced", cut(create(Mode::Observe, None))),
        ("was reported", after(unknown(), reported(vec![id("x")]), 200)),
        ("discarded", discarded()),
        ("no complete list", Operation { before: None, ..unknown() }),
    ];
    for (told, maker) in makers {
        let judgement = judged(&unknown(), &["r"], &[maker]);
        assert!(why(judgement).contains(told), "{told}");
    }
    let own = Operation { before: None, ..unknown() };
    assert!(why(judged(&own, &["r"], &[])).contains("no complete list"));
    // One whose own row is known made no other.
    let of_another = Record::Committed { id: id("x"), is_new: true };
    let known = after(create(Mode::Enforce, Some(PassReason::Bypass)), of_another, 2);
    assert_eq!(condemned(&unknown(), &["r"], &[known]), ["r"]);
}

#[test]
fn p4_what_was_reported_is_never_condemned_any_more() {
    let reported = Record::Reported { rows: vec![id("r")], why: "test".into() };
    let own = after(unknown(), reported, 200);
    assert!(why(judged(&own, &["r"], &[])).contains("reported"));
}

#[test]
fn p4_nothing_is_reported_while_one_of_the_rows_waits() {
    let in_flight = Operation { before: Some([id("s")].into()), ..create(Mode::Enforce, None) };
    let own = Operation { before: None, ..unknown() };
    assert_eq!(judged(&own, &["r", "s"], &[in_flight]).rest, Verdict::Wait);
}

/// As `PUT` makes them: the row of an id may go, and another come under it.
fn comes_back(create: Operation) -> Operation {
    let plan = Plan { ids: Ids::Reused, ..(*create.plan).clone() };
    Operation { plan: plan.into(), ..create }
}

/// The answer to the other request with its key may name the row.
#[test]
fn p4_a_row_that_a_replayed_request_may_have_made_is_reported() {
    let mut replayed = unknown();
    if let Kind::Create(plan) = &mut Arc::make_mut(&mut replayed.plan).kind {
        plan.replayed = true;
    }
    assert!(why(judged(&replayed, &["r"], &[])).contains("replay key"));
    assert!(why(judged(&unknown(), &["r"], &[replayed])).contains("replay key"));
}

#[test]
fn p4_where_ids_come_back_a_row_is_reported_and_never_condemned() {
    let own = comes_back(unknown());
    assert!(why(judged(&own, &["r"], &[])).contains("ids come back"));
    assert!(why(judged(&unknown(), &["r"], &[comes_back(unknown())])).contains("ids come back"));
}

#[test]
fn p2_a_row_that_may_have_gone_and_come_back_was_not_there_before() {
    let own = comes_back(with_before(&["r"]));
    let judged = |is_back| {
        let row = SightedRow { is_back, ..row("r") };
        judge(&own, &[row], &[], true)
    };
    assert_eq!(judged(false), Judgement::default());
    assert!(why(judged(true)).contains("ids come back"));
}

/// What told that it is back may be forgotten: a reported create keeps nothing. (Found by the simulation.)
#[test]
fn p2_a_row_that_was_reported_does_not_end_its_report_while_it_is_there() {
    let own = comes_back(with_before(&["r"]));
    let reported = Record::Reported { rows: vec![id("r")], why: "test".into() };
    let own = after(own, reported, 200);
    assert!(why(judged(&own, &["r"], &[])).contains("reported"));
    assert_eq!(judged(&own, &[], &[]).rest, Verdict::NoRow);
}

/// The row `r` as the create that looks sees it: whether it may be its own, is back, and was found.
fn assessed(
    holder: Option<&Operation>,
    creates: &[Operation],
    deletes: &[Operation],
) -> (bool, bool, bool) {
    let mut row = row("r");
    let may_be_own = row.assess(holder, &shared(creates), &shared(deletes));
    (may_be_own, row.is_back, row.is_found)
}

fn undoing() -> Operation {
    let (evidence, reason) = (Evidence::Listed, UndoReason::Unknown);
    after(unknown(), Record::Undoing { id: id("r"), evidence, reason, ambiguous: false }, 3)
}

#[test]
fn p2_a_row_is_its_holder_s_unless_that_only_found_it_or_an_earlier_one_of_its_id() {
    assert_eq!(assessed(None, &[], &[]), (true, false, false));
    let committed = Record::Committed { id: id("r"), is_new: true };
    let own_row = after(create(Mode::Enforce, None), committed, 2);
    assert_eq!(assessed(Some(&comes_back(own_row.clone())), &[], &[]), (false, false, false));
    let registered = Record::Registered { id: id("r"), ambiguous: false };
    let gone = Record::Deleted { ids: vec![id("r")] };
    let gone = after(after(own_row, registered, 3), gone, 4);
    for holder in [undoing(), gone] {
        assert_eq!(assessed(Some(&holder), &[], &[]), (false, false, false), "{:?}", holder.phase);
        assert_eq!(assessed(Some(&comes_back(holder)), &[], &[]), (true, true, false));
    }
    let found = Record::Passed { id: id("r"), why: PassReason::Found };
    let found = after(create(Mode::Enforce, None), found, 2);
    assert_eq!(assessed(Some(&found), &[], &[]), (true, false, true));
}

#[test]
fn p2_a_row_may_be_back_if_an_undo_or_a_delete_may_have_removed_one_of_its_id() {
    let undone = after(undoing(), Record::Finished { resolution: Resolution::Undone }, 4);
    assert_eq!(assessed(None, &[undone], &[]), (true, true, false));
    let gone = Operation { gone: [id("r")].into(), ..delete(&["other"], true) };
    for delete in [delete(&["r"], true), delete_named("n", &[]), gone] {
        assert_eq!(assessed(None, &[], &[delete]), (true, true, false));
    }
    assert_eq!(assessed(None, &[undoing()], &[delete(&["other"], true)]), (true, false, false));
}

/// Nothing tells what its row would look like.
#[test]
fn p4_a_create_without_a_probe_may_have_made_any_row() {
    let mut blind = create(Mode::Enforce, None);
    if let Kind::Create(plan) = &mut Arc::make_mut(&mut blind.plan).kind {
        plan.probe = None;
    }
    assert_eq!(judged(&unknown(), &["r"], &[blind]).rest, Verdict::Wait);
}

#[test]
fn p4_a_row_that_a_later_create_passed_on_is_reported_and_never_condemned() {
    let row = SightedRow { is_found: true, ..row("r") };
    let judged = judge(&unknown(), &[row], &[], true);
    assert!(why(judged).contains("passed it on"));
}
