//! What a person's orders do to an operation, in each of its phases.

use super::*;
use crate::dualwrite::overlap::{candidates, owed_by};
use crate::model::Words;

fn words(text: &str) -> Words {
    text.parse().unwrap()
}

pub(super) fn retry() -> Order {
    Order::Retry { by: words("alice"), reason: None }
}

pub(super) fn discard() -> Order {
    Order::Discard { by: words("alice"), reason: words("the row stays") }
}

fn unknown(name: &str) -> Operation {
    let mut create = fixtures::create_named(name, Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(2)).unwrap();
    create
}

/// One operation in each phase in which one may be found unfinished after its request.
fn unfinished() -> Vec<Operation> {
    let created = |events: Vec<Event>, pass| {
        let mut create = fixtures::create(Mode::Enforce, pass);
        for event in events {
            take(&mut create, event, at(2)).unwrap();
        }
        create
    };
    let failed = || not_acknowledged(UndoReason::Refused, false);
    let gone =
        || vec![committed(), Event::Acknowledged { ambiguous: true }, settled(&["k"], false)];
    let mut looking = fixtures::delete(&["k"], false);
    take(&mut looking, Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past)), at(2)).unwrap();
    let mut removed = fixtures::delete(&["k"], true);
    take(&mut removed, Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past)), at(2)).unwrap();
    vec![
        unknown("n"),
        created(vec![committed(), Event::Acknowledged { ambiguous: false }], None),
        created(vec![committed()], Some(PassReason::NoCreator)),
        created(vec![committed(), failed()], None),
        created(gone(), None),
        created(vec![Event::Taken { id: id("k"), condemned: false }], None),
        looking,
        removed,
    ]
}

#[test]
fn p9_a_discard_ends_an_operation_from_every_phase_and_says_who_why_and_where_it_stood() {
    let mut seen = BTreeSet::new();
    for mut operation in unfinished() {
        let stood = operation.phase.name();
        seen.insert(stood);
        let discarded = take(&mut operation, Event::Ordered(discard()), at(3)).unwrap();
        let Some(Record::Discarded { by, reason, phase }) = &discarded else {
            panic!("{stood}: {discarded:?}");
        };
        assert_eq!((by.as_str(), reason.as_str()), ("alice", "the row stays"));
        assert_eq!(phase, stood);
        assert!(operation.is_discarded());
        assert_eq!(next(&operation, at(900), &policy()), Task::Nothing);
    }
    let all = ["looking", "passed", "registered", "reported", "undoing", "unknown"];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn p9_a_retry_is_written_down_and_changes_nothing_else() {
    for mut operation in unfinished() {
        let (before, task) = (operation.clone(), next(&operation, at(3), &policy()));
        let retried = take(&mut operation, Event::Ordered(retry()), at(3)).unwrap();
        assert_eq!(retried, Some(Record::Retried { by: words("alice"), reason: None }));
        assert_eq!(next(&operation, at(3), &policy()), task);
        assert_eq!(operation, Operation { retries: 1, ..before });
    }
}

#[test]
fn p8_retries_of_one_operation_are_bounded() {
    let mut create = unknown("n");
    create.retries = 999;
    take(&mut create, Event::Ordered(retry()), at(3)).unwrap();
    assert!(take(&mut create, Event::Ordered(retry()), at(3)).is_err());
    take(&mut create, Event::Ordered(discard()), at(3)).unwrap();
}

#[test]
fn p1_an_order_waits_for_a_request_that_is_under_way() {
    let mut create = fixtures::create(Mode::Enforce, None);
    for order in [retry(), discard()] {
        assert!(take(&mut create, Event::Ordered(order), at(2)).is_err());
    }
    take(&mut create, committed(), at(2)).unwrap();
    assert!(take(&mut create, Event::Ordered(discard()), at(2)).is_err());
    // Once its process is gone, nobody waits.
    take(&mut create, Event::Restarted, at(3)).unwrap();
    take(&mut create, Event::Ordered(discard()), at(3)).unwrap();
    assert!(take(&mut create, Event::Ordered(discard()), at(4)).is_err(), "once");
}

#[test]
fn p9_late_evidence_does_not_undo_what_an_operator_decided() {
    for mut operation in unfinished() {
        take(&mut operation, Event::Ordered(discard()), at(3)).unwrap();
        let late = [
            Event::Evidence(Late::Row { id: id("k") }),
            Event::Evidence(Late::Sent),
            Event::Restarted,
        ];
        for event in late {
            assert!(take(&mut operation, event, at(4)).unwrap().is_none());
        }
        assert!(operation.is_discarded());
    }
}

#[test]
fn p3_nobody_relies_on_a_discarded_operation_to_deregister() {
    let mut delete = fixtures::delete_named("n", &["k"]);
    take(&mut delete, Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past)), at(2)).unwrap();
    take(&mut delete, settled(&["k"], false), at(2)).unwrap();
    assert_eq!(owed_by(&delete, std::iter::once(&delete)), BTreeSet::from([id("k")]));
    take(&mut delete, Event::Ordered(discard()), at(3)).unwrap();
    assert!(owed_by(&delete, std::iter::once(&delete)).is_empty());
}

#[test]
fn p3_a_delete_by_name_sees_to_the_row_that_a_discarded_undo_left() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, committed(), at(2)).unwrap();
    take(&mut create, not_acknowledged(UndoReason::Refused, false), at(2)).unwrap();
    let other = fixtures::delete_named("n", &[]);
    assert!(
        candidates(&other, &fixtures::shared(std::slice::from_ref(&create)), &policy())
            .0
            .is_empty()
    );
    take(&mut create, Event::Ordered(discard()), at(3)).unwrap();
    let (ids, _) = candidates(&other, &fixtures::shared(&[create]), &policy());
    assert_eq!(ids, BTreeSet::from([id("k")]));
}
