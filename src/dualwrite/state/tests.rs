//! The saga under random histories, and its named schedules.

mod orders;
mod waiting;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::fixtures::{self, began, id, policy};
use super::*;
use crate::dualwrite::operation::Illegal;
use crate::model::{Effect, Entry, Mode, OperationId, PassReason, Record, Resolution, Stored};

/// Applies what `event` makes, as the runner does.
fn take(
    operation: &mut Operation,
    event: Event,
    now: Timestamp,
) -> Result<Option<Record>, Illegal> {
    let record = on(operation, event, &policy())?;
    if let Some(record) = record.clone() {
        operation.apply(&Entry { at: now, record })?;
    }
    Ok(record)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn committed() -> Event {
    Event::CreateAnswered(CreateOutcome::Committed(id("k")))
}

fn not_acknowledged(reason: UndoReason, ambiguous: bool) -> Event {
    Event::NotAcknowledged { reason, ambiguous }
}

fn settled(gone: &[&str], over: bool) -> Event {
    Event::Settled(Settled { gone: gone.iter().map(|text| id(text)).collect(), over })
}

fn deregistered(ids: &[&str]) -> Event {
    Event::Deregistered(ids.iter().map(|text| id(text)).collect())
}

fn any_event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        Just(CreateOutcome::NotSent),
        Just(CreateOutcome::Rejected),
        Just(CreateOutcome::Unknown),
        Just(CreateOutcome::Committed(id("k"))),
        any::<bool>().prop_map(|held| CreateOutcome::Found { id: id("k"), held }),
        Just(CreateOutcome::Unproven { id: id("k"), why: "test" }),
        Just(CreateOutcome::Disputed(id("k"))),
    ];
    let delete = prop_oneof![
        Just(DeleteOutcome::NotSent),
        Just(DeleteOutcome::Refused),
        Just(DeleteOutcome::Look(Effect::Past)),
        Just(DeleteOutcome::Look(Effect::Past)),
        Just(DeleteOutcome::Look(Effect::MayCome)),
    ];
    let verdict = prop_oneof![
        Just(Verdict::NoRow),
        Just(Verdict::Wait),
        Just(Verdict::Unprovable { rows: vec![id("k")], why: "test".into() }),
    ];
    let ids = prop::collection::btree_set(prop_oneof![Just(id("k")), Just(id("l"))], 0..3);
    prop_oneof![
        outcome.prop_map(Event::CreateAnswered),
        delete.prop_map(Event::DeleteAnswered),
        any::<bool>().prop_map(|ambiguous| Event::Acknowledged { ambiguous }),
        any::<bool>().prop_map(|ambiguous| not_acknowledged(UndoReason::Deadline, ambiguous)),
        any::<bool>().prop_map(|condemned| Event::Taken { id: id("k"), condemned }),
        prop_oneof![Just(Late::Sent), Just(Late::Row { id: id("k") })].prop_map(Event::Evidence),
        Just(Event::Restarted),
        (verdict, 0..400i64).prop_map(|(verdict, asked)| Event::Probed(verdict, at(asked))),
        Just(Event::Expired),
        (ids.clone(), any::<bool>())
            .prop_map(|(gone, over)| Event::Settled(Settled { gone, over })),
        Just(Event::GivenUp("test".into())),
        ids.prop_map(Event::Deregistered),
        Just(Event::Ordered(orders::retry())),
        Just(Event::Ordered(orders::discard())),
    ]
}

