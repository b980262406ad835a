//! How long an operation waits for what it can't know yet.

use std::sync::Arc;

use super::*;
use crate::model::{As, Commits, DeletePlan, Kind, Sees};

/// The wall clock was set forward by an hour while no process ran: what was recorded before seems old.
#[test]
fn s4_p2_after_a_restart_what_is_unknown_is_waited_for_anew() {
    let hour = 3600;
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(10)).unwrap();
    take(&mut create, Event::Restarted, at(hour)).unwrap();
    take(&mut create, Event::Probed(Verdict::NoRow, at(hour)), at(hour)).unwrap();
    assert_eq!(create.phase, Phase::Unknown);
    take(&mut create, Event::Probed(Verdict::NoRow, at(hour + 120)), at(hour + 120)).unwrap();
    assert_eq!(create.phase, Phase::Finished(Resolution::Rejected));

    let mut delete = fixtures::delete(&["k"], false);
    take(&mut delete, Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past)), at(10)).unwrap();
    take(&mut delete, Event::Restarted, at(hour)).unwrap();
    assert_eq!(until(&delete, &policy()), Some(at(hour + 120)));

    let mut undone = fixtures::create(Mode::Enforce, None);
    take(&mut undone, committed(), at(10)).unwrap();
    take(&mut undone, not_acknowledged(UndoReason::Deadline, true), at(10)).unwrap();
    take(&mut undone, Event::Restarted, at(hour)).unwrap();
    assert_eq!(until(&undone, &policy()), Some(at(hour + 120)));
    assert_eq!(registered(&undone, &policy()), Some(at(hour + 120)));
}

/// Also where a request that is answered is committed: nobody knows whether this one was.
#[test]
fn p2_p3_what_was_sent_before_a_crash_may_have_its_effect_until_l_has_passed() {
    for mut operation in [fixtures::create(Mode::Enforce, None), fixtures::delete(&["k"], true)] {
        Arc::make_mut(&mut operation.plan).commits = Commits::BeforeAnswer;
        take(&mut operation, Event::Restarted, at(10)).unwrap();
        assert_eq!(until(&operation, &policy()), Some(at(10 + 120)));
    }
}

/// A read may be λ old: it shows nothing of what happened since.
#[test]
fn c3_p2_an_unknown_create_ends_only_with_a_list_that_can_not_lag_behind_its_last_effect() {
    let mut lagging = policy();
    lagging.bounds.read_lag = Duration::from_secs(30);
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(10)).unwrap();
    for (asked, ends) in [(10 + 120, false), (10 + 149, false), (10 + 150, true)] {
        let looked = Event::Probed(Verdict::NoRow, at(asked));
        let told = on(&mut create, looked, &lagging).unwrap();
        assert_eq!(told.is_some(), ends, "{asked}");
    }
}

/// The parent is gone, so that its rows can't be listed any more, or the service is down for good.
#[test]
fn r2_p9_a_create_that_stays_unknown_is_reported_to_a_person() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(10)).unwrap();
    let half_an_hour = 1800;
    assert_eq!(next(&create, at(10 + half_an_hour - 1), &policy()), Task::Make(Call::Probe));
    assert_eq!(next(&create, at(10 + half_an_hour), &policy()), Task::Expire);
    take(&mut create, Event::Expired, at(10 + half_an_hour)).unwrap();
    assert!(matches!(create.phase, Phase::Reported(_)), "{:?}", create.phase);
}

/// Its last registration may have been sent just before a machine was restarted whose wall clock was an hour behind.
#[test]
fn s4_p3_after_a_restart_the_registration_of_a_reported_row_is_waited_for_anew() {
    let (hour, l) = (3600, 120);
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, committed(), at(10)).unwrap();
    take(&mut create, not_acknowledged(UndoReason::Deadline, true), at(10)).unwrap();
    take(&mut create, Event::GivenUp("test".into()), at(11)).unwrap();
    take(&mut create, Event::Restarted, at(hour)).unwrap();
    assert!(matches!(create.phase, Phase::Reported(_)), "{:?}", create.phase);
    let seen = Settled { gone: BTreeSet::from([id("k")]), over: true };
    take(&mut create, Event::Settled(seen), at(hour + 1)).unwrap();
    assert_eq!(next(&create, at(hour + 1), &policy()), Task::Wait(at(hour + l)));
}

