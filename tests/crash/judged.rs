//! The comparison sees a row that the sidecar took from a client, and judges repeated creates as one.

use crate::crash::check::Kind;
use crate::crash::ledger::{Create, OPERATOR_MARK, Refusal, Target, create_mark, delete_mark};
use crate::support::service::removed::Removed;
use crate::{found, told, world};

/// The row `k`, removed by a request with this mark.
fn removed(mark: Option<String>) -> Removed {
    Removed { id: "k".into(), secret: Some("s".into()), at: 100.0, by: mark }
}

#[test]
fn p4_a_row_that_a_client_was_told_of_and_the_sidecar_removed_is_taken() {
    // An undo carries the headers of its create, or none of a client's after a crash.
    for mark in [None, Some(create_mark(0))] {
        let (mut ledger, mut seen) = world();
        seen.rows.clear();
        seen.edges.clear();
        seen.removed.push(removed(mark));
        assert_eq!(found(&ledger, &seen), [], "an undo: no client was told of it");
        told(&mut ledger);
        assert_eq!(found(&ledger, &seen), [Kind::Taken], "and it is not lost besides");
        ledger.delete(Target::Id("k".into()));
        assert_eq!(
            found(&ledger, &seen),
            [Kind::Taken],
            "the client's own delete did not remove it"
        );
    }
}

#[test]
fn p4_a_row_that_a_clients_own_request_removed_is_not_taken() {
    for mark in [delete_mark(0), OPERATOR_MARK.to_owned()] {
        let (mut ledger, mut seen) = world();
        seen.rows.clear();
        seen.edges.clear();
        seen.removed.push(removed(Some(mark)));
        told(&mut ledger);
        assert_eq!(found(&ledger, &seen), [Kind::Lost], "no client says that it deleted it");
        ledger.delete(Target::Id("k".into()));
        assert_eq!(found(&ledger, &seen), []);
    }
}

#[test]
fn p4_a_row_that_no_create_of_the_round_made_is_taken() {
    let (ledger, mut seen) = world();
    seen.removed.push(Removed { id: "l".into(), secret: None, at: 100.0, by: None });
    assert_eq!(found(&ledger, &seen), [Kind::Taken]);
    seen.removed[0].by = Some(delete_mark(0));
    assert_eq!(found(&ledger, &seen), []);
}

#[test]
fn p2_a_create_that_is_sent_again_is_judged_by_all_of_its_answers() {
    let (mut ledger, mut seen) = world();
    let again = ledger.creates[0].clone();
    ledger.creates.push(Create { refused: Some(Refusal::Refused), ..again });
    assert_eq!(found(&ledger, &seen), [], "the first may have made it");
    ledger.creates[0].refused = Some(Refusal::Refused);
    assert_eq!(found(&ledger, &seen), [Kind::Orphan], "neither made it");
    ledger.creates[0].refused = Some(Refusal::Undone);
    ledger.creates[1] =
        Create { refused: None, told: Some("k".into()), ..ledger.creates[1].clone() };
    assert_eq!(found(&ledger, &seen), [Kind::Orphan], "one was told that it is gone");
    ledger.creates[0] =
        Create { refused: None, told: Some("k".into()), ..ledger.creates[0].clone() };
    assert_eq!(found(&ledger, &seen), []);
    seen.rows.clear();
    seen.edges.clear();
    ledger.delete(Target::Name("n".into()));
    assert_eq!(found(&ledger, &seen), [], "one delete by name removes the one row of both");
}

/// The service repeats its answer, with the id of a row that a client has deleted since.
#[test]
fn p2_an_undone_repetition_of_a_create_whose_row_was_deleted_is_not_lost() {
    let (mut ledger, mut seen) = world();
    seen.rows.clear();
    seen.edges.clear();
    told(&mut ledger);
    ledger.delete(Target::Id("k".into()));
    seen.records.as_mut().unwrap().get_mut("k").unwrap().insert("undoing".into());
    assert_eq!(found(&ledger, &seen), [Kind::Lost], "it was sent once");
    let again = ledger.creates[0].clone();
    ledger.creates.push(Create { told: None, refused: Some(Refusal::Undone), ..again });
    assert_eq!(found(&ledger, &seen), []);
}

#[test]
fn p2_a_row_that_stood_on_after_its_client_was_told_that_it_is_undone_is_seen() {
    let (mut ledger, mut seen) = world();
    seen.rows.clear();
    seen.edges.clear();
    seen.removed.push(removed(Some(create_mark(0))));
    ledger.creates[0].refused = Some(Refusal::Undone);
    ledger.creates[0].answered = 101.0;
    assert_eq!(found(&ledger, &seen), []);
    ledger.creates[0].answered = 99.0;
    assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
    ledger.creates[0].refused = Some(Refusal::Refused);
    assert_eq!(found(&ledger, &seen), [], "it was told that this request made none");
}

#[test]
fn p4_a_row_that_was_made_past_the_sidecar_may_be_registered_and_may_not_be_removed() {
    let (mut ledger, mut seen) = world();
    told(&mut ledger);
    ledger.creates[0].aside = true;
    assert_eq!(found(&ledger, &seen), []);
    seen.edges.clear();
    seen.records = Some([].into());
    assert_eq!(found(&ledger, &seen), [], "nor need it be on record");
    seen.rows.clear();
    seen.removed.push(removed(None));
    assert_eq!(found(&ledger, &seen), [Kind::Taken]);
}