fn any_create() -> impl Strategy<Value = Operation> {
    let pass = prop_oneof![3 => Just(None), 1 => Just(Some(PassReason::NoCreator))];
    let mode = prop_oneof![3 => Just(Mode::Enforce), 1 => Just(Mode::Observe)];
    (pass, mode).prop_map(|(pass, mode)| fixtures::create(mode, pass))
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let delete = any::<bool>().prop_map(|seen| fixtures::delete(&["k"], seen));
    prop_oneof![any_create(), delete]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Total: any event in any state gives a record, nothing or an error value, and an error changes
    /// nothing. Whatever is recorded replays to the same operation.
    #[test]
    fn the_machine_is_total_and_replays(
        mut operation in any_operation(),
        events in prop::collection::vec((any_event(), 0..400i64), 0..25),
    ) {
        let mut history = vec![began(&operation)];
        for (event, seconds) in events {
            let before = operation.clone();
            let now = at(seconds);
            match on(&mut operation, event, &policy()) {
                Err(_) => prop_assert_eq!(&operation, &before),
                Ok(record) => {
                    if let Some(record) = record {
                        let entry = Entry { at: now, record };
                        prop_assert!(operation.apply(&entry).is_ok(), "what `on` gives follows");
                        history.push(entry);
                    }
                }
            }
            let _ = next(&operation, now, &policy());
        }
        let stored = Stored { id: operation.id, entries: history };
        let replayed = Operation::replay(&stored).unwrap();
        prop_assert_eq!(durable_part(&replayed), durable_part(&operation));
    }

    /// P2: what is registered is never undone. P1: a success is given only for what is.
    #[test]
    fn p1_p2_a_success_is_registered_first_and_never_undone(
        mut operation in any_create(),
        events in prop::collection::vec((any_event(), 0..400i64), 0..25),
    ) {
        let enforced = operation.is_enforced();
        let mut stands = false;
        for (event, seconds) in events {
            let Ok(record) = take(&mut operation, event, at(seconds)) else { continue };
            stands |= record.is_some_and(|record| match record {
                Record::Registered { .. } => true,
                // A row that was found was registered, or not, by whoever made it.
                Record::Passed { why: PassReason::Found, .. }
                | Record::Finished { resolution: Resolution::Found } => true,
                Record::Passed { .. } => !enforced,
                _ => false,
            });
            // In these the client is given the service's success.
            if matches!(operation.phase, Phase::Registered | Phase::Passed) {
                prop_assert!(stands, "a success needs Registered, Found, or Passed where nothing is enforced");
            }
            let undone = operation.phase == Phase::Finished(Resolution::Undone);
            prop_assert!(!stands || !operation.is_condemned() && !undone, "an undo of what stands");
        }
    }

    /// P3, P4: nothing is deregistered that was not confirmed gone by somebody.
    #[test]
    fn p3_p4_only_what_is_confirmed_gone_is_deregistered(
        mut operation in any_operation(),
        events in prop::collection::vec((any_event(), 0..400i64), 0..25),
    ) {
        let mut confirmed: BTreeSet<ResourceId> = BTreeSet::new();
        for (event, seconds) in events {
            if take(&mut operation, event.clone(), at(seconds)).is_err() {
                continue;
            }
            match event {
                Event::Settled(seen) => confirmed.extend(seen.gone),
                Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past)) if operation.targets.seen => {
                    confirmed.extend(operation.targets.ids.iter().cloned());
                }
                _ => {}
            }
            if let Task::Make(Call::Deregister(ids)) = next(&operation, at(seconds), &policy()) {
                prop_assert!(ids.is_subset(&confirmed), "{ids:?} of {confirmed:?}");
            }
        }
    }
}

fn durable_part(operation: &Operation) -> Operation {
    let mut durable = operation.clone();
    durable.deregistered.clear();
    durable
}

#[test]
fn p2_p3_an_undo_ends_once_the_row_is_gone_and_no_registration_can_land() {
    for (ambiguous, landed) in [(false, 3), (true, 2 + 120)] {
        let mut create = fixtures::create(Mode::Enforce, None);
        take(&mut create, committed(), at(1)).unwrap();
        let failed = not_acknowledged(UndoReason::Deadline, ambiguous);
        take(&mut create, failed, at(2)).unwrap();
        assert_eq!(create.phase, Phase::Undoing(UndoReason::Deadline));
        assert_eq!(next(&create, at(2), &policy()), Task::Make(Call::Settle));
        // It is there yet, or not to be seen yet.
        assert!(take(&mut create, settled(&[], false), at(2)).unwrap().is_none());
        take(&mut create, settled(&["k"], false), at(3)).unwrap();
        assert!(create.is_row_gone());
        if ambiguous {
            assert_eq!(next(&create, at(landed - 1), &policy()), Task::Wait(at(landed)));
        }
        let k = BTreeSet::from([id("k")]);
        assert_eq!(next(&create, at(landed), &policy()), Task::Make(Call::Deregister(k)));
        take(&mut create, deregistered(&["k"]), at(landed)).unwrap();
        assert_eq!(create.phase, Phase::Finished(Resolution::Undone));
    }
}

#[test]
fn p2_a_crash_undoes_what_was_not_registered_and_confirms_what_was() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, committed(), at(1)).unwrap();
    let mut registered = create.clone();
    take(&mut create, Event::Restarted, at(2)).unwrap();
    assert_eq!(create.phase, Phase::Undoing(UndoReason::Crash));
    take(&mut create, settled(&["k"], false), at(3)).unwrap();
    assert_eq!(next(&create, at(3), &policy()), Task::Wait(at(2 + 120)), "it may have left");
    take(&mut registered, Event::Acknowledged { ambiguous: false }, at(2)).unwrap();
    take(&mut registered, Event::Restarted, at(3)).unwrap();
    assert_eq!(next(&registered, at(3), &policy()), Task::Make(Call::Settle));
    take(&mut registered, settled(&[], true), at(3)).unwrap();
    assert_eq!(registered.phase, Phase::Finished(Resolution::Registered));
}

