//! The schedules that the overlap rule closes.

use super::super::fixtures::{create, create_named, delete, delete_named, id, policy};
use super::super::state::Presence;
use super::*;
use crate::model::{Entry, Mode, Record};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn after(mut operation: Operation, record: Record, seconds: i64) -> Operation {
    operation.apply(&Entry { at: at(seconds), record }).unwrap();
    operation
}

fn committed(text: &str) -> Operation {
    after(create(Mode::Enforce, None), Record::Committed { id: id(text), parent: None }, 2)
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

/// Readers lag each for itself: that one saw the row does not make another's 404 a proof.
#[test]
fn c3_p3_a_read_that_may_lag_does_not_prove_that_a_row_which_was_seen_is_gone() {
    let mut lagging = policy();
    lagging.bounds.read_lag = std::time::Duration::from_secs(30);
    let (maker, seen) = (committed("k"), [delete(&["k"], true, false)]);
    let absent = |asked| absence(&id("k"), Some(&maker), seen.iter(), at(asked), &lagging);
    assert_eq!(absent(1 + 29), Presence::Unsettled);
    assert_eq!(absent(1 + 30), Presence::Gone);
}
