//! What `prune` forgets and what it keeps, on journals of each kind.

use authz_sidecar::journal::{Error, Journal, State};
use authz_sidecar::model::{Entry, OperationId};

use crate::fixture::{
    Calls, at, closed, committed, create, done, each, finished, names, next, opened, prepared,
    reported, resource,
};

#[tokio::test]
async fn prune_forgets_the_finished_and_frees_their_ids() {
    each(|journal| async move {
        let gone = opened(&*journal, 10).await;
        journal.write(gone, vec![committed(11, "k"), finished(19)]).await.unwrap();
        let edge = done(&*journal, 10, 20).await;
        assert_eq!(journal.prune(at(30), at(20)).await, Ok(1));
        assert_eq!(journal.operation(gone).await, Ok(None));
        assert_eq!(journal.holder(&resource("api_key", "k")).await, Ok(None));
        assert_eq!(names(&*journal, edge).await, ["prepared", "finished"]);
        let next = opened(&*journal, 31).await;
        journal.write(next, vec![committed(32, "k")]).await.unwrap();
        // Evidence that comes too late even for that finds nothing to reopen.
        let late = journal.write(gone, vec![committed(33, "k2")]).await;
        assert_eq!(late, Err(Error::Misplaced(gone)));
        assert_eq!(journal.prune(at(30), at(20)).await, Ok(0));
    })
    .await;
}

/// Begins an operation with these records.
async fn begun(journal: &dyn Journal, entries: Vec<Entry>) -> OperationId {
    let operation = OperationId::new();
    journal.write(operation, entries).await.unwrap();
    operation
}

/// Which of these operations are still there.
async fn kept(journal: &dyn Journal, operations: &[OperationId]) -> Vec<bool> {
    let mut kept = Vec::new();
    for operation in operations {
        kept.push(journal.operation(*operation).await.unwrap().is_some());
    }
    kept
}

#[tokio::test]
async fn p4_an_operation_under_way_keeps_all_that_it_may_need() {
    each(|journal| async move {
        let before = done(&*journal, 10, 89).await;
        let within = done(&*journal, 10, 90).await;
        let open = opened(&*journal, 100).await;
        let later = done(&*journal, 500, 501).await;
        // Margin 10: what ended before 100 - 10 may go, whatever `before` says.
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1));
        assert_eq!(kept(&*journal, &[before, within, later]).await, [false, true, true]);
        assert_eq!(names(&*journal, within).await, ["prepared", "finished"]);
        journal.write(open, vec![reported(501)]).await.unwrap();
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(2), "a reported one holds nothing");
        assert_eq!(names(&*journal, open).await, ["prepared", "reported"], "but itself");
    })
    .await;
}

#[tokio::test]
async fn p4_an_operation_that_looks_for_rows_keeps_what_meets_its_window_and_p8_nothing_else() {
    each(|journal| async move {
        // Two windows with the margin of 10: 90 to 130, and, the two as one, 290 to 350.
        for (intent, end) in [(100, 120), (300, 320), (310, 340)] {
            begun(&*journal, vec![create(intent), closed(end)]).await;
        }
        let lives = [
            (10, 89, false),
            (10, 90, true),
            (100, 101, true),
            (130, 400, true),
            (131, 289, false),
            (131, 290, true),
            (10, 400, true),
            (345, 346, true),
            (350, 351, true),
            (351, 352, false),
            (900, 989, false),
            (900, 990, true),
        ];
        let mut operations = Vec::new();
        for (intent, end, _) in lives {
            operations.push(done(&*journal, intent, end).await);
        }
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(4));
        let expected = lives.map(|(_, _, is_kept)| is_kept);
        assert_eq!(kept(&*journal, &operations).await, expected);
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(0));
    })
    .await;
}

#[tokio::test]
async fn p4_evidence_that_closes_an_operation_again_moves_the_end_of_its_window() {
    each(|journal| async move {
        begun(&*journal, vec![create(100), closed(120), closed(500)]).await;
        let (within, after) = (done(&*journal, 300, 301).await, done(&*journal, 511, 512).await);
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1));
        assert_eq!(kept(&*journal, &[within, after]).await, [true, false]);
    })
    .await;
}

#[tokio::test]
async fn p8_what_needs_no_others_keeps_nothing_but_itself() {
    each(|journal| async move {
        let over = done(&*journal, 100, 101).await;
        let alone = begun(&*journal, vec![create(100), closed(100), reported(101)]).await;
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1));
        assert_eq!(kept(&*journal, &[alone, over]).await, [true, false]);
        journal.write(alone, vec![finished(102)]).await.unwrap();
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1));
    })
    .await;
}

/// Many a minute, while the service is down and what it left in doubt is open.
#[tokio::test]
async fn r1_p8_what_is_void_stays_a_minute_and_no_longer_whatever_is_open() {
    each(|journal| async move {
        opened(&*journal, 0).await;
        let mut void = Vec::new();
        for end in [939, 940, 999] {
            void.push(opened(&*journal, 900).await);
            let mut append = next(void[void.len() - 1], vec![finished(end)]);
            append.index.state = State::Void(at(end));
            journal.append(append).await.unwrap();
        }
        assert_eq!(journal.prune(at(1000), at(500)).await, Ok(1));
        assert_eq!(kept(&*journal, &void).await, [false, true, true]);
        // Where the rest is kept for less, so are these.
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1));
        assert_eq!(kept(&*journal, &void).await, [false, false, true]);
    })
    .await;
}

#[tokio::test]
async fn p8_many_windows_and_more_than_one_step_s_worth_of_operations_between_them() {
    each(|journal| async move {
        let (windows, between) = (30, 40);
        for window in 0..windows {
            let start = window * 1000;
            begun(&*journal, vec![create(start + 100), closed(start + 110)]).await;
            let lives = (0..between).map(|n| {
                let life = vec![prepared("api_key", start + 200 + n), finished(start + 201 + n)];
                (OperationId::new(), life)
            });
            journal.write_all(lives.collect()).await.unwrap();
            done(&*journal, start + 105, start + 106).await;
        }
        let forgotten = usize::try_from(windows * between).unwrap();
        assert_eq!(journal.prune(at(99_010), at(99_000)).await, Ok(forgotten));
        assert_eq!(journal.prune(at(99_010), at(99_000)).await, Ok(0));
    })
    .await;
}

/// A request whose lists take long is recorded with an earlier intent than those that were recorded before it.
#[tokio::test]
async fn p4_what_the_oldest_intent_needs_is_kept_in_whatever_order_operations_began() {
    each(|journal| async move {
        opened(&*journal, 300).await;
        opened(&*journal, 100).await;
        opened(&*journal, 200).await;
        let (needed, old) = (done(&*journal, 10, 95).await, done(&*journal, 10, 89).await);
        assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1));
        assert_eq!(kept(&*journal, &[needed, old]).await, [true, false]);
    })
    .await;
}
