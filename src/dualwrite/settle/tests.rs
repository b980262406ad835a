//! When a row counts as gone, and when as there to stay.

use std::sync::Arc;

use super::super::fixtures::{create, delete, delete_named, id, policy};
use super::*;
use crate::model::{Entry, Evidence, Mode, PassReason, Record, UndoReason};

/// L of the fixtures' policy, in seconds.
const L: i64 = 120;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn after(mut operation: Operation, records: Vec<Record>) -> Operation {
    for (record, seconds) in records.into_iter().zip(2..) {
        operation.apply(&Entry { at: at(seconds), record }).unwrap();
    }
    operation
}

fn committed() -> Record {
    Record::Committed { id: id("k"), is_new: true }
}

fn registered_with(ambiguous: bool) -> Record {
    Record::Registered { id: id("k"), ambiguous }
}

fn closed(effect: Effect) -> Record {
    Record::Closed { effect }
}

/// Intended at second 1, answered at 2.
fn maker(records: Vec<Record>) -> Operation {
    let records = std::iter::once(committed()).chain(records).collect();
    after(create(Mode::Enforce, None), records)
}

fn before_answer(mut operation: Operation) -> Operation {
    Arc::make_mut(&mut operation.plan).commits = Commits::BeforeAnswer;
    operation
}

fn lagging() -> Policy {
    let mut lagging = policy();
    lagging.bounds.read_lag = std::time::Duration::from_secs(30);
    lagging
}

#[test]
fn p2_p3_the_table_of_settle() {
    use Presence::{Gone, Present};
    let (made, removed) = (Some(at(10)), Some(at(20)));
    for (seen, asked, proven) in [
        (Gone, 9, None),
        (Gone, 10, Some(Gone)),
        (Present, 10, None),
        (Present, 19, None),
        (Present, 20, Some(Present)),
    ] {
        assert_eq!(conclude(seen, at(asked), made, removed), proven, "{seen:?} at {asked}");
    }
    // While a request is under way nothing is proven of what it may do.
    assert_eq!(conclude(Gone, at(900), None, removed), None);
    assert_eq!(conclude(Present, at(900), made, None), None);
}

#[test]
fn c3_p2_a_request_shows_its_effect_until_the_service_has_committed_and_readers_have_caught_up() {
    let unknown = |effect| after(create(Mode::Enforce, None), vec![closed(effect)]);
    let looked_at = |effect| after(delete(&["k"], true), vec![closed(effect)]);
    for operation in [
        maker(vec![]),
        unknown(Effect::MayCome),
        looked_at(Effect::Past),
        looked_at(Effect::MayCome),
    ] {
        assert_eq!(until(&operation, &policy()), Some(at(2 + L)));
        assert_eq!(until(&operation, &lagging()), Some(at(2 + L + 30)));
    }
    for operation in [maker(vec![]), unknown(Effect::Past), looked_at(Effect::Past)] {
        let operation = before_answer(operation);
        assert_eq!(until(&operation, &policy()), Some(at(2)));
        assert_eq!(until(&operation, &lagging()), Some(at(2 + 30)));
    }
    let may_come = before_answer(looked_at(Effect::MayCome));
    assert_eq!(until(&may_come, &policy()), Some(at(2 + L)));
    for under_way in [create(Mode::Enforce, None), delete(&["k"], true)] {
        assert_eq!(until(&under_way, &policy()), None);
    }
}

/// Its exchange was given up at second 2, and a late answer named the row at 50: the service commits later still.
#[test]
fn c3_p2_the_row_of_a_late_answer_may_be_yet_to_come_until_l_after_that_answer() {
    let mut create = after(create(Mode::Enforce, None), vec![closed(Effect::MayCome)]);
    let (evidence, reason) = (Evidence::LateAnswer, UndoReason::Unknown);
    let undoing = Record::Undoing { id: id("k"), evidence, reason, ambiguous: true };
    create.apply(&Entry { at: at(50), record: undoing }).unwrap();
    assert_eq!(until(&create, &policy()), Some(at(50 + L)));
}

#[test]
fn p3_a_time_of_another_replica_s_is_waited_for_by_the_slowest_clock() {
    let shared = Policy { apart: std::time::Duration::from_secs(10), ..policy() };
    assert_eq!(until(&maker(vec![]), &shared), Some(at(2 + L + 10)));
    let ambiguous = maker(vec![registered_with(true)]);
    assert_eq!(registered(&ambiguous, &shared), Some(at(3 + L + 10)));
}

#[test]
fn p3_a_registration_may_land_until_l_after_its_last_attempt() {
    let policy = policy();
    assert_eq!(registered(&maker(vec![]), &policy), None, "it is being registered");
    assert_eq!(registered(&maker(vec![registered_with(false)]), &policy), NEVER);
    assert_eq!(registered(&maker(vec![registered_with(true)]), &policy), Some(at(3 + L)));
    for (ambiguous, end) in [(false, NEVER), (true, Some(at(3 + L)))] {
        let (evidence, reason) = (Evidence::Answer, UndoReason::Deadline);
        let undoing = Record::Undoing { id: id("k"), evidence, reason, ambiguous };
        assert_eq!(registered(&maker(vec![undoing]), &policy), end);
    }
}

