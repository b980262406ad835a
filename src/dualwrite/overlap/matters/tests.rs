//! Whatever is concluded with all others is concluded with those that matter.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::super::{candidates, owed_by, removers};
use super::matters;
use crate::dualwrite::fixtures::{create_named, delete, delete_named, id, policy, shared};
use crate::dualwrite::operation::Operation;
use crate::dualwrite::rows::{SightedRow, judge};
use crate::model::{
    Effect, Entry, Evidence, Ids, Kind, Mode, PassReason, Record, Resolution, Timestamp, UndoReason,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn after(mut operation: Operation, records: Vec<Record>) -> Operation {
    for (record, seconds) in records.into_iter().zip(2..) {
        operation.apply(&Entry { at: at(seconds), record }).unwrap();
    }
    operation
}

/// Creates of that name, in all the places where one may stand.
fn creates(name: &str, key: &str) -> Vec<Operation> {
    let closed = || Record::Closed { effect: Effect::MayCome };
    let committed = || Record::Committed { id: id(key), is_new: true };
    let registered = || Record::Registered { id: id(key), ambiguous: false };
    let reported = || Record::Reported { rows: vec![id(key)], why: "test".into() };
    let deleted = || Record::Deleted { ids: vec![id(key)] };
    let undoing = || {
        let (evidence, reason) = (Evidence::Answer, UndoReason::Crash);
        Record::Undoing { id: id(key), evidence, reason, ambiguous: true }
    };
    let finished = |resolution| Record::Finished { resolution };
    let discarded = || {
        let (by, reason) = ("alice".parse().unwrap(), "test".parse().unwrap());
        Record::Discarded { by, reason, phase: "unknown".into() }
    };
    let histories = [
        vec![],
        vec![closed()],
        vec![committed()],
        vec![committed(), registered()],
        vec![committed(), registered(), finished(Resolution::Registered)],
        vec![committed(), registered(), deleted()],
        vec![committed(), undoing()],
        vec![closed(), reported()],
        vec![closed(), finished(Resolution::Rejected)],
        vec![closed(), discarded()],
        vec![finished(Resolution::NotSent)],
    ];
    let passes = create_named(name, Mode::Enforce, Some(PassReason::Bypass));
    let unsettled = vec![closed(), finished(Resolution::Unsettled)];
    let enforced = histories.map(|records| after(create_named(name, Mode::Enforce, None), records));
    enforced.into_iter().chain([after(passes, unsettled)]).collect()
}

/// Deletes of that row and of that name, in the places where one may stand.
fn deletes(name: &str, key: &str) -> Vec<Operation> {
    let closed = || Record::Closed { effect: Effect::MayCome };
    let deleted = || Record::Deleted { ids: vec![id(key)] };
    let finished = |resolution| Record::Finished { resolution };
    let histories = || {
        [
            vec![],
            vec![closed()],
            vec![closed(), deleted()],
            vec![finished(Resolution::NotSent)],
            vec![finished(Resolution::NotDeleted)],
        ]
    };
    let begun = [delete(&[key], true), delete_named(name, &[]), delete_named(name, &[key])];
    begun
        .iter()
        .flat_map(|begun| histories().map(|records| after(begun.clone(), records)))
        .collect()
}

fn pool() -> Vec<Operation> {
    let of = |name, key| creates(name, key).into_iter().chain(deletes(name, key));
    of("n", "k").chain(of("m", "k")).chain(of("n", "j")).chain(of("m", "j")).collect()
}

fn row(key: &str) -> SightedRow {
    let json = json!({"id": key, "name": "n"});
    SightedRow { id: id(key), is_found: false, is_back: false, json }
}

#[test]
fn r1_p4_a_create_is_judged_by_those_that_matter_as_by_all() {
    let (own, rows) = (&creates("n", "own")[1], [row("k"), row("l")]);
    for other in pool().into_iter().filter(Operation::is_create) {
        for beside in pool().into_iter().filter(Operation::is_create) {
            let all = [other.clone(), beside];
            let some: Vec<_> = all.iter().filter(|other| matters(own, other)).cloned().collect();
            let judged = |others: &[Operation]| judge(own, &rows, &shared(others), true);
            assert_eq!(judged(&some), judged(&all), "{all:?}");
        }
    }
}

#[test]
fn r1_p3_a_create_that_stands_finds_the_same_deletes() {
    for own in creates("n", "k").into_iter().filter(|own| own.bound.is_some()) {
        for other in pool().into_iter().filter(|other| !other.is_create()) {
            let all = [other];
            let some: Vec<_> = all.iter().filter(|other| matters(&own, other)).collect();
            let all: Vec<_> = all.iter().collect();
            let found = |others: &[&Operation]| -> Vec<_> {
                removers(&own, &shared(others.iter().copied()), &policy())
                    .map(|delete| delete.id)
                    .collect()
            };
            assert_eq!(found(&some), found(&all), "{all:?}");
        }
    }
}

#[test]
fn r1_p3_a_delete_finds_the_same_rows() {
    for own in deletes("n", "k") {
        for other in pool() {
            let all = [other];
            let some: Vec<_> = all.iter().filter(|other| matters(&own, other)).collect();
            let all: Vec<_> = all.iter().collect();
            assert_eq!(
                candidates(&own, &shared(some.iter().copied()), &policy()),
                candidates(&own, &shared(all.iter().copied()), &policy())
            );
            let owed =
                |others: &[&Operation]| -> BTreeSet<_> { owed_by(&own, others.iter().copied()) };
            assert_eq!(owed(&some), owed(&all), "{all:?}");
        }
    }
}

#[test]
fn r1_p8_rows_of_another_name_do_not_matter() {
    let registered = &creates("n", "k")[4];
    assert!(matters(&delete_named("n", &[]), registered));
    assert!(!matters(&delete_named("m", &[]), registered));
    assert!(!matters(&creates("n", "own")[1], registered), "whose row is known");
}

/// It found the row of an overlapping create gone, which its list lacked, and has yet to deregister it.
#[test]
fn p1_p3_a_delete_of_another_name_matters_to_a_create_that_names_what_it_found_gone() {
    let mut create = create_named("n", Mode::Enforce, None);
    let plan = Arc::make_mut(&mut create.plan);
    plan.ids = Ids::Reused;
    if let Kind::Create(create) = &mut plan.kind {
        create.names = Some(id("k"));
    }
    let gone = Operation { gone: [id("k")].into(), ..delete_named("other", &[]) };
    assert!(matters(&create, &gone));
    assert!(matters(&create, &delete_named("other", &["k"])));
    assert!(!matters(&create, &delete_named("other", &[])));
}
