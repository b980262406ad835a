//! The schedules that the claim rule and the overlap rule close.

use super::super::fixtures::{create, create_named, delete, delete_named, id, policy};
use super::super::state::Presence;
use super::*;
use crate::model::{Entry, Mode, OperationId, PassReason, Record, Stored};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn row(text: &str, created: i64) -> SightedRow {
    let json = serde_json::json!({"id": text, "name": "n"});
    SightedRow { id: id(text), created_at: Some(at(created)), json }
}

#[test]
fn p7_debug_shows_no_row() {
    let json = serde_json::json!({"id": "k", "note": "s3cret"});
    let shown = format!("{:?}", SightedRow { id: id("k"), created_at: None, json });
    assert!(shown.contains('k') && !shown.contains("s3cret"), "{shown}");
}

fn after(mut operation: Operation, record: Record, seconds: i64) -> Operation {
    operation.apply(&Entry { at: at(seconds), record }).unwrap();
    operation
}

/// A create intended at second 1 whose outcome is unknown since second 2.
fn unknown() -> Operation {
    after(create(Mode::Enforce, None), Record::Closed { effect: Effect::MayCome }, 2)
}

fn committed(text: &str) -> Operation {
    after(create(Mode::Enforce, None), Record::Committed { id: id(text), parent: None }, 2)
}

fn verdict(own: &Operation, rows: &[SightedRow], others: &[Operation]) -> Verdict {
    judge(own, rows, &Sighting { at: at(10), others, skewed: false }, &policy())
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Unprovable { why, .. } => why,
        other => panic!("provable: {other:?}"),
    }
}

#[test]
fn p4_a_lone_row_in_the_window_of_the_only_create_is_claimed() {
    let claim = Verdict::Claim { id: id("r"), created_at: at(1), sighted: at(10) };
    assert_eq!(verdict(&unknown(), &[row("r", 1)], &[]), claim);
    assert_eq!(verdict(&unknown(), &[], &[]), Verdict::NoRow);
}

#[test]
fn p4_the_window_reaches_from_s_before_the_intent_to_s_after_the_last_effect() {
    let seen = |created| verdict(&unknown(), &[row("r", created)], &[]);
    assert_eq!(seen(1 - 6), Verdict::NoRow);
    assert!(matches!(seen(1 - 5), Verdict::Claim { .. }));
    assert!(matches!(seen(2 + 120 + 5), Verdict::Claim { .. }));
    assert_eq!(seen(2 + 120 + 6), Verdict::NoRow);
}

#[test]
fn p4_a_row_that_another_create_was_answered_is_not_ours() {
    assert_eq!(verdict(&unknown(), &[row("r", 1)], &[committed("r")]), Verdict::NoRow);
    assert!(matches!(
        verdict(&unknown(), &[row("r", 1)], &[committed("other")]),
        Verdict::Claim { .. }
    ));
}

#[test]
fn p4_a_rival_that_is_still_open_may_have_made_the_row() {
    let open = create(Mode::Enforce, None);
    assert_eq!(verdict(&unknown(), &[row("r", 1)], &[open]), Verdict::Wait);
    let of_another_name = create_named("other", Mode::Enforce, None);
    assert!(matches!(
        verdict(&unknown(), &[row("r", 1)], &[of_another_name]),
        Verdict::Claim { .. }
    ));
}

#[test]
fn p4_more_rows_than_unknown_creates_are_reported() {
    let rows = [row("r", 1), row("s", 2)];
    assert!(why(verdict(&unknown(), &rows, &[])).contains("more such rows"));
    assert!(matches!(verdict(&unknown(), &rows, &[unknown()]), Verdict::Claim { .. }));
}

#[test]
fn p4_a_row_that_an_unenforced_create_may_have_made_is_reported() {
    let pass = create(Mode::Enforce, Some(PassReason::Bypass));
    let pass = after(pass, Record::Closed { effect: Effect::MayCome }, 2);
    assert!(why(verdict(&unknown(), &[row("r", 1)], &[pass])).contains("not enforced"));
}

