//! When a delete does everything once more.

use super::*;

/// The probe before the delete saw a row whose create had no id on record yet; when it is
/// deregistered, it has.
#[test]
fn p3_a_delete_sweeps_what_turns_out_young_only_when_it_is_deregistered() {
    for (young, swept) in [(true, true), (false, false)] {
        let mut delete = fixtures::delete(&["k"], true, false);
        take(&mut delete, Event::DeleteAnswered(DeleteOutcome::Done), at(1)).unwrap();
        let ids = BTreeSet::from([id("k")]);
        take(&mut delete, Event::Deregistered { ids, young }, at(2)).unwrap();
        assert_eq!(matches!(delete.phase, Phase::Sweeping(..)), swept, "{young}");
        // By a look, too: what is deregistered first is no less young in the end.
        let mut delete = fixtures::delete_named("n", &["k"]);
        take(&mut delete, Event::DeleteAnswered(DeleteOutcome::Done), at(1)).unwrap();
        let gone = BTreeSet::from([id("k")]);
        let look = looks::looked(at(2), &["k"], true);
        take(&mut delete, look.clone(), at(2)).unwrap();
        take(&mut delete, Event::Deregistered { ids: gone, young }, at(3)).unwrap();
        take(&mut delete, look, at(4)).unwrap();
        assert_eq!(matches!(delete.phase, Phase::Sweeping(..)), swept, "by name, {young}");
    }
}