/// It may show its caller only some rows: that it lacks one proves nothing.
#[test]
fn p2_a_create_of_which_a_list_that_hides_rows_shows_none_is_reported() {
    let mut create = fixtures::create(Mode::Enforce, None);
    if let Kind::Create(plan) = &mut Arc::make_mut(&mut create.plan).kind {
        plan.probe.as_mut().unwrap().sees = Sees::Own;
    }
    take(&mut create, Event::CreateAnswered(CreateOutcome::Unknown), at(10)).unwrap();
    take(&mut create, Event::Probed(Verdict::NoRow, at(130)), at(130)).unwrap();
    assert!(matches!(create.phase, Phase::Reported(_)), "{:?}", create.phase);
    assert_eq!(next(&create, at(130), &policy()), Task::Nothing, "a person has to look");
}

/// It showed the row to the sidecar, and perhaps not to the caller, whose DELETE then removes nothing.
#[test]
fn p4_a_2xx_proves_nothing_if_the_row_was_seen_as_another_identity() {
    let mut delete = fixtures::delete(&["k"], true);
    if let Kind::Delete(DeletePlan::ById { confirm, .. }) =
        &mut Arc::make_mut(&mut delete.plan).kind
    {
        confirm.call.credentials = As::Service;
    }
    take(&mut delete, Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past)), at(2)).unwrap();
    assert_eq!(next(&delete, at(2), &policy()), Task::Make(Call::Settle));
}

/// The service answered the id of a row that is being removed: no client may be told of it.
#[test]
fn p4_a_create_that_is_answered_with_a_condemned_id_is_refused_and_looked_for() {
    let taken = |condemned| Event::Taken { id: id("k"), condemned };
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, taken(true), at(2)).unwrap();
    assert_eq!(create.phase, Phase::Unknown);
    assert_eq!(create.closed.map(|closed| closed.effect), Some(Effect::Past), "a conflict");
    let mut other = fixtures::create(Mode::Enforce, None);
    take(&mut other, taken(false), at(2)).unwrap();
    assert!(matches!(other.phase, Phase::Reported(_)));
}

/// A create that nobody enforces is told of the row that another operation holds, unless that removes it.
#[test]
fn p1_a_create_that_is_not_enforced_passes_on_the_row_of_another_unless_it_is_being_removed() {
    let phase = |mode, pass, condemned| {
        let mut create = fixtures::create(mode, pass);
        take(&mut create, Event::Taken { id: id("k"), condemned }, at(2)).unwrap();
        create.phase
    };
    let bypassed = |condemned| phase(Mode::Enforce, Some(PassReason::Bypass), condemned);
    assert_eq!(bypassed(false), Phase::Finished(Resolution::Found));
    assert!(!matches!(bypassed(true), Phase::Finished(_)));
    let observed = Phase::Finished(Resolution::Found);
    assert_eq!(phase(Mode::Observe, None, true), observed, "it refuses nothing");
}

/// As `PUT` makes rows: another row may come under the same id.
#[test]
fn p4_a_row_that_may_have_come_back_is_reported_and_not_undone() {
    let mut create = fixtures::create(Mode::Enforce, None);
    take(&mut create, committed(), at(2)).unwrap();
    take(&mut create, not_acknowledged(UndoReason::Refused, false), at(2)).unwrap();
    take(&mut create, Event::GivenUp("test".into()), at(3)).unwrap();
    assert_eq!(create.reported, BTreeSet::from([id("k")]));
}
