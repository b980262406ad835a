//! What evidence comes to, in each place where an operation may stand.

use super::super::super::fixtures::{create, delete, id, policy};
use super::super::super::settle::until;
use super::super::{Call, Settled, Task, next, on};
use super::*;
use crate::model::{Entry, Ids, Kind, Mode, PassReason, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn take(operation: &mut Operation, event: Event, seconds: i64) -> Option<&'static str> {
    let record = on(operation, event, &policy()).unwrap()?;
    let name = record.name();
    operation.apply(&Entry { at: at(seconds), record }).unwrap();
    Some(name)
}

fn tell(operation: &mut Operation, late: Late, seconds: i64) -> Option<&'static str> {
    take(operation, Event::Evidence(late), seconds)
}

fn row() -> Late {
    Late::Row { id: id("k") }
}

fn failed() -> Event {
    Event::NotAcknowledged { reason: UndoReason::Deadline, ambiguous: false }
}

#[test]
fn p2_a_late_id_undoes_a_create_that_knows_no_row() {
    let reported = Record::Reported { rows: vec![id("k")], why: "test".into() };
    for records in [vec![], vec![reported]] {
        let mut create = create(Mode::Enforce, None);
        take(&mut create, Event::Restarted, 10);
        for record in records {
            create.apply(&Entry { at: at(200), record }).unwrap();
        }
        assert_eq!(tell(&mut create, row(), 300), Some("undoing"));
    }
}

/// Evidence of an operation that has ended begins another one.
#[test]
fn p2_a_late_id_undoes_the_row_of_an_operation_that_only_evidence_began() {
    let mut create = create(Mode::Enforce, None);
    assert_eq!(tell(&mut create, row(), 900), Some("undoing"));
}

#[test]
fn p4_a_late_id_of_a_create_that_is_not_enforced_is_only_recorded() {
    let mut create = create(Mode::Enforce, Some(PassReason::NoCreator));
    take(&mut create, Event::Restarted, 10);
    assert_eq!(tell(&mut create, row(), 300), Some("passed"));
}

#[test]
fn p3_what_is_undone_waits_for_a_registration_that_left_late() {
    let mut create = create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Committed(id("k"))), 2);
    take(&mut create, failed(), 3);
    let gone = [id("k")].into();
    take(&mut create, Event::Settled(Settled { gone, over: false }), 4);
    assert_eq!(next(&create, at(20), &policy()), Task::Make(Call::Deregister([id("k")].into())));
    assert_eq!(tell(&mut create, row(), 20), Some("undoing"));
    assert_eq!(next(&create, at(21), &policy()), Task::Wait(at(20 + 120)));
}

#[test]
fn p2_a_registration_that_left_late_undoes_no_create_that_stands() {
    let mut create = create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Committed(id("k"))), 2);
    take(&mut create, Event::Acknowledged { ambiguous: false }, 3);
    let over = Event::Settled(Settled { gone: [].into(), over: true });
    for event in [None, Some(over)] {
        event.map(|event| take(&mut create, event, 5));
        assert!(tell(&mut create, row(), 6).is_none());
        assert!(tell(&mut create, Late::Sent, 6).is_none());
    }
}

#[test]
fn p2_p3_a_request_that_left_late_is_looked_for_until_l_has_passed_since() {
    let (mut unknown, mut looked_at) = (create(Mode::Enforce, None), delete(&["k"], false));
    for operation in [&mut unknown, &mut looked_at] {
        take(operation, Event::Restarted, 10);
        assert_eq!(tell(operation, Late::Sent, 100), Some("closed"));
        assert_eq!(until(operation, &policy()), Some(at(100 + 120)));
    }
    take(&mut unknown, Event::Expired, 9000);
    assert_eq!(tell(&mut unknown, Late::Sent, 9001), Some("closed"), "it is reported by then");
    assert_eq!(until(&unknown, &policy()), Some(at(9001 + 120)));
}

