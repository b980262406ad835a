//! The schedules that the overlap rule closes.

use std::sync::Arc;

use super::super::fixtures::{create, create_named, delete, delete_named, id, policy};
use super::*;
use crate::model::{Commits, Effect, Entry, Mode, Record, Timestamp};

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

fn may_be_removed(own: &Operation, others: &[Operation], policy: &Policy) -> bool {
    removers(own, others, policy).next().is_some()
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
    let (ids, open) = candidates(&delete, &[committed("k")], &policy());
    assert_eq!((ids.len(), open), (2, false));
    let (ids, open) = candidates(&delete, &[create(Mode::Enforce, None)], &policy());
    assert_eq!((ids.len(), open), (1, true));
    let other = create_named("other", Mode::Enforce, None);
    assert!(!candidates(&delete, &[other], &policy()).1);
}

/// A delete may find a row for as long as it may take effect.
#[test]
fn p3_a_create_that_was_sent_when_a_delete_had_had_its_effect_is_not_looked_at() {
    let ids = |commits, policy: &Policy, seconds| {
        let mut delete = delete_named("n", &[]);
        Arc::make_mut(&mut delete.plan).commits = commits;
        let delete = after(delete, Record::Closed { effect: Effect::Past }, seconds);
        candidates(&delete, &[committed("k")], policy).0.len()
    };
    let shared = Policy { shared: true, ..policy() };
    for (commits, late) in [(Commits::BeforeAnswer, 0), (Commits::Late, 120)] {
        assert_eq!(ids(commits, &policy(), 2 - late), 1);
        assert_eq!(ids(commits, &policy(), 1 - late), 0);
        assert_eq!(ids(commits, &shared, 2 - 10 - late), 1);
        assert_eq!(ids(commits, &shared, 1 - 10 - late), 0);
    }
}

#[test]
fn p3_a_delete_that_had_its_effect_before_a_create_was_sent_did_not_choose_its_row() {
    let own = committed("k");
    let closed = |commits, effect, seconds| {
        let mut delete = delete_named("n", &[]);
        Arc::make_mut(&mut delete.plan).commits = commits;
        after(delete, Record::Closed { effect }, seconds)
    };
    let (late, before_answer) = (Commits::Late, Commits::BeforeAnswer);
    for (commits, effect, seconds, may) in [
        (before_answer, Effect::Past, 1, false),
        (before_answer, Effect::Past, 2, true),
        (before_answer, Effect::MayCome, 1, true),
        (late, Effect::Past, 1, true),
        (late, Effect::Past, 1 - 120, false),
    ] {
        let delete = closed(commits, effect, seconds);
        assert_eq!(may_be_removed(&own, &[delete], &policy()), may, "{commits:?} {effect:?}");
    }
    let shared = Policy { shared: true, ..policy() };
    assert!(may_be_removed(&own, &[closed(before_answer, Effect::Past, 1)], &shared));
}
