//! What an answer with an id means, for each proof.

use super::super::fixtures::{create, create_named, id, shared};
use super::*;
use crate::model::{Effect, Entry, Kind, Mode, PassReason, Record, Timestamp};

fn after(mut operation: Operation, record: Record, seconds: i64) -> Operation {
    let at = Timestamp::from_micros(seconds * 1_000_000);
    operation.apply(&Entry { at, record }).unwrap();
    operation
}

fn cut(create: Operation) -> Operation {
    after(create, Record::Closed { effect: Effect::MayCome }, 2)
}

fn committed() -> Operation {
    after(create(Mode::Enforce, None), Record::Committed { id: id("k"), is_new: true }, 0)
}

/// Registered long before the create that is judged, which is of second 1.
fn registered() -> Operation {
    after(committed(), Record::Registered { id: id("k"), ambiguous: false }, 0)
}

fn undone() -> Operation {
    let reason = crate::model::UndoReason::Refused;
    let evidence = crate::model::Evidence::Answer;
    after(committed(), Record::Undoing { id: id("k"), evidence, reason, ambiguous: true }, 0)
}

struct Case {
    own: Operation,
    plan: CreatePlan,
}

impl Case {
    fn of(new: Newness) -> Self {
        let own = create(Mode::Enforce, None);
        let Kind::Create(plan) = own.plan.kind.clone() else { panic!("a delete") };
        Self { own, plan: CreatePlan { new, ..plan } }
    }

    fn status() -> Self {
        Self::of(Newness::Status(vec![201]))
    }

    fn replayed(mut self) -> Self {
        self.plan.replayed = true;
        self
    }

    fn before(mut self, rows: Option<&[&str]>) -> Self {
        self.own.before = rows.map(|rows| rows.iter().map(|text| id(text)).collect());
        self
    }

    fn answered(
        &self,
        status: u16,
        holder: Option<&Operation>,
        others: &[Operation],
    ) -> CreateOutcome {
        judge(&self.own, &self.plan, status, id("k"), holder, &shared(others))
    }

    fn alone(&self, status: u16) -> CreateOutcome {
        self.answered(status, None, &[])
    }
}

fn made() -> CreateOutcome {
    CreateOutcome::Committed(id("k"))
}

fn found(held: bool) -> CreateOutcome {
    CreateOutcome::Found { id: id("k"), held }
}

fn is_unproven(outcome: &CreateOutcome) -> bool {
    matches!(outcome, CreateOutcome::Unproven { .. })
}

#[test]
fn p4_each_proof_tells_a_new_row_from_one_that_stood_before() {
    assert_eq!(Case::of(Newness::Always).alone(200), made());
    assert_eq!([201, 200].map(|status| Case::status().alone(status)), [made(), found(false)]);
    let listed = |rows| Case::of(Newness::ListedBefore).before(rows).alone(200);
    assert_eq!(listed(Some(&["j"])), made());
    assert_eq!(listed(Some(&["j", "k"])), found(false));
    assert!(is_unproven(&listed(None)));
}

/// A service that repeats its first answer, 201 and the same id: the row may be anybody's.
#[test]
fn c1_p4_the_answer_to_a_request_with_a_replay_key_is_never_new() {
    assert!(is_unproven(&Case::status().replayed().alone(201)));
    assert!(is_unproven(&Case::of(Newness::ListedBefore).replayed().alone(200)));
    assert_eq!(Case::status().replayed().alone(200), found(false), "what was found stays found");
    assert!(is_hopeless(&Case::of(Newness::Always).replayed().plan));
    assert!(!is_hopeless(&Case::status().replayed().plan), "it may be found");
}

#[test]
fn c1_p1_the_replay_of_a_create_that_stands_is_found() {
    let replay = Case::status().replayed();
    assert_eq!(replay.answered(201, Some(&registered()), &[]), found(true));
    // One that stood only after this request was sent proves nothing.
    let later = Operation { since: Timestamp::from_micros(5_000_000), ..registered() };
    assert!(is_unproven(&replay.answered(201, Some(&later), &[])));
}

/// If it is called new, the journal refuses the id. Else the holder may give it up before that.
#[test]
fn p4_an_id_that_is_committed_or_being_undone_is_a_conflict() {
    for holder in [committed(), undone()] {
        let judged = |status| Case::status().answered(status, Some(&holder), &[]);
        assert_eq!(judged(201), made(), "{:?}", holder.phase);
        assert_eq!(judged(200), CreateOutcome::Disputed(id("k")), "{:?}", holder.phase);
    }
    assert_eq!(Case::status().answered(201, Some(&registered()), &[]), made(), "twice new");
}

#[test]
fn p1_a_found_row_that_an_unknown_create_may_have_made_is_told_to_nobody() {
    for maker in [create(Mode::Enforce, None), cut(create(Mode::Enforce, None))] {
        let told = Case::status().answered(200, None, &[maker]);
        assert_eq!(told, CreateOutcome::Disputed(id("k")));
    }
    let of_another_name = create_named("other", Mode::Enforce, None);
    assert_eq!(Case::status().answered(200, None, &[of_another_name]), found(false));
}

/// The answer may name the row that went, or another that came under its id.
#[test]
fn p1_p4_a_found_row_whose_id_was_undone_lately_is_told_to_nobody() {
    let finished = Record::Finished { resolution: Resolution::Undone };
    let undone = after(undone(), finished, 0);
    let case = Case::status();
    assert_eq!(
        case.answered(200, None, std::slice::from_ref(&undone)),
        CreateOutcome::Disputed(id("k"))
    );
    let other = judge(&case.own, &case.plan, 200, id("other"), None, &shared(&[undone]));
    assert_eq!(other, CreateOutcome::Found { id: id("other"), held: false });
}

#[test]
fn p4_a_row_that_a_create_without_enforcement_may_have_made_is_not_new() {
    let bypassed = cut(create(Mode::Enforce, Some(PassReason::Bypass)));
    let reported = Record::Reported { rows: Vec::new(), why: "test".into() };
    for other in [bypassed, after(cut(create(Mode::Enforce, None)), reported, 3)] {
        assert!(is_unproven(&Case::status().answered(201, None, std::slice::from_ref(&other))));
        assert_eq!(Case::of(Newness::Always).answered(200, None, &[other]), made());
    }
    let enforced = cut(create(Mode::Enforce, None));
    assert_eq!(Case::status().answered(201, None, &[enforced]), made(), "the index decides");
}

#[test]
fn c4_p9_an_id_that_no_path_can_name_is_reported_at_once() {
    let case = Case::of(Newness::Always);
    let told = judge(&case.own, &case.plan, 200, id("a/b"), None, &[]);
    let CreateOutcome::Unproven { id: row, why } = told else { panic!("{told:?}") };
    assert_eq!((row, why.contains("segment")), (id("a/b"), true));
}

/// A row that was found, or is another's, can be told only by what others have on record.
#[test]
fn p1_others_are_asked_for_unless_every_answer_names_a_new_row() {
    assert!(!needs_others(&Case::of(Newness::Always).plan));
    assert!(needs_others(&Case::of(Newness::Always).replayed().plan));
    assert!(needs_others(&Case::status().plan));
}
