//! What `prune` forgets and what it keeps, on journals of each kind.

use authz_sidecar::journal::{Error, Journal};
use authz_sidecar::model::{Entry, OperationId};

use crate::fixture::{
    at, closed, committed, create, deleted, done, each, finished, names, opened, passed, prepared,
    registered, reported, resource, retried, sweep, targets, undoing,
};

#[tokio::test]
async fn prune_forgets_the_finished_and_frees_their_ids() {
    each(|journal| async move {
        let gone = opened(&*journal, 10).await;
        journal.append(gone, vec![committed(11, "k"), finished(19)]).await.unwrap();
        let edge = done(&*journal, 10, 20).await;
        assert_eq!(journal.prune(at(30), at(20)).await, Ok(1));
        assert_eq!(journal.operation(gone).await, Ok(None));
        assert_eq!(journal.holder(&resource("api_key", "k")).await, Ok(None));
        assert_eq!(names(&*journal, edge).await, ["prepared", "finished"]);
        let next = opened(&*journal, 31).await;
        journal.append(next, vec![committed(32, "k")]).await.unwrap();
        // Evidence that comes too late even for that finds nothing to reopen.
        let late = journal.append(gone, vec![committed(33, "k2")]).await;
        assert_eq!(late, Err(Error::Misplaced(gone)));
        assert_eq!(journal.prune(at(30), at(20)).await, Ok(0));
    })
    .await;
}

/// Begins an operation with these records.
async fn begun(journal: &dyn Journal, entries: Vec<Entry>) -> OperationId {
    let operation = OperationId::new();
    journal.append(operation, entries).await.unwrap();
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
        journal.append(open, vec![reported(501)]).await.unwrap();
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

/// Only known rows are left to be removed or deregistered, or a person has to decide.
#[tokio::test]
async fn p8_an_operation_that_no_longer_looks_for_rows_keeps_nothing_but_itself() {
    each(|journal| async move {
        let over = done(&*journal, 100, 101).await;
        let gone =
            || vec![create(100), committed(100, "g"), registered(100, "g"), deleted(101, &["g"])];
        let swept = || vec![prepared("api_key", 100), targets(100, &["s"]), deleted(100, &["s"])];
        let histories = [
            vec![create(100), committed(100, "u"), undoing(101, "u")],
            vec![create(100), closed(100), undoing(101, "c")],
            vec![create(100), committed(100, "w"), undoing(101, "w"), sweep(102, "w")],
            gone(),
            swept(),
            [swept(), vec![sweep(101, "s")]].concat(),
            vec![prepared("api_key", 100), closed(100), deleted(100, &["l"]), sweep(101, "l")],
            vec![create(100), closed(100), reported(101)],
            // As evidence does it.
            vec![create(100), closed(100), reported(101), closed(102)],
            [gone(), vec![retried(103)]].concat(),
        ];
        for (n, history) in histories.into_iter().enumerate() {
            let held = begun(&*journal, history.clone()).await;
            let other = done(&*journal, 100, 101).await;
            let first = usize::from(n == 0);
            assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1 + first), "{history:?}");
            assert_eq!(kept(&*journal, &[held, over, other]).await, [true, false, false]);
            journal.append(held, vec![finished(102)]).await.unwrap();
            assert_eq!(journal.prune(at(1000), at(990)).await, Ok(1));
        }
    })
    .await;
}

#[tokio::test]
async fn p3_p4_an_operation_that_may_look_for_rows_yet_keeps_what_it_may_need() {
    each(|journal| async move {
        let over = done(&*journal, 100, 101).await;
        let delete = || vec![prepared("api_key", 100), targets(100, &["t"])];
        let histories = [
            delete(),
            vec![create(100)],
            vec![create(100), committed(100, "m")],
            // It will look at deletes beside it.
            vec![create(100), committed(100, "r"), registered(101, "r")],
            vec![create(100), passed(101, "p")],
            [delete(), vec![closed(101)]].concat(),
            // Rows were found gone, and it looks on.
            [delete(), vec![closed(101), deleted(102, &["t"])]].concat(),
            [delete(), vec![closed(101), deleted(102, &["t"]), retried(103)]].concat(),
            // Evidence tells that the request may take effect yet.
            [delete(), vec![deleted(101, &["t"]), sweep(102, "t"), closed(103)]].concat(),
            vec![create(100), finished(101), closed(102)],
        ];
        for history in histories {
            let held = begun(&*journal, history.clone()).await;
            assert_eq!(journal.prune(at(1000), at(990)).await, Ok(0), "{history:?}");
            journal.append(held, vec![finished(990)]).await.unwrap();
        }
        assert_eq!(kept(&*journal, &[over]).await, [true]);
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
            for n in 0..between {
                let life = vec![prepared("api_key", start + 200 + n), finished(start + 201 + n)];
                journal.enqueue(OperationId::new(), life).await.unwrap();
            }
            done(&*journal, start + 105, start + 106).await;
        }
        let forgotten = usize::try_from(windows * between).unwrap();
        assert_eq!(journal.prune(at(99_010), at(99_000)).await, Ok(forgotten));
        assert_eq!(journal.prune(at(99_010), at(99_000)).await, Ok(0));
    })
    .await;
}
