//! When a delete has looked at its rows for the last time.

use super::*;

/// A look that left nothing unsettled.
pub(super) fn looked(asked: Timestamp, gone: &[&str], complete: bool) -> Event {
    let gone = gone.iter().map(|text| id(text)).collect();
    Event::Looked(Look { asked, gone, complete, unsettled: false })
}

pub(super) fn any(
    gone: impl Strategy<Value = BTreeSet<ResourceId>>,
) -> impl Strategy<Value = Event> {
    (0..400i64, gone, any_bool(), any_bool()).prop_map(|(asked, gone, complete, unsettled)| {
        Event::Looked(Look { asked: at(asked), gone, complete, unsettled })
    })
}

fn any_bool() -> impl Strategy<Value = bool> {
    proptest::bool::ANY
}

/// The create was answered by a clock ahead of the delete's: by the delete's, L passes later for it.
/// (Schedule 62045140 of the simulation.)
#[test]
fn p3_a_delete_looks_on_for_a_row_that_may_be_yet_to_come() {
    let mut delete = fixtures::delete_named("n", &[]);
    let answered = Event::DeleteAnswered(DeleteOutcome::Look(Effect::Past));
    take(&mut delete, answered, at(1)).unwrap();
    let end = effect_ends(&delete, &policy());
    let unseen = Look { asked: end, gone: BTreeSet::new(), complete: false, unsettled: true };
    take(&mut delete, Event::Looked(unseen), end).unwrap();
    assert_eq!(next(&delete, end, &policy()), Task::Look);
    take(&mut delete, looked(end, &["k"], true), end).unwrap();
    assert_eq!(next(&delete, end, &policy()), Task::Deregister(BTreeSet::from([id("k")])));
}
