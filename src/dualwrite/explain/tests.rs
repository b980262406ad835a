//! What operators read, phase by phase.

use std::sync::Arc;

use super::super::fixtures::{create, create_named, delete, id, policy};
use super::super::outcome::{CreateOutcome, DeleteOutcome};
use super::super::state::{Event, Settled, on};
use super::*;
use crate::dualwrite::board::Board;
use crate::model::{Effect, Entry, Mode, PassReason, Record, Timestamp, UndoReason};

fn after(mut operation: Operation, events: impl IntoIterator<Item = Event>) -> Operation {
    let at = Timestamp::from_micros(2_000_000);
    for event in events {
        if let Some(record) = on(&mut operation, event, &policy()).unwrap() {
            operation.apply(&Entry { at, record }).unwrap();
        }
    }
    operation
}

fn told(operation: &Operation, teller: Teller) -> Explanation {
    explain(operation, None, &policy(), teller)
}

/// As the process that carries it on tells it.
fn carried_on(operation: &Operation) -> Explanation {
    let sheet = Arc::new(Board::default()).begin(operation);
    explain(operation, Some(&sheet.note.borrow()), &policy(), Teller::Sidecar)
}

fn answered(outcome: CreateOutcome) -> Event {
    Event::CreateAnswered(outcome)
}

fn reported(closed: bool) -> Operation {
    let mut reported = create(Mode::Enforce, None);
    if closed {
        reported = after(reported, [answered(CreateOutcome::Unknown)]);
    }
    let why = "there are two".into();
    let record = Record::Reported { rows: vec![id("r")], why };
    reported.apply(&Entry { at: Timestamp::from_micros(3_000_000), record }).unwrap();
    reported
}

fn every_phase() -> Vec<Operation> {
    let enforced = || create(Mode::Enforce, None);
    let committed = || answered(CreateOutcome::Committed(id("k")));
    let failed = || Event::NotAcknowledged { reason: UndoReason::Deadline, ambiguous: true };
    let gone = || Event::Settled(Settled { gone: [id("k")].into(), over: false });
    vec![
        enforced(),
        after(enforced(), [committed()]),
        after(enforced(), [answered(CreateOutcome::Unknown)]),
        after(create(Mode::Observe, None), [answered(CreateOutcome::Unknown)]),
        after(enforced(), [committed(), Event::Acknowledged { ambiguous: false }]),
        after(create_named("n", Mode::Enforce, Some(PassReason::Bypass)), [committed()]),
        after(enforced(), [committed(), failed()]),
        after(enforced(), [committed(), failed(), gone()]),
        delete(&["k"], false),
        after(delete(&["k"], false), [Event::DeleteAnswered(DeleteOutcome::Look(Effect::MayCome))]),
        after(delete(&["k"], true), [Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past))]),
        reported(true),
        reported(false),
    ]
}

#[test]
fn p9_every_unfinished_operation_tells_what_is_known_what_is_next_and_what_can_be_ordered() {
    for operation in every_phase() {
        let told = carried_on(&operation);
        let phase = told.phase;
        assert!(told.known.len() > 20 && told.next.len() > 20, "{phase}: {told:#?}");
        let under_way = ["prepared", "committed"].contains(&phase);
        assert_eq!(told.discarding.is_some(), !under_way, "{phase}");
    }
}

#[test]
fn p9_what_is_not_known_is_said() {
    for operation in every_phase() {
        let told = carried_on(&operation);
        let doubt = match told.phase {
            "prepared" => "is about to be sent, or was sent",
            "unknown" => "whether the service",
            "registered" => "a delete that overlaps it may",
            "looking" => "may have removed others",
            "reported" => "a person has to decide",
            _ => continue,
        };
        assert!(told.known.contains(doubt), "{told:#?}");
    }
}

/// A process may die once the back end has acknowledged, and before even the row's id is durable.
#[test]
fn p9_a_create_of_unknown_outcome_is_not_said_to_be_unregistered() {
    let restarted = after(create(Mode::Enforce, None), [Event::Restarted]);
    for operation in [restarted, reported(true), reported(false)] {
        let told = carried_on(&operation);
        assert!(!told.known.contains("registered"), "{told:#?}");
        let discarding = told.discarding.unwrap();
        assert!(discarding.contains("most likely without relationships"), "{told:#?}");
    }
}

#[test]
fn p9_when_the_next_attempt_is_due_is_told() {
    let operation = after(create(Mode::Enforce, None), [answered(CreateOutcome::Unknown)]);
    let (sheet, due) =
        (Arc::new(Board::default()).begin(&operation), Timestamp::from_micros(7_000_000));
    let told = || explain(&operation, Some(&sheet.note.borrow()), &policy(), Teller::Sidecar);
    assert_eq!(told().next_at, None, "an attempt is under way");
    sheet.note.send_modify(|note| note.next = Some(due));
    assert_eq!(told().next_at, Some(due.to_string()));
    sheet.note.send_modify(|note| {
        note.next = None;
        note.waits_for = Some("service");
    });
    let waits = told();
    assert_eq!((waits.next_at.as_deref(), waits.waits_for), (None, Some("service")));
    assert!(waits.stuck && waits.next.contains("until the service answers"), "{waits:#?}");
}

#[test]
fn p9_what_only_a_person_can_end_says_so_and_how() {
    for (closed, end) in [(true, "ends by itself"), (false, "discard")] {
        let told = carried_on(&reported(closed));
        assert!(told.needs_a_person);
        assert!(told.known.contains("there are two"), "{told:#?}");
        assert!(told.remedy.as_ref().unwrap().contains(end), "{told:#?}");
    }
}

#[test]
fn p9_nobody_who_carries_it_on_is_told_and_what_then() {
    for operation in every_phase() {
        let under_way = matches!(operation.phase, Phase::Prepared | Phase::Committed);
        let told = told(&operation, Teller::Sidecar);
        assert_eq!(told.next.contains("by this process"), !under_way, "{told:#?}");
        assert_eq!(told.remedy.is_some(), !under_way, "{told:#?}");
    }
    for operation in every_phase() {
        let told = told(&operation, Teller::Journal);
        assert!(told.next.contains("until a sidecar runs"), "{told:#?}");
        assert!(told.discarding.is_some(), "also what was under way: {told:#?}");
        let shared = Policy { apart: std::time::Duration::from_secs(10), ..policy() };
        let told = explain(&operation, None, &shared, Teller::Journal);
        assert!(told.next.contains("the replica that carries it on"), "{told:#?}");
    }
}

#[test]
fn an_end_needs_nobody() {
    let ended = after(create(Mode::Enforce, None), [answered(CreateOutcome::Rejected)]);
    let told = told(&ended, Teller::Sidecar);
    assert_eq!((told.phase, told.next.as_str()), ("finished_rejected", "nothing: it ended"));
    assert_eq!((told.remedy, told.discarding), (None, None));
}

#[test]
fn p7_history_shows_no_principal() {
    let ended = after(create(Mode::Enforce, None), [answered(CreateOutcome::Rejected)]);
    let entries = vec![crate::dualwrite::fixtures::began(&ended)];
    let stored = crate::model::Stored { id: ended.id, entries };
    let shown = history(&stored);
    assert_eq!(shown[0].record, serde_json::json!({"record": "prepared"}));
}
