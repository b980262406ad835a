//! Evidence: what a process learnt of an operation that another had taken over. It is never
//! refused (docs/DESIGN.md, section 2): it reopens the operation where that has drawn other conclusions. Pure.

use super::on::{closed_again, durable, stands};
use super::{Event, Transition};
use crate::dualwrite::operation::{Operation, Phase};
use crate::dualwrite::outcome::{CreateOutcome, DeleteOutcome};
use crate::model::{Evidence, Late, Record, Resolution, ResourceId, UndoReason};

/// What whoever owns the operation must learn of `event`, where the journal refused what follows from
/// it because another process has taken the operation over. `None` where the other finds out by
/// itself, or where nothing left.
#[must_use]
pub fn evidence(operation: &Operation, event: &Event) -> Option<Late> {
    let registration = || Some(Late::Registration { id: operation.bound.clone()? });
    match event {
        Event::CreateAnswered(CreateOutcome::Committed(id), _)
        | Event::LateAnswer(CreateOutcome::Committed(id)) => Some(Late::Answer { id: id.clone() }),
        Event::CreateAnswered(
            CreateOutcome::Unknown
            | CreateOutcome::Found { .. }
            | CreateOutcome::Disputed(_)
            | CreateOutcome::Unproven { .. },
            _,
        )
        | Event::DeleteAnswered(DeleteOutcome::Done | DeleteOutcome::Look(_)) => Some(Late::Sent),
        // Also where none was acknowledged: an attempt may land.
        Event::Acknowledged { .. } | Event::NotAcknowledged(_) => registration(),
        // Evidence itself waits in the journal until it is taken.
        _ => None,
    }
}

/// What whoever owns the operation must learn of it, where this process carried it on until another
/// had taken it over: what was only enqueued may be lost.
#[must_use]
pub fn legacy(operation: &Operation) -> Option<Late> {
    match operation.phase {
        Phase::Unknown => Some(Late::Sent),
        Phase::Looking | Phase::Gone if !operation.is_create() => Some(Late::Sent),
        _ => None,
    }
}

/// What follows from evidence. It may come twice, and then nothing follows.
pub(super) fn late(operation: &Operation, late: Late) -> Transition {
    match (operation.is_create(), late) {
        (true, Late::Answer { id }) => has_row(operation, id),
        (true, Late::Registration { id }) => registration(operation, id),
        (true, Late::Sent) if operation.bound.is_none() && may_be_open(&operation.phase) => {
            closed_again()
        }
        (false, Late::Sent) if may_remove_more(&operation.phase) => closed_again(),
        _ => Transition::default(),
    }
}

/// The row is this create's, and the process that asked for it can answer nobody any more.
fn has_row(operation: &Operation, id: ResourceId) -> Transition {
    if operation.bound.is_some() || !may_be_open(&operation.phase) {
        return Transition::default();
    }
    let mut transition = if operation.is_enforced() { undoing(id) } else { stands(operation, id) };
    if operation.phase == Phase::Prepared {
        transition.records.splice(0..0, closed_again().records);
    }
    transition
}

/// A registration may land for a row whose create doesn't stand: what was done to remove it is done
/// again. While that is still under way, its own sweep comes late enough.
fn registration(operation: &Operation, id: ResourceId) -> Transition {
    let over = match &operation.phase {
        Phase::Sweeping(..) => true,
        Phase::Finished(resolution) => {
            matches!(resolution, Resolution::Undone | Resolution::Deregistered)
        }
        _ => false,
    };
    match &operation.bound {
        None => has_row(operation, id),
        Some(bound) if *bound == id && over && operation.undone => undoing(id),
        Some(bound) if *bound == id && over => durable(Record::Deleted { ids: vec![id] }),
        Some(_) => Transition::default(),
    }
}

fn undoing(id: ResourceId) -> Transition {
    let (evidence, reason) = (Evidence::LateAnswer, UndoReason::Unknown);
    durable(Record::Undoing { id, evidence, reason })
}

/// Phases in which a create has no row that is known, and may have one.
fn may_be_open(phase: &Phase) -> bool {
    let ended = |resolution: &Resolution| {
        matches!(resolution, Resolution::NotSent | Resolution::Rejected | Resolution::Unsettled)
    };
    match phase {
        Phase::Prepared | Phase::Unknown | Phase::Reported(_) => true,
        Phase::Finished(resolution) => ended(resolution),
        _ => false,
    }
}

