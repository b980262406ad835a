//! The journal knows from the records alone which operations may look at others' records yet: a
//! phase and what the journal keeps for it must not drift apart.

use super::*;
use crate::journal::{Journal, MemoryJournal};

/// An operation, with a journal that holds it and one more, which finished beside it.
struct Kept {
    operation: Operation,
    journal: MemoryJournal,
}

impl Kept {
    async fn new(operation: Operation) -> Self {
        let journal = MemoryJournal::new();
        journal.append(operation.id, fixtures::history(&operation)).await.unwrap();
        let mut beside = fixtures::history(&fixtures::delete(&["beside"], true, false));
        let resolution = Resolution::Deregistered;
        beside.push(Entry { at: at(2), record: Record::Finished { resolution } });
        journal.append(OperationId::new(), beside).await.unwrap();
        Self { operation, journal }
    }

    /// Takes an event and keeps what it makes.
    async fn take(&mut self, event: Event) -> Result<(), Illegal> {
        let records = take(&mut self.operation, event, at(2))?.records;
        let entries = records.into_iter().map(|record| Entry { at: at(2), record }).collect();
        self.journal.append(self.operation.id, entries).await.unwrap();
        Ok(())
    }

    /// Whether the journal keeps, long after, what happened beside the operation.
    async fn spares(&self) -> bool {
        self.journal.prune(at(10_000), at(9_000)).await.unwrap();
        self.journal.entries().iter().any(|stored| stored.id != self.operation.id)
    }
}

/// Whether what is left of an operation may ask for others, as the driver does it: a create without a
/// decision (for its rivals), one that stands (for deletes), and a delete that looks for rows.
fn may_look(phase: &Phase) -> bool {
    match phase {
        Phase::Prepared
        | Phase::Committed
        | Phase::Unknown
        | Phase::Registered
        | Phase::Passed
        | Phase::Looking => true,
        // A reported create is never claimed any more.
        Phase::Reported(_)
        | Phase::Undoing(..)
        | Phase::Gone
        | Phase::Sweeping(..)
        | Phase::Finished(_) => false,
    }
}

fn started() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(fixtures::create(Mode::Enforce, None)),
        Just(fixtures::create(Mode::Observe, None)),
        Just(fixtures::create(Mode::Enforce, Some(PassReason::Bypass))),
        Just(fixtures::delete(&["k"], true, false)),
        Just(fixtures::delete(&["k"], false, false)),
        Just(fixtures::delete_named("n", &["k"])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn p4_p8_the_journal_spares_others_exactly_as_long_as_an_operation_may_look_at_them(
        operation in started(),
        events in prop::collection::vec(any_event(), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut kept = Kept::new(operation).await;
            for event in events {
                // What can't happen changes nothing.
                drop(kept.take(event).await);
            }
            let phase = &kept.operation.phase;
            prop_assert_eq!(kept.spares().await, may_look(phase), "{:?}", phase);
            Ok(())
        })?;
    }
}