/// A create answered at second 2 may be yet to come until L after, unless somebody saw its row.
#[test]
fn p2_a_row_that_can_t_be_seen_is_gone_only_if_it_was_seen_or_can_t_be_yet_to_come() {
    let maker = maker(vec![registered_with(false)]);
    let made_for =
        |delete: &Operation, policy: Policy| made(&id("k"), delete, Some(&maker), &policy);
    let answered = |delete| after(delete, vec![closed(Effect::Past)]);
    let unseen = [delete(&["k"], false), delete_named("n", &[])].map(answered);
    let seen = [delete(&["k"], true), delete_named("n", &["k"])].map(answered);
    for delete in &unseen {
        assert_eq!(made_for(delete, policy()), Some(at(2 + L)));
    }
    for delete in &seen {
        assert_eq!(made_for(delete, policy()), Some(at(2)));
        // Readers lag each for itself: that one saw the row does not make another's 404 a proof.
        assert_eq!(made_for(delete, lagging()), Some(at(2 + 30)));
    }
    for delete in &unseen {
        assert_eq!(made(&id("k"), delete, None, &policy()), Some(at(1)), "it is old");
        assert_eq!(made(&id("k"), delete, None, &lagging()), Some(at(1 + 30)), "when it was sent");
    }
    // Nobody holds it while its create is in flight. (Found by the simulation.)
    for delete in &seen {
        assert_eq!(made(&id("k"), delete, None, &lagging()), Some(at(2 + 30)));
    }
}

#[test]
fn p3_what_was_seen_is_not_gone_for_good_while_its_registration_may_land() {
    let seen = after(delete(&["k"], true), vec![closed(Effect::Past)]);
    let under_way = maker(vec![]);
    assert_eq!(made(&id("k"), &seen, Some(&under_way), &policy()), None);
    let ambiguous = maker(vec![registered_with(true)]);
    assert_eq!(made(&id("k"), &seen, Some(&ambiguous), &policy()), Some(at(3 + L)));
}

#[test]
fn p3_a_row_that_is_there_stands_only_once_no_delete_can_remove_it_any_more() {
    let ended = |seconds: i64| {
        let mut delete = delete_named("n", &[]);
        delete.apply(&Entry { at: at(seconds), record: closed(Effect::Past) }).unwrap();
        delete
    };
    let (one, other, under_way) = (ended(3), ended(7), delete(&["k"], true));
    assert_eq!(removed([&one, &other].into_iter(), &policy()), Some(at(7 + L)));
    assert_eq!(removed([&one, &under_way].into_iter(), &policy()), None);
}

#[test]
fn p3_a_delete_by_name_that_may_find_more_is_looked_at_until_it_can_not() {
    let of = |delete: Operation, effect| after(delete, vec![closed(effect)]);
    let by_name = |effect| of(delete_named("n", &[]), effect);
    let by_id = |effect| of(delete(&["k"], true), effect);
    for (delete, open, exhausted) in [
        (by_name(Effect::Past), false, true),
        (by_name(Effect::Past), true, false),
        (by_name(Effect::MayCome), false, false),
        (by_id(Effect::MayCome), false, true),
    ] {
        assert_eq!(is_exhausted(&delete, open, at(3), &policy()), exhausted);
        assert!(is_exhausted(&delete, open, at(2 + L), &policy()));
    }
}

/// The request named `K`, and the service showed the row `k`.
#[test]
fn p3_a_row_that_was_shown_under_another_spelling_was_there() {
    let closed = |delete| after(delete, vec![closed(Effect::Past)]);
    let unseen = closed(delete(&["k"], false));
    let never = |delete: &Operation, maker: Option<&Operation>, asked| {
        never_was(&id("k"), delete, maker, at(asked), &policy())
    };
    assert!(never(&unseen, None, 2));
    let maker = maker(vec![]);
    assert!(!never(&unseen, Some(&maker), 2));
    let mut spelled = delete(&["K"], false);
    spelled.targets.ids = [id("k")].into();
    assert!(!never(&closed(spelled), None, 2));
    assert!(!never(&closed(delete_named("n", &["k"])), None, 2));
    // By then the journal may have forgotten whose it was.
    assert!(!never(&unseen, None, 2 + L));
}

/// An observed create passes although it is not known whether its registration landed.
#[test]
fn p3_the_registration_of_a_row_that_was_passed_on_may_land_until_l_has_passed() {
    let mut create = create(Mode::Observe, None);
    let apply = |create: &mut Operation, record, seconds| {
        create.apply(&Entry { at: at(seconds), record }).unwrap();
    };
    apply(&mut create, Record::Committed { id: id("k"), is_new: true }, 2);
    assert_eq!(registered(&create, &policy()), None);
    apply(&mut create, Record::Passed { id: id("k"), why: PassReason::Observed }, 3);
    assert_eq!(registered(&create, &policy()), Some(at(3 + L)));
}
