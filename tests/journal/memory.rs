//! The failures that tests can order of the journal in memory.

use authz_sidecar::journal::{Error, Journal};
use authz_sidecar::model::OperationId;

use crate::fixture::{Calls, closed, names, opened, prepared};
use crate::support::memory::MemoryJournal;

#[tokio::test]
async fn an_ordered_failure_keeps_nothing_and_breaks_what_the_contract_says_it_breaks() {
    let journal = MemoryJournal::new();
    let operation = opened(&journal, 1).await;
    journal.fail_next(Error::Full { max_bytes: 1 });
    let full = journal.write(OperationId::new(), vec![prepared("api_key", 2)]).await;
    assert_eq!(full, Err(Error::Full { max_bytes: 1 }));
    assert_eq!(journal.health(), Ok(()));
    journal.fail_next(Error::Broken("disk".into()));
    for _ in 0..2 {
        assert_eq!(journal.write(operation, vec![closed(2)]).await, broken());
    }
    assert_eq!(journal.unfinished().await.map(drop), broken());
    assert_eq!(journal.health(), broken());
    journal.restart();
    assert_eq!(names(&journal, operation).await, ["prepared"]);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_entries() {
    let journal = MemoryJournal::new();
    let operation = opened(&journal, 1).await;
    journal.lose_next_answer("disk");
    let lost = journal.write(operation, vec![closed(2)]).await;
    assert_eq!(lost, Err(Error::Unknown("disk".into())));
    assert_eq!(journal.write(operation, vec![closed(3)]).await, broken());
    assert_eq!(journal.entries().len(), 1);
    journal.restart();
    assert_eq!(names(&journal, operation).await, ["prepared", "closed"]);
}

fn broken() -> Result<(), Error> {
    Err(Error::Broken("disk".into()))
}