#[test]
fn p9_what_has_ended_has_ended() {
    let mut create = create(Mode::Enforce, None);
    take(&mut create, Event::Restarted, 10);
    take(&mut create, Event::Probed(crate::dualwrite::rows::Verdict::NoRow, at(200)), 200);
    assert!(create.is_finished());
    for late in [row(), Late::Sent] {
        assert!(tell(&mut create, late, 300).is_none());
    }
}

#[test]
fn what_left_is_evidence_and_what_did_not_is_none() {
    let mut create = create(Mode::Enforce, None);
    let answered = |outcome| Event::CreateAnswered(outcome);
    let committed = answered(CreateOutcome::Committed(id("k")));
    assert_eq!(evidence(&create, &committed), Some(row()));
    assert_eq!(evidence(&create, &answered(CreateOutcome::Unknown)), Some(Late::Sent));
    for nothing in [CreateOutcome::NotSent, CreateOutcome::Rejected] {
        assert_eq!(evidence(&create, &answered(nothing)), None);
    }
    take(&mut create, committed, 2);
    for sent in [Event::Acknowledged { ambiguous: false }, failed()] {
        assert_eq!(evidence(&create, &sent), Some(row()));
    }
    let looked = Event::DeleteAnswered(DeleteOutcome::Look(Effect::MayCome));
    assert_eq!(evidence(&create, &looked), Some(Late::Sent));
    assert_eq!(evidence(&create, &Event::DeleteAnswered(DeleteOutcome::Refused)), None);
}

#[test]
fn p4_a_late_id_undoes_no_row_that_is_not_proven_new() {
    let mut unproven = create(Mode::Enforce, None);
    let committed = Record::Committed { id: id("k"), is_new: false };
    unproven.apply(&Entry { at: at(2), record: committed }).unwrap();
    assert_eq!(take(&mut unproven, Event::Restarted, 10), Some("reported"));
    assert!(tell(&mut unproven, row(), 20).is_none());
    assert_eq!(
        next(&unproven, at(200), &policy()),
        Task::Make(Call::Settle),
        "its registration may have landed"
    );
    let mut replayed = create(Mode::Enforce, None);
    let plan = std::sync::Arc::make_mut(&mut replayed.plan);
    if let Kind::Create(plan) = &mut plan.kind {
        plan.replayed = true;
    }
    take(&mut replayed, Event::Restarted, 10);
    assert_eq!(tell(&mut replayed, row(), 20), Some("reported"));
}

/// What became of the id since the report may be forgotten.
#[test]
fn p4_where_ids_come_back_a_late_id_of_a_create_that_was_reported_undoes_nothing() {
    for (ids, follows) in [(Ids::Fresh, "undoing"), (Ids::Reused, "reported")] {
        let mut create = create(Mode::Enforce, None);
        std::sync::Arc::make_mut(&mut create.plan).ids = ids;
        take(&mut create, Event::Restarted, 10);
        let mut unknown = create.clone();
        assert_eq!(tell(&mut unknown, row(), 20), Some("undoing"), "it never ended");
        take(&mut create, Event::Expired, 9000);
        assert_eq!(tell(&mut create, row(), 9001), Some(follows));
    }
}

/// It was undone until a person had to decide; a process that was away tells that it registered the row.
#[test]
fn p3_a_report_that_holds_a_row_waits_for_a_registration_that_left_late() {
    let mut create = create(Mode::Enforce, None);
    std::sync::Arc::make_mut(&mut create.plan).ids = Ids::Reused;
    take(&mut create, Event::CreateAnswered(CreateOutcome::Committed(id("k"))), 2);
    take(&mut create, failed(), 3);
    take(&mut create, Event::GivenUp("test".into()), 4);
    assert_eq!(tell(&mut create, row(), 500), Some("reported"));
    let gone = [id("k")].into();
    take(&mut create, Event::Settled(Settled { gone, over: false }), 501);
    assert_eq!(next(&create, at(501), &policy()), Task::Wait(at(500 + 120)));
}