#[test]
fn p4_without_exclusivity_or_with_skewed_clocks_nothing_is_claimed() {
    let (own, rows) = (unknown(), [row("r", 1)]);
    let seen = Sighting::<Operation> { at: at(10), others: &[], skewed: false };
    let shared = Policy { exclusive_writer: false, ..policy() };
    assert!(why(judge(&own, &rows, &seen, &shared)).contains("exclusive_writer"));
    let skewed = Sighting { skewed: true, ..seen };
    assert!(why(judge(&own, &rows, &skewed, &policy())).contains("clock"));
    let undated = SightedRow { created_at: None, ..row("r", 1) };
    assert!(why(verdict(&own, &[undated], &[])).contains("created_at"));
}

#[test]
fn p2_with_skewed_clocks_a_row_outside_the_window_is_reported_and_not_called_absent() {
    let seen = Sighting::<Operation> { at: at(10), others: &[], skewed: true };
    let long_ago = [row("r", -1000)];
    assert!(why(judge(&unknown(), &long_ago, &seen, &policy())).contains("clock"));
}

/// Looked for in vain until second 130, and closed again at second 1000: another process told only then
/// that the request had left. What happened meanwhile the journal may have forgotten.
fn reopened() -> Operation {
    let rejected = Record::Finished { resolution: Resolution::Rejected };
    let rejected = after(unknown(), rejected, 130);
    after(rejected, Record::Closed { effect: Effect::MayCome }, 1000)
}

#[test]
fn p4_a_row_of_a_time_that_the_journal_may_have_forgotten_is_reported() {
    let seen = |own: &Operation, created| verdict(own, &[row("r", created)], &[]);
    // L + 2 S are 130 s.
    for created in [0, 1, 500, 1000 - 131] {
        assert!(why(seen(&reopened(), created)).contains("forgotten"), "{created}");
    }
    for created in [1000 - 130, 1000, 1000 + 125] {
        assert!(matches!(seen(&reopened(), created), Verdict::Claim { .. }), "{created}");
    }
    // One that was closed again while it was looked for keeps its first window, until 2 + 125.
    let again = after(unknown(), Record::Closed { effect: Effect::MayCome }, 1000);
    for created in [128, 500, 1000 - 131] {
        assert!(why(seen(&again, created)).contains("forgotten"), "{created}");
    }
    for created in [1, 127, 1000 - 130] {
        assert!(matches!(seen(&again, created), Verdict::Claim { .. }), "{created}");
    }
    let at_once = after(unknown(), Record::Closed { effect: Effect::MayCome }, 4);
    assert!(matches!(seen(&at_once, 2), Verdict::Claim { .. }));
}

/// Until second 160 no row was to be seen but those of others.
#[test]
fn p2_a_row_of_a_time_for_which_none_was_found_is_not_taken_for_ours_when_evidence_comes() {
    let may_come = || Record::Closed { effect: Effect::MayCome };
    let looked_for = after(create(Mode::Enforce, None), may_come(), 40);
    let rejected = Record::Finished { resolution: Resolution::Rejected };
    let own = after(after(looked_for, rejected, 160), may_come(), 1000);
    assert_eq!(verdict(&own, &[row("r", 40 - 6)], &[]), Verdict::NoRow);
    assert!(why(verdict(&own, &[row("r", 40 - 5)], &[])).contains("forgotten"));
    // What is not enforced was never looked for, so nothing is known of its rows.
    let passed = after(create(Mode::Enforce, Some(PassReason::Bypass)), may_come(), 40);
    let unsettled = Record::Finished { resolution: Resolution::Unsettled };
    let rival = after(after(passed, unsettled, 160), may_come(), 1000);
    assert!(why(verdict(&unknown(), &[row("r", 1)], &[rival])).contains("not enforced"));
}

