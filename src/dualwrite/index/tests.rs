//! From each history what the journal is told.

use std::sync::Arc;
use std::time::Duration;

use super::super::fixtures::{began, create, delete, delete_named, id, policy};
use super::*;
use crate::model::{Effect, Evidence, Ids, Mode, PassReason, Record, Timestamp, UndoReason, Words};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// After these records, of seconds 2, 3 and so on; it began at second 1.
fn told(begun: &Operation, records: Vec<Record>) -> Index {
    let (mut operation, append) = begin(begun.id, vec![began(begun)]).unwrap();
    assert!(append.begins);
    let mut told = append.index;
    for (record, seconds) in records.into_iter().zip(2..) {
        let append;
        (operation, append) = go_on(&operation, vec![Entry { at: at(seconds), record }]).unwrap();
        assert_eq!((append.begins, append.operation), (false, begun.id));
        told = append.index;
    }
    told
}

fn enforced() -> Operation {
    create(Mode::Enforce, None)
}

fn removes() -> Operation {
    delete(&["k"], true)
}

fn by_name() -> Operation {
    delete_named("n", &["k"])
}

fn reuse(operation: &mut Operation) {
    Arc::make_mut(&mut operation.plan).ids = Ids::Reused;
}

fn committed() -> Record {
    Record::Committed { id: id("k"), is_new: true }
}

fn registered() -> Record {
    Record::Registered { id: id("k"), ambiguous: false }
}

fn undoing() -> Record {
    let (evidence, reason) = (Evidence::Answer, UndoReason::Crash);
    Record::Undoing { id: id("k"), evidence, reason, ambiguous: true }
}

fn closed() -> Record {
    Record::Closed { effect: Effect::MayCome }
}

fn deleted() -> Record {
    Record::Deleted { ids: vec![id("k")] }
}

fn reported() -> Record {
    Record::Reported { rows: vec![id("r")], why: "no created_at".into() }
}

fn retried() -> Record {
    Record::Retried { by: "alice".parse::<Words>().unwrap(), reason: None }
}

fn finished(resolution: Resolution) -> Record {
    Record::Finished { resolution }
}

#[test]
fn p3_p4_what_may_look_for_rows_yet_is_open() {
    let bypassed = || create(Mode::Enforce, Some(PassReason::Bypass));
    let passed = Record::Passed { id: id("k"), why: PassReason::Bypass };
    for (begun, records) in [
        (removes(), vec![]),
        (enforced(), vec![]),
        (enforced(), vec![committed()]),
        (enforced(), vec![closed()]),
        // It will look at deletes that ran then.
        (enforced(), vec![committed(), registered()]),
        (bypassed(), vec![passed]),
        (by_name(), vec![closed()]),
        // Rows were found gone, and it looks on.
        (by_name(), vec![closed(), deleted()]),
        (by_name(), vec![closed(), deleted(), retried()]),
        (by_name(), vec![closed(), deleted(), Record::Resumed]),
    ] {
        assert_eq!(told(&begun, records.clone()).state, State::Open, "{records:?}");
    }
}

#[test]
fn p8_what_no_longer_looks_for_rows_needs_no_others() {
    for (begun, records) in [
        (enforced(), vec![committed(), undoing()]),
        (enforced(), vec![closed(), undoing()]),
        (enforced(), vec![committed(), undoing(), deleted(), Record::Resumed]),
        (enforced(), vec![committed(), registered(), deleted()]),
        (enforced(), vec![committed(), registered(), deleted(), retried()]),
        (removes(), vec![closed()]),
        (removes(), vec![closed(), deleted()]),
        (enforced(), vec![closed(), reported()]),
        // As evidence does it.
        (enforced(), vec![closed(), reported(), closed()]),
    ] {
        assert_eq!(told(&begun, records.clone()).state, State::Alone, "{records:?}");
    }
}

#[test]
fn r1_p8_a_create_that_made_nothing_and_was_never_in_doubt_is_void() {
    for resolution in [Resolution::NotSent, Resolution::Rejected] {
        let void = told(&enforced(), vec![finished(resolution)]);
        assert_eq!(void.state, State::Void(at(2)), "{resolution:?}");
        // Who was in doubt may have been registered for a row that no record names.
        let doubted = told(&enforced(), vec![closed(), finished(resolution)]);
        assert_eq!(doubted.state, State::Finished(at(3)), "{resolution:?}");
    }
    for resolution in [Resolution::NotSent, Resolution::NotDeleted] {
        assert_eq!(told(&removes(), vec![finished(resolution)]).state, State::Void(at(2)));
        // What was answered may have removed a row.
        let doubted = told(&removes(), vec![closed(), finished(resolution)]);
        assert_eq!(doubted.state, State::Finished(at(3)), "{resolution:?}");
    }
    for resolution in [Resolution::Unsettled, Resolution::Registered, Resolution::Passed] {
        let end = told(&enforced(), vec![finished(resolution)]);
        assert_eq!(end.state, State::Finished(at(2)), "{resolution:?}");
    }
}