#[test]
fn an_unknown_create_is_looked_for_until_l_has_passed_and_no_longer() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(10)).unwrap();
    let end = at(10).plus(policy().bounds.late_effect);
    // A probe that was sent a moment before the end can't have seen an effect at the end.
    let early = Event::Probed(Verdict::NoRow, Timestamp::from_micros(end.as_micros() - 1));
    take(&mut create, early, end).unwrap();
    assert_eq!(next(&create, end, &policy()), Task::Make(Call::Probe));
    take(&mut create, Event::Probed(Verdict::NoRow, end), end).unwrap();
    assert_eq!(create.phase, Phase::Finished(Resolution::Rejected));
}

#[test]
fn p2_a_late_id_is_evidence() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(10)).unwrap();
    take(&mut create, Event::Evidence(Late::Row { id: id("k") }), at(20)).unwrap();
    assert_eq!(create.phase, Phase::Undoing(UndoReason::Unknown));
}

/// C3: the service may look for the row where reads lag, find none, and answer 200 all the same.
#[test]
fn c3_p3_p4_the_answer_to_a_delete_proves_nothing_and_its_row_is_asked_for() {
    for seen in [true, false] {
        let mut delete = fixtures::delete(&["k"], seen);
        take(&mut delete, Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past)), at(1)).unwrap();
        assert_eq!(next(&delete, at(1), &policy()), Task::Make(Call::Settle));
        let mut gone = delete.clone();
        take(&mut delete, settled(&[], true), at(500)).unwrap();
        assert_eq!(delete.phase, Phase::Finished(Resolution::NotDeleted));
        take(&mut gone, settled(&["k"], false), at(2)).unwrap();
        assert_eq!(next(&gone, at(2), &policy()), Task::Make(Call::Deregister([id("k")].into())));
    }
}

#[test]
fn an_event_that_can_t_happen_is_an_error_value_that_names_the_place() {
    let mut create = fixtures::create(Mode::Enforce, None);
    let error = take(&mut create, Event::Acknowledged { ambiguous: false }, at(1)).unwrap_err();
    assert_eq!(error.record, "Acknowledged { ambiguous: false }");
    assert_eq!(error.phase, "Prepared");
    assert_eq!(error.operation, create.id);
    assert_ne!(create.id, OperationId::new());
}

#[test]
fn p4_what_was_reported_ends_once_a_person_removed_the_row() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(1)).unwrap();
    let end = at(1).plus(policy().bounds.late_effect);
    let unprovable = Verdict::Unprovable { rows: vec![id("r")], why: "test".into() };
    let early = take(&mut create, Event::Probed(unprovable.clone(), at(2)), at(2)).unwrap();
    assert!(early.is_none());
    take(&mut create, Event::Probed(unprovable.clone(), end), end).unwrap();
    assert_eq!(create.reported, BTreeSet::from([id("r")]));
    assert_eq!(next(&create, end, &policy()), Task::Make(Call::Probe));
    assert!(take(&mut create, Event::Probed(unprovable, end), end).unwrap().is_none());
    take(&mut create, Event::Probed(Verdict::NoRow, end), end).unwrap();
    assert_eq!(create.phase, Phase::Finished(Resolution::Rejected));
}

/// No list could be read until the create was reported: a later one names what a person is to look at.
#[test]
fn p9_a_report_names_rows_that_are_found_later() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(1)).unwrap();
    take(&mut create, Event::Expired, at(3000)).unwrap();
    let unprovable = Verdict::Unprovable { rows: vec![id("r")], why: "test".into() };
    take(&mut create, Event::Probed(unprovable, at(3001)), at(3001)).unwrap();
    assert_eq!(create.reported, BTreeSet::from([id("r")]));
}

/// The times of two replicas may be that far apart.
#[test]
fn p2_p3_a_time_of_another_replica_s_is_waited_for_by_the_slowest_clock() {
    let shared = Policy { apart: Duration::from_secs(10), ..policy() };
    let take = |operation: &mut Operation, event, seconds| {
        let record = on(operation, event, &shared).unwrap();
        if let Some(record) = record.clone() {
            operation.apply(&Entry { at: at(seconds), record }).unwrap();
        }
        record
    };
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::Restarted, 10);
    assert!(take(&mut create, Event::Probed(Verdict::NoRow, at(10 + 120 + 9)), 139).is_none());
    take(&mut create, Event::Probed(Verdict::NoRow, at(10 + 120 + 10)), 140);
    assert!(create.is_finished());
    let mut undone = fixtures::create(Mode::Enforce, None);
    take(&mut undone, committed(), 1);
    take(&mut undone, not_acknowledged(UndoReason::Deadline, true), 2);
    take(&mut undone, settled(&["k"], false), 3);
    assert_eq!(next(&undone, at(3), &shared), Task::Wait(at(2 + 120 + 10)));
}