/// Evidence of an operation that the journal had forgotten begins it anew.
#[test]
fn p4_a_create_that_evidence_began_anew_claims_nothing_of_the_time_before() {
    let mut entries = super::super::index::opening(&create(Mode::Enforce, None));
    for entry in &mut entries {
        entry.at = at(1000);
    }
    entries.push(Entry { at: at(1001), record: Record::Closed { effect: Effect::MayCome } });
    let stored = Stored { id: OperationId::new(), entries };
    let own = Operation::replay(&stored).unwrap();
    assert!(why(verdict(&own, &[row("r", 1)], &[])).contains("forgotten"));
    assert!(matches!(verdict(&own, &[row("r", 900)], &[]), Verdict::Claim { .. }));
}

#[test]
fn p2_of_two_unknown_creates_the_one_that_looks_longer_leaves_the_row_to_the_other() {
    let closed_later = |seconds| {
        let create = create(Mode::Enforce, None);
        after(create, Record::Closed { effect: Effect::MayCome }, seconds)
    };
    let (first, second) = (closed_later(2), closed_later(40));
    let rows = [row("r", 2)];
    assert_eq!(verdict(&second, &rows, std::slice::from_ref(&first)), Verdict::Wait);
    assert!(matches!(verdict(&first, &rows, &[second]), Verdict::Claim { .. }));
}

#[test]
fn skew_is_seen_on_a_row_that_is_known_to_be_ours() {
    let own = committed("r");
    for (created, skewed) in [(-5, true), (-4, false), (7, false), (8, true)] {
        assert_eq!(shows_skew(&own, at(created), at(2), &policy()), skewed, "{created}");
    }
}

#[test]
fn p3_a_create_confirms_its_row_when_a_delete_ran_beside_it() {
    let own = committed("k");
    assert!(may_be_removed(&own, &[delete(&["k"], true, false)], &policy()));
    assert!(!may_be_removed(&own, &[delete(&["l"], true, false)], &policy()));
    assert!(may_be_removed(&own, &[delete_named("n", &[])], &policy()));
    assert!(!may_be_removed(&own, &[delete_named("other", &[])], &policy()));
    let refused = Record::Finished { resolution: Resolution::NotDeleted };
    assert!(!may_be_removed(&own, &[after(delete_named("n", &[]), refused, 3)], &policy()));
}

#[test]
fn p3_a_delete_by_name_looks_at_its_targets_and_at_what_was_made_beside_it() {
    let delete = after(delete_named("n", &["t"]), Record::Closed { effect: Effect::Past }, 3);
    let (ids, open) = candidates(&delete, &[committed("k")], &policy());
    assert_eq!((ids.len(), open), (2, false));
    let (ids, open) = candidates(&delete, &[create(Mode::Enforce, None)], &policy());
    assert_eq!((ids.len(), open), (1, true));
    let other = create_named("other", Mode::Enforce, None);
    assert!(!candidates(&delete, &[other], &policy()).1);
}

/// Times that two replicas recorded may be 2S (10 s) apart.
#[test]
fn p4_a_create_that_another_replica_s_clock_puts_after_the_sighting_is_a_rival() {
    let (own, open) = (unknown(), [create(Mode::Enforce, None)]);
    let shared = Policy { shared: true, ..policy() };
    let judged = |seconds, policy: &Policy| {
        let seen = Sighting { at: at(seconds), others: &open, skewed: false };
        judge(&own, &[row("r", 1)], &seen, policy)
    };
    assert_eq!(judged(1 - 10, &shared), Verdict::Wait);
    assert!(matches!(judged(1 - 11, &shared), Verdict::Claim { .. }));
    assert!(matches!(judged(1 - 10, &policy()), Verdict::Claim { .. }));
}