/// Phases of a delete in which it counts, or counted, on nothing more being removed.
fn may_remove_more(phase: &Phase) -> bool {
    let ended = |resolution: &Resolution| {
        matches!(
            resolution,
            Resolution::NotSent | Resolution::NotDeleted | Resolution::Deregistered
        )
    };
    match phase {
        Phase::Prepared | Phase::Looking | Phase::Sweeping(..) => true,
        Phase::Finished(resolution) => ended(resolution),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{create, delete, id, policy};
    use super::super::{Look, Presence, Task, look_ends, next, on};
    use super::*;
    use crate::model::{Effect, Entry, Mode, PassReason, Timestamp};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn take(operation: &mut Operation, event: Event, seconds: i64) -> Vec<&'static str> {
        let records = on(operation, event, at(seconds), &policy()).unwrap().records;
        for record in &records {
            operation.apply(&Entry { at: at(seconds), record: record.clone() }).unwrap();
        }
        records.iter().map(Record::name).collect()
    }

    fn tell(operation: &mut Operation, late: Late, seconds: i64) -> Vec<&'static str> {
        take(operation, Event::Evidence(late), seconds)
    }

    fn row() -> Late {
        Late::Answer { id: id("k") }
    }

    fn registration() -> Late {
        Late::Registration { id: id("k") }
    }

    /// As whoever took it over leaves a create of which no row was seen until L had passed.
    fn rejected() -> Operation {
        let mut create = create(Mode::Enforce, None);
        take(&mut create, Event::Restarted, 10);
        let end = look_ends(&create, &policy());
        take(&mut create, Event::Probed(crate::dualwrite::rows::Verdict::NoRow, end), 200);
        assert!(create.is_finished());
        create
    }

    fn undone() -> Operation {
        let mut create = create(Mode::Enforce, None);
        take(&mut create, Event::CreateAnswered(CreateOutcome::Committed(id("k")), None), 2);
        take(&mut create, Event::Restarted, 10);
        take(&mut create, Event::Removed, 11);
        take(&mut create, Event::Confirmed(Presence::Gone), 12);
        take(&mut create, Event::Deregistered { ids: [id("k")].into(), young: false }, 13);
        create
    }

    #[test]
    fn p2_a_late_id_undoes_a_create_that_ended_without_a_row_and_is_taken_once() {
        let mut create = rejected();
        assert_eq!(tell(&mut create, row(), 300), ["undoing"]);
        assert_eq!(next(&create, at(300), &policy()), Task::Delete(id("k")));
        assert!(tell(&mut create, row(), 301).is_empty());
    }

    #[test]
    fn p2_a_late_id_undoes_a_reported_create() {
        let mut create = create(Mode::Enforce, None);
        take(&mut create, Event::Restarted, 10);
        let reported = Record::Reported { rows: vec![id("k")], why: "test".into() };
        create.apply(&Entry { at: at(200), record: reported }).unwrap();
        assert_eq!(tell(&mut create, row(), 300), ["undoing"]);
    }

    #[test]
    fn p2_a_late_id_of_a_forgotten_create_undoes_it() {
        let mut create = create(Mode::Enforce, None);
        assert_eq!(tell(&mut create, row(), 900), ["closed", "undoing"]);
    }

    #[test]
    fn p4_a_late_id_of_a_create_that_is_not_enforced_is_only_recorded() {
        let mut create = create(Mode::Enforce, Some(PassReason::NoCreator));
        take(&mut create, Event::Restarted, 10);
        take(&mut create, Event::Expired, 200);
        assert_eq!(tell(&mut create, row(), 300), ["passed"]);
    }

    #[test]
    fn p3_a_registration_that_left_late_is_removed_again_and_swept() {
        let mut create = undone();
        assert_eq!(tell(&mut create, registration(), 20), ["undoing"], "swept later than planned");
        take(&mut create, Event::Removed, 21);
        take(&mut create, Event::Confirmed(Presence::Gone), 22);
        assert_eq!(
            take(&mut create, Event::Deregistered { ids: [id("k")].into(), young: false }, 23),
            ["sweep"]
        );
        for event in [
            Event::Confirmed(Presence::Gone),
            Event::Deregistered { ids: [id("k")].into(), young: false },
        ] {
            take(&mut create, event, 200);
        }
        assert!(create.is_finished());
        assert_eq!(tell(&mut create, registration(), 900), ["undoing"]);
    }

    #[test]
    fn p2_a_registration_that_left_late_undoes_no_create_that_stands() {
        let mut create = create(Mode::Enforce, None);
        take(&mut create, Event::CreateAnswered(CreateOutcome::Committed(id("k")), None), 2);
        take(&mut create, Event::Acknowledged { ambiguous: false }, 3);
        assert!(tell(&mut create, registration(), 4).is_empty());
        assert!(tell(&mut create, row(), 4).is_empty());
        take(&mut create, Event::Undisturbed, 5);
        assert!(tell(&mut create, registration(), 6).is_empty());
        assert!(tell(&mut create, Late::Sent, 6).is_empty());
    }

    #[test]
    fn p2_a_create_that_left_late_is_looked_for_until_l_has_passed_since() {
        let mut create = rejected();
        assert_eq!(tell(&mut create, Late::Sent, 500), ["closed"]);
        assert_eq!(next(&create, at(500), &policy()), Task::Probe);
        assert_eq!(look_ends(&create, &policy()), at(500).plus(policy().bounds.late_effect));
    }

    #[test]
    fn p3_a_delete_that_left_late_is_looked_at_again() {
        let mut delete = delete(&["k"], false, false);
        take(&mut delete, Event::Restarted, 10);
        let looked = |asked, gone: &[&str]| {
            let gone = gone.iter().map(|text| id(text)).collect();
            Event::Looked(Look { asked, gone, complete: false, unsettled: false })
        };
        take(&mut delete, looked(at(200), &[]), 200);
        assert!(delete.is_finished());
        assert_eq!(tell(&mut delete, Late::Sent, 500), ["closed"]);
        assert_eq!(next(&delete, at(500), &policy()), Task::Look);
        assert_eq!(take(&mut delete, looked(at(501), &["k"]), 501), ["deleted"]);
        assert_eq!(next(&delete, at(502), &policy()), Task::Deregister([id("k")].into()));
    }

    #[test]
    fn what_left_is_evidence_and_what_did_not_is_none() {
        let mut create = create(Mode::Enforce, None);
        let answered = |outcome| Event::CreateAnswered(outcome, None);
        let committed = answered(CreateOutcome::Committed(id("k")));
        assert_eq!(evidence(&create, &committed), Some(row()));
        assert_eq!(evidence(&create, &answered(CreateOutcome::Unknown)), Some(Late::Sent));
        for nothing in [CreateOutcome::NotSent, CreateOutcome::Rejected] {
            assert_eq!(evidence(&create, &answered(nothing)), None);
        }
        take(&mut create, committed, 2);
        let failed = Event::NotAcknowledged(UndoReason::Deadline);
        for sent in [Event::Acknowledged { ambiguous: false }, failed] {
            assert_eq!(evidence(&create, &sent), Some(registration()));
        }
        let looked = Event::DeleteAnswered(DeleteOutcome::Look(Effect::MayCome));
        assert_eq!(evidence(&create, &looked), Some(Late::Sent));
        assert_eq!(evidence(&create, &Event::DeleteAnswered(DeleteOutcome::Refused)), None);
    }
    /// `closed` and `deleted` are not awaited: with them the take-over may have refused that anything left.
    #[test]
    fn p2_p3_what_was_only_enqueued_before_a_take_over_is_evidence() {
        let mut unknown = create(Mode::Enforce, None);
        take(&mut unknown, Event::CreateAnswered(CreateOutcome::Unknown, None), 2);
        assert_eq!(legacy(&unknown), Some(Late::Sent));
        let answers = [DeleteOutcome::Look(Effect::MayCome), DeleteOutcome::Done];
        for outcome in answers {
            let mut delete = delete(&["k"], true, false);
            take(&mut delete, Event::DeleteAnswered(outcome), 2);
            assert_eq!(legacy(&delete), Some(Late::Sent), "{outcome:?}");
        }
        // What comes before is refused where it is awaited, and that is evidence by itself.
        assert_eq!(legacy(&create(Mode::Enforce, None)), None);
        assert_eq!(legacy(&delete(&["k"], true, false)), None);
    }
}