#[test]
fn p4_a_life_begins_with_the_intent_and_ends_where_the_service_s_part_is_over() {
    let ends = |begun: Operation, records| {
        let index = told(&begun, records);
        assert_eq!(index.opened_at, at(1));
        index.settled_at
    };
    assert_eq!(ends(enforced(), vec![]), None);
    assert_eq!(ends(enforced(), vec![committed()]), None, "it may be undone");
    assert_eq!(ends(enforced(), vec![committed(), registered()]), Some(at(3)));
    assert_eq!(ends(enforced(), vec![committed(), undoing()]), Some(at(3)));
    let stands = vec![committed(), registered(), finished(Resolution::Registered)];
    assert_eq!(ends(enforced(), stands), Some(at(3)), "the first that tells");
    assert_eq!(ends(enforced(), vec![reported()]), Some(at(2)), "of an id that is another's");
    let removed = vec![closed(), deleted(), finished(Resolution::Deregistered)];
    assert_eq!(ends(removes(), removed), Some(at(2)));
    // Until it is known what became of it, it may matter to every create that begins.
    assert_eq!(ends(enforced(), vec![closed(), closed()]), None);
    assert_eq!(ends(enforced(), vec![closed(), reported()]), Some(at(3)));
    // Evidence that closes it again moves its end.
    assert_eq!(ends(removes(), vec![closed(), deleted(), closed()]), Some(at(4)));
    assert_eq!(ends(removes(), vec![closed(), Record::Resumed]), Some(at(3)), "as after a crash");
}

/// However long it takes to deregister its row, a request that names the row must find it.
#[test]
fn p1_where_ids_come_back_a_removal_matters_until_it_has_ended() {
    let undone = || vec![committed(), undoing(), deleted()];
    let deleted = || vec![closed(), deleted()];
    let deregistered = || finished(Resolution::Deregistered);
    for (mut begun, records, end) in [
        (removes(), deleted(), deregistered()),
        (by_name(), deleted(), deregistered()),
        (enforced(), undone(), finished(Resolution::Undone)),
    ] {
        let ends = |begun: &Operation, records| told(begun, records).settled_at;
        let last = i64::try_from(records.len()).unwrap();
        let (settled, over) = (at(last), at(last + 2));
        let ended: Vec<_> = records.iter().cloned().chain([end]).collect();
        assert_eq!(ends(&begun, ended.clone()), Some(settled), "elsewhere: {records:?}");
        reuse(&mut begun);
        assert_eq!(ends(&begun, records.clone()), None, "{records:?}");
        assert_eq!(ends(&begun, ended), Some(over), "{records:?}");
    }
    let mut stands = enforced();
    reuse(&mut stands);
    let stood = told(&stands, vec![committed(), registered()]).settled_at;
    assert_eq!(stood, Some(at(3)), "deletes find it by its id");
}

/// What was sent may have its effect L later, and a read may show it λ later still, by either clock.
#[test]
fn p3_p4_whatever_may_matter_yet_meets_the_window() {
    let mut policy = policy();
    policy.bounds.read_lag = Duration::from_secs(30);
    policy.apart = Duration::from_secs(10);
    let own = create(Mode::Enforce, None);
    let from = at(1 - 120 - 30 - 2 * 10);
    assert_eq!(window(&own, Of::Deletes, &policy).from, from);
    let settled = |seconds| Index { settled_at: Some(seconds), ..index(&removes()) };
    assert!(settled(from).meets(&window(&own, Of::Deletes, &policy)));
    assert!(!settled(from).meets(&window(&own, Of::Creates, &policy)));
}

#[test]
fn p4_a_create_holds_the_row_that_is_its_own() {
    let holds = |records| told(&enforced(), records).holds;
    assert_eq!(holds(vec![]), None);
    assert_eq!(holds(vec![closed(), undoing()]), Some(id("k")));
    let stands = vec![committed(), registered(), finished(Resolution::Registered)];
    assert_eq!(holds(stands), Some(id("k")));
    assert_eq!(holds(vec![reported()]), None, "the id is another's");
    assert_eq!(holds(vec![committed(), reported()]), Some(id("k")), "it may be registered");
    assert_eq!(told(&removes(), vec![closed(), deleted()]).holds, None);
    // Nobody owns a row that is gone, and deregistered.
    let undone = vec![committed(), undoing(), deleted()];
    assert_eq!(holds(undone.clone()), Some(id("k")));
    let ended = undone.into_iter().chain([finished(Resolution::Undone)]).collect();
    assert_eq!(holds(ended), None);
    let found_gone = vec![committed(), registered(), deleted(), finished(Resolution::Deregistered)];
    assert_eq!(holds(found_gone), None);
}

/// A list that lags may show the row of a create that stood: it stays that create's where no other row gets the id.
#[test]
fn p1_p4_a_delete_frees_the_ids_of_its_rows_where_ids_come_back() {
    let ended = || vec![closed(), deleted(), finished(Resolution::Deregistered)];
    let mut delete = removes();
    assert_eq!(told(&delete, ended()).frees, []);
    reuse(&mut delete);
    assert_eq!(told(&delete, ended()).frees, [id("k")]);
    assert_eq!(told(&delete, vec![closed(), deleted()]).frees, [], "it may be registered yet");
}

#[test]
fn p1_what_holds_a_row_is_unsettled_until_the_row_stands_or_nothing_is_left_of_it() {
    let after = |records: Vec<Record>| {
        let mut operation = enforced();
        for (record, seconds) in records.into_iter().zip(2..) {
            operation.apply(&Entry { at: at(seconds), record }).unwrap();
        }
        operation.is_unsettled()
    };
    assert!(after(vec![committed()]));
    assert!(after(vec![committed(), undoing()]));
    assert!(!after(vec![committed(), registered()]));
    assert!(after(vec![committed(), registered(), deleted()]), "it is to be deregistered");
    let ended = vec![committed(), registered(), deleted(), finished(Resolution::Deregistered)];
    assert!(!after(ended));
}
