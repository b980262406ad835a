//! The schedules that the overlap rule closes.

use super::super::fixtures::{create, create_named, delete, delete_named, id, policy, shared};
use super::*;
use crate::model::{CreatePlan, Effect, Entry, Ids, Mode, Pointer, Record, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn after(mut operation: Operation, record: Record, seconds: i64) -> Operation {
    operation.apply(&Entry { at: at(seconds), record }).unwrap();
    operation
}

fn committed(text: &str) -> Operation {
    after(create(Mode::Enforce, None), Record::Committed { id: id(text), is_new: true }, 2)
}

fn may_be_removed(own: &Operation, others: &[Operation], policy: &Policy) -> bool {
    removers(own, &shared(others), policy).next().is_some()
}

#[test]
fn p3_a_create_confirms_its_row_when_a_delete_ran_beside_it() {
    let own = committed("k");
    assert!(may_be_removed(&own, &[delete(&["k"], true)], &policy()));
    assert!(!may_be_removed(&own, &[delete(&["l"], true)], &policy()));
    assert!(may_be_removed(&own, &[delete_named("n", &[])], &policy()));
    assert!(!may_be_removed(&own, &[delete_named("other", &[])], &policy()));
    let refused = Record::Finished { resolution: Resolution::NotDeleted };
    assert!(!may_be_removed(&own, &[after(delete_named("n", &[]), refused, 3)], &policy()));
}

#[test]
fn p3_a_delete_by_name_looks_at_its_targets_and_at_what_was_made_beside_it() {
    let delete = after(delete_named("n", &["t"]), Record::Closed { effect: Effect::Past }, 3);
    let (ids, open) = candidates(&delete, &shared(&[committed("k")]), &policy());
    assert_eq!((ids.len(), open), (2, false));
    let (ids, open) = candidates(&delete, &shared(&[create(Mode::Enforce, None)]), &policy());
    assert_eq!((ids.len(), open), (1, true));
    let other = create_named("other", Mode::Enforce, None);
    assert!(!candidates(&delete, &shared(&[other]), &policy()).1);
}

/// A request that was answered has chosen its rows, however late it commits.
#[test]
fn p3_a_create_that_was_sent_after_the_answer_to_a_delete_is_not_looked_at() {
    let ids = |seconds, policy: &Policy| {
        let delete =
            after(delete_named("n", &[]), Record::Closed { effect: Effect::Past }, seconds);
        candidates(&delete, &shared(&[committed("k")]), policy).0.len()
    };
    let shared = Policy { apart: std::time::Duration::from_secs(10), ..policy() };
    assert_eq!([ids(1, &policy()), ids(0, &policy())], [1, 0]);
    assert_eq!([ids(1 - 10, &shared), ids(1 - 11, &shared)], [1, 0]);
}

#[test]
fn p3_a_delete_that_was_answered_before_a_create_was_sent_did_not_choose_its_row() {
    let own = committed("k");
    let closed =
        |effect, seconds| after(delete_named("n", &[]), Record::Closed { effect }, seconds);
    assert!(!may_be_removed(&own, &[closed(Effect::Past, 0)], &policy()));
    assert!(may_be_removed(&own, &[closed(Effect::Past, 1)], &policy()));
    assert!(may_be_removed(&own, &[closed(Effect::MayCome, 0)], &policy()));
    assert!(!may_be_removed(&own, &[closed(Effect::MayCome, -120)], &policy()));
    let shared = Policy { apart: std::time::Duration::from_secs(10), ..policy() };
    assert!(may_be_removed(&own, &[closed(Effect::Past, 1 - 10)], &shared));
    assert!(!may_be_removed(&own, &[closed(Effect::Past, 1 - 11)], &shared));
}

/// It had removed the row of a create whose id nobody knew yet.
#[test]
fn p3_a_delete_that_ended_without_a_row_may_have_removed_that_of_a_create_which_closes_later() {
    let ended = Record::Finished { resolution: Resolution::NotDeleted };
    let looked = after(delete_named("n", &[]), Record::Closed { effect: Effect::Past }, 2);
    assert!(may_be_removed(&committed("k"), &[after(looked, ended, 3)], &policy()));
}

/// Schedule 15 of docs/DESIGN.md: a client that repeats a delete every minute.
#[test]
fn p9_a_delete_that_began_after_the_registration_does_not_hold_the_create_up() {
    let registered = Record::Registered { id: id("k"), ambiguous: false };
    let own = after(committed("k"), registered, 3);
    let begun = |seconds| Operation { intent: at(seconds), ..delete(&["k"], true) };
    assert!(may_be_removed(&own, &[begun(3)], &policy()));
    assert!(!may_be_removed(&own, &[begun(4)], &policy()));
    let shared = Policy { apart: std::time::Duration::from_secs(10), ..policy() };
    assert!(may_be_removed(&own, &[begun(4)], &shared));
}

/// Schedule 11 of docs/DESIGN.md: a delete by name without a type, and a create with a type.
#[test]
fn p3_a_field_that_only_one_gives_keeps_no_delete_from_meaning_a_row() {
    let mut create = committed("k");
    let plan = Arc::make_mut(&mut create.plan);
    let Kind::Create(CreatePlan { probe: Some(probe), .. }) = &mut plan.kind else { panic!() };
    let field = Pointer::parse("/type").unwrap();
    probe.conditions.push(Condition { field, value: "github".into() });
    assert!(may_be_removed(&create, &[delete_named("n", &[])], &policy()));
    assert!(!may_be_removed(&create, &[delete_named("m", &[])], &policy()));
}

/// On the way to the service a DELETE that was answered may be repeated.
#[test]
fn p3_where_ids_come_back_a_delete_may_have_removed_a_row_that_was_made_after_its_answer() {
    let mut own = committed("k");
    let answered = |seconds| {
        let closed = Record::Closed { effect: Effect::Past };
        [after(delete(&["k"], true), closed, seconds)]
    };
    assert!(!may_be_removed(&own, &answered(0), &policy()));
    Arc::make_mut(&mut own.plan).ids = Ids::Reused;
    assert!(may_be_removed(&own, &answered(0), &policy()));
    assert!(!may_be_removed(&own, &answered(-120), &policy()));
}

#[test]
fn p3_where_ids_come_back_a_delete_that_ended_owes_nothing_of_the_rows_that_another_listed() {
    let mut own = delete_named("n", &["k"]);
    let of = |phase| Operation { gone: [id("k")].into(), phase, ..delete_named("n", &["k"]) };
    let ended = of(Phase::Finished(Resolution::Deregistered));
    let owed = |own: &Operation, other: &Operation| owed_by(own, [other].into_iter());
    assert_eq!(owed(&own, &ended), [id("k")].into());
    // A person answers for it.
    assert_eq!(owed(&own, &of(Phase::Finished(Resolution::Discarded))), BTreeSet::new());
    Arc::make_mut(&mut own.plan).ids = Ids::Reused;
    assert_eq!(owed(&own, &ended), BTreeSet::new());
    assert_eq!(owed(&own, &of(Phase::Looking)), [id("k")].into());
    own.targets.ids.clear();
    assert_eq!(owed(&own, &ended), [id("k")].into());
}