#[test]
fn p3_a_create_that_another_replica_s_clock_puts_after_a_delete_is_looked_at() {
    let shared = Policy { shared: true, ..policy() };
    let closed = Record::Closed { effect: Effect::Past };
    let ids = |seconds, policy: &Policy| {
        let delete = after(delete_named("n", &[]), closed.clone(), seconds);
        candidates(&delete, &[committed("k")], policy).0.len()
    };
    assert_eq!([ids(1 - 10, &shared), ids(1 - 11, &shared), ids(1 - 10, &policy())], [1, 0, 0]);
}

/// A create answered at second 2 may be yet to come until L (120 s) after, and no longer.
#[test]
fn p2_a_row_that_can_t_be_seen_is_gone_only_if_it_was_seen_or_can_t_be_yet_to_come() {
    let maker = committed("k");
    let absent = |asked, deletes: &[Operation]| {
        absence(&id("k"), Some(&maker), deletes.iter(), at(asked), &policy())
    };
    assert_eq!(absent(2 + 119, &[]), Presence::Unsettled);
    assert_eq!(absent(2 + 120, &[]), Presence::Gone);
    assert_eq!(absent(3, &[delete(&["k"], true, false)]), Presence::Gone);
    assert_eq!(absent(3, &[delete(&["k"], false, true)]), Presence::Unsettled);
    assert_eq!(absent(3, &[delete_named("n", &["k"])]), Presence::Gone);
    assert_eq!(absent(3, &[delete_named("n", &["l"])]), Presence::Unsettled);
    let gone = Record::Deleted { ids: vec![id("k")] };
    assert_eq!(absent(3, &[after(delete_named("n", &[]), gone, 3)]), Presence::Gone);
    assert_eq!(absence(&id("k"), None, [].iter(), at(3), &policy()), Presence::Gone);
    // What became of the create later does not make its row come later.
    let ended = Record::Finished { resolution: Resolution::Registered };
    let registered = Record::Registered { id: id("k"), ambiguous: false };
    let maker = after(after(maker, registered, 3), ended, 100);
    let presence = absence(&id("k"), Some(&maker), [].iter(), at(2 + 120), &policy());
    assert_eq!(presence, Presence::Gone);
}

/// A create intended at second 1 and answered at 2; a delete of its name answered at 3 may take
/// effect until L (120 s) after.
#[test]
fn p3_a_row_that_is_there_stands_only_once_no_delete_can_remove_it_any_more() {
    let own = committed("k");
    let there = |asked, delete: Operation| {
        presence(Presence::Present, &own, &[delete], at(asked), &policy())
    };
    let ended = |effect| after(delete_named("n", &[]), Record::Closed { effect }, 3);
    for effect in [Effect::Past, Effect::MayCome] {
        assert_eq!(there(3 + 119, ended(effect)), Presence::Unsettled);
        assert_eq!(there(3 + 120, ended(effect)), Presence::Present);
    }
    assert_eq!(there(1000, delete_named("n", &[])), Presence::Unsettled, "it is under way");
    assert_eq!(there(4, delete_named("other", &[])), Presence::Present);
    let confirmed = Record::Deleted { ids: vec![id("k")] };
    let by_id = || after(delete(&["k"], true, false), confirmed.clone(), 3);
    assert_eq!(there(3 + 119, by_id()), Presence::Unsettled);
    assert_eq!(there(3 + 120, by_id()), Presence::Present);
}

#[test]
fn p3_a_delete_that_was_answered_before_a_create_was_sent_did_not_choose_its_row() {
    let own = committed("k");
    let closed =
        |effect, seconds| after(delete_named("n", &[]), Record::Closed { effect }, seconds);
    assert!(!may_be_removed(&own, &[closed(Effect::Past, 0)], &policy()));
    assert!(may_be_removed(&own, &[closed(Effect::Past, 1)], &policy()));
    assert!(may_be_removed(&own, &[closed(Effect::MayCome, 0)], &policy()));
    let shared = Policy { shared: true, ..policy() };
    assert!(may_be_removed(&own, &[closed(Effect::Past, 1 - 10)], &shared));
    assert!(!may_be_removed(&own, &[closed(Effect::Past, 1 - 11)], &shared));
}
