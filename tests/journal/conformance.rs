//! The contract in `src/journal.rs`, sentence by sentence.

use authz_sidecar::journal::{Append, Error, Of, State, Window};
use authz_sidecar::model::{OperationId, ResourceType};

use crate::fixture::{
    Calls, at, closed, committed, create, deleted, discarded, done, each, finished, id, ids, names,
    next, opened, passed, prepared, registered, reported, resource, retried, undoing, undone,
};

#[tokio::test]
async fn entries_keep_their_order() {
    each(|journal| async move {
        let operation = opened(&*journal, 1).await;
        let other = opened(&*journal, 2).await;
        let calls = [
            (operation, vec![retried(2)]),
            (other, vec![closed(2)]),
            (operation, vec![committed(3, "k")]),
            (operation, vec![registered(4, "k"), finished(5)]),
        ];
        journal.write_all(calls.into()).await.unwrap();
        let expected = ["prepared", "retried", "committed", "registered", "finished"];
        assert_eq!(names(&*journal, operation).await, expected);
    })
    .await;
}

#[tokio::test]
async fn what_is_read_is_what_was_written() {
    each(|journal| async move {
        let operation = OperationId::new();
        let entries =
            vec![prepared("api_key", 7), retried(8), committed(9, "ключ \"1\""), reported(10)];
        journal.write(operation, entries.clone()).await.unwrap();
        let stored = journal.operation(operation).await.unwrap().unwrap();
        assert_eq!(stored.id, operation);
        assert_eq!(stored.entries, entries);
        assert_eq!(journal.operation(OperationId::new()).await, Ok(None));
    })
    .await;
}

#[tokio::test]
async fn p9_an_order_to_retry_neither_opens_nor_settles_an_operation_and_a_discard_ends_it() {
    each(|journal| async move {
        let open = opened(&*journal, 1).await;
        let asks = opened(&*journal, 2).await;
        let over = done(&*journal, 3, 4).await;
        journal.write(asks, vec![reported(5)]).await.unwrap();
        for operation in [open, asks, over] {
            journal.write(operation, vec![retried(6)]).await.unwrap();
        }
        assert_eq!(ids(&journal.unfinished().await.unwrap()), [open, asks]);
        let later = journal.met("api_key", Of::Deletes, 7).await;
        assert_eq!(later, [open], "what settled has settled");
        journal.write(open, vec![discarded(8)]).await.unwrap();
        journal.write(asks, vec![discarded(8)]).await.unwrap();
        assert_eq!(journal.unfinished().await.unwrap(), []);
        assert_eq!(names(&*journal, open).await, ["prepared", "retried", "discarded"]);
        // All three are forgotten like any other that ended.
        assert_eq!(journal.prune(at(1000), at(500)).await, Ok(3));
    })
    .await;
}

#[tokio::test]
async fn p4_an_id_belongs_to_one_operation_and_a_refusal_names_it() {
    each(|journal| async move {
        let (first, second) = (opened(&*journal, 1).await, opened(&*journal, 2).await);
        journal.write(first, vec![committed(3, "k"), registered(4, "k")]).await.unwrap();
        let taken = Err(Error::Taken { resource: resource("api_key", "k"), holder: first });
        for entry in [committed(5, "k"), registered(5, "k"), passed(5, "k")] {
            assert_eq!(journal.write(second, vec![entry]).await, taken);
        }
        // The same operation may say it again, and another type has ids of its own.
        journal.write(first, vec![registered(6, "k")]).await.unwrap();
        let agent = OperationId::new();
        journal.write(agent, vec![prepared("agent", 7), committed(8, "k")]).await.unwrap();
        let holder = journal.holder(&resource("agent", "k")).await.unwrap();
        assert_eq!(holder.map(|stored| stored.id), Some(agent));
    })
    .await;
}

#[tokio::test]
async fn p4_what_an_operation_gives_up_at_its_end_another_may_hold() {
    each(|journal| async move {
        let (first, second) = (opened(&*journal, 1).await, opened(&*journal, 2).await);
        journal.write(first, vec![committed(2, "k"), undoing(3, "k")]).await.unwrap();
        assert!(journal.write(second, vec![committed(3, "k")]).await.is_err());
        journal.write(first, vec![deleted(4, &["k"]), undone(5)]).await.unwrap();
        assert_eq!(journal.holder(&resource("api_key", "k")).await, Ok(None));
        journal.write(second, vec![committed(6, "k")]).await.unwrap();
        let holder = journal.holder(&resource("api_key", "k")).await.unwrap();
        assert_eq!(holder.map(|stored| stored.id), Some(second));
    })
    .await;
}

#[tokio::test]
async fn a_call_is_kept_whole_or_not_at_all() {
    each(|journal| async move {
        let (first, second) = (opened(&*journal, 1).await, opened(&*journal, 2).await);
        journal.write(first, vec![committed(3, "k")]).await.unwrap();
        let call = vec![committed(4, "free"), retried(4), registered(5, "k")];
        assert!(matches!(journal.write(second, call).await, Err(Error::Taken { .. })));
        assert_eq!(names(&*journal, second).await, ["prepared"]);
        assert_eq!(journal.holder(&resource("api_key", "free")).await, Ok(None));
        // A whole new operation is refused like that, too.
        let third = OperationId::new();
        let call = vec![prepared("api_key", 6), committed(7, "k")];
        assert!(matches!(journal.write(third, call).await, Err(Error::Taken { .. })));
        assert_eq!(journal.operation(third).await, Ok(None));
    })
    .await;
}

#[tokio::test]
async fn of_many_that_claim_one_id_at_once_one_gets_it() {
    each(|journal| async move {
        let mut claims = tokio::task::JoinSet::new();
        for intent in 0..50 {
            let journal = journal.clone();
            claims.spawn(async move {
                let operation = opened(&*journal, intent).await;
                (operation, journal.write(operation, vec![committed(60, "k")]).await)
            });
        }
        let claims = claims.join_all().await;
        let holder = journal.holder(&resource("api_key", "k")).await.unwrap().unwrap().id;
        for (operation, claim) in claims {
            let expected = if operation == holder {
                Ok(())
            } else {
                Err(Error::Taken { resource: resource("api_key", "k"), holder })
            };
            assert_eq!(claim, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn an_operation_begins_once_and_nothing_is_appended_to_one_that_did_not() {
    each(|journal| async move {
        let operation = OperationId::new();
        let begins = next(operation, vec![prepared("api_key", 1)]);
        let goes_on = Append { begins: false, ..begins.clone() };
        let misplaced = Err(Error::Misplaced(operation));
        assert_eq!(journal.append(goes_on.clone()).await, misplaced);
        assert_eq!(journal.operation(operation).await, Ok(None));
        journal.append(begins.clone()).await.unwrap();
        assert_eq!(journal.append(begins).await, misplaced);
        journal.append(goes_on).await.unwrap();
        // What the entries say is nothing to the journal.
        assert_eq!(names(&*journal, operation).await, ["prepared", "prepared"]);
    })
    .await;
}

#[tokio::test]
async fn p9_unfinished_are_those_whose_last_record_is_not_finished_in_the_order_of_their_ids() {
    each(|journal| async move {
        let young = opened(&*journal, 30).await;
        let old = opened(&*journal, 10).await;
        let told = opened(&*journal, 20).await;
        journal.write(told, vec![reported(21)]).await.unwrap();
        let over = done(&*journal, 5, 6).await;
        assert_eq!(ids(&journal.unfinished().await.unwrap()), [young, old, told]);
        // Late evidence reopens.
        journal.write(over, vec![committed(40, "late")]).await.unwrap();
        assert_eq!(ids(&journal.unfinished().await.unwrap()), [young, old, told, over]);
    })
    .await;
}

#[tokio::test]
async fn p8_p9_unfinished_operations_are_read_page_by_page() {
    each(|journal| async move {
        for n in 0..25 {
            // Several of one intent, some reported, and finished ones between.
            let operation = opened(&*journal, n / 4).await;
            if n % 3 == 0 {
                journal.write(operation, vec![reported(n)]).await.unwrap();
            }
            done(&*journal, n / 4, n).await;
        }
        let all = journal.unfinished().await.unwrap();
        for limit in [1, 7, 25, 100] {
            let (mut read, mut after) = (Vec::new(), None);
            loop {
                let page = journal.unfinished_page(after, limit).await.unwrap();
                assert!(page.len() <= limit);
                // The journal knows where an operation stands also once it has ended.
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                read.extend(page);
            }
            assert_eq!(read, all, "{limit} a page");
        }
        let behind = Some(all[9].id);
        journal.write(all[9].id, vec![finished(99)]).await.unwrap();
        let rest = journal.unfinished_page(behind, 3).await.unwrap();
        assert_eq!(ids(&rest), ids(&all[10..13]));
        assert_eq!(journal.unfinished_page(None, 0).await, Ok(Vec::new()));
    })
    .await;
}

#[tokio::test]
async fn a_life_meets_a_window_also_where_they_only_touch() {
    each(|journal| async move {
        let operation = opened(&*journal, 10).await;
        journal.write(operation, vec![committed(15, "k"), closed(20)]).await.unwrap();
        journal.write(operation, vec![registered(30, "k"), finished(31)]).await.unwrap();
        for (from, meets) in [(0, true), (12, true), (20, true), (21, false)] {
            let found = journal.met("api_key", Of::Deletes, from).await;
            assert_eq!(found.contains(&operation), meets, "from {from} on");
        }
        assert_eq!(journal.met("agent", Of::Deletes, 0).await, []);
        assert_eq!(journal.met("api_key", Of::Creates, 0).await, []);
    })
    .await;
}

/// Evidence tells that its request left late.
#[tokio::test]
async fn p3_a_life_whose_end_moved_meets_later_windows() {
    each(|journal| async move {
        let operation = opened(&*journal, 1).await;
        journal.write(operation, vec![closed(2)]).await.unwrap();
        assert_eq!(journal.met("api_key", Of::Deletes, 5).await, []);
        journal.write(operation, vec![closed(9)]).await.unwrap();
        assert_eq!(journal.met("api_key", Of::Deletes, 5).await, [operation]);
    })
    .await;
}

#[tokio::test]
async fn an_unsettled_life_has_no_end() {
    each(|journal| async move {
        let open = opened(&*journal, 10).await;
        let with_id = opened(&*journal, 5).await;
        journal.write(with_id, vec![committed(6, "k")]).await.unwrap();
        assert_eq!(journal.met("api_key", Of::Deletes, 1000).await, [open, with_id]);
    })
    .await;
}

#[tokio::test]
async fn r1_p8_what_is_void_is_found_by_its_id_alone_and_evidence_makes_it_count_again() {
    each(|journal| async move {
        let void = opened(&*journal, 10).await;
        let mut end = next(void, vec![finished(11)]);
        end.index.state = State::Void(at(11));
        journal.append(end.clone()).await.unwrap();
        assert_eq!(journal.met("api_key", Of::Deletes, 0).await, []);
        assert_eq!(journal.unfinished().await, Ok(Vec::new()));
        assert_eq!(names(&*journal, void).await, ["prepared", "finished"]);
        journal.write(void, vec![closed(20)]).await.unwrap();
        assert_eq!(journal.met("api_key", Of::Deletes, 0).await, [void]);
        assert_eq!(ids(&journal.unfinished().await.unwrap()), [void]);
    })
    .await;
}

/// As they stood: a page begins behind an id, and an id never changes.
#[tokio::test]
async fn r1_p8_what_meets_a_window_is_read_page_by_page_and_none_is_missed_that_settles_meanwhile()
{
    each(|journal| async move {
        let mut expected = Vec::new();
        for n in 0..25 {
            // Several of one intent, some settled, and others between.
            let operation = opened(&*journal, n / 4).await;
            if n % 3 == 0 {
                journal.write(operation, vec![closed(50)]).await.unwrap();
            }
            expected.push(operation);
            journal.write(OperationId::new(), vec![create(n / 4)]).await.unwrap();
            done(&*journal, n / 4, 39).await;
        }
        expected.sort_unstable();
        let (resource_type, of) = (ResourceType::new("api_key"), Of::Deletes);
        let window = Window { resource_type, of, from: at(40) };
        for limit in [1, 7, 25, 100] {
            let (mut read, mut after) = (Vec::new(), None);
            loop {
                let page = journal.overlapping(&window, after, limit).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                read.extend(ids(&page));
                // All that is left settles, as soon as it may for this window.
                for operation in expected.iter().filter(|id| !read.contains(id)) {
                    journal.write(*operation, vec![closed(50)]).await.unwrap();
                }
            }
            assert_eq!(read, expected, "{limit} a page");
        }
        assert_eq!(journal.overlapping(&window, None, 0).await, Ok(Vec::new()));
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_back() {
    each(|journal| async move {
        let operation = OperationId::new();
        let begins = next(operation, vec![prepared("api_key", 1)]);
        let mut end = Append { begins: false, entries: vec![finished(2)], ..begins.clone() };
        end.index.state = State::Finished(at(2));
        let mut call = journal.append(begins);
        // Polled once, so called, then dropped.
        let _ = futures_util::poll!(&mut call);
        drop(call);
        // What is appended behind it finds it there.
        journal.append(end).await.unwrap();
        assert_eq!(names(&*journal, operation).await, ["prepared", "finished"]);
        assert_eq!(journal.holder(&resource("api_key", id("x").as_str())).await, Ok(None));
    })
    .await;
}

/// The end of a delete frees the id of the row that is gone, whichever create holds it; but a create that still
/// removes its row, or a registration of it, keeps it until it has ended.
#[tokio::test]
async fn p4_nobody_frees_an_id_whose_holder_has_not_ended() {
    each(|journal| async move {
        let held = resource("api_key", "k");
        let holder = async || journal.holder(&held).await.unwrap().map(|stored| stored.id);
        let end = async |seconds| {
            let delete = opened(&*journal, 1).await;
            let mut append = next(delete, vec![finished(seconds)]);
            append.index.frees = vec![id("k")];
            journal.append(append).await.unwrap();
        };
        let create = opened(&*journal, 1).await;
        for records in [vec![committed(2, "k")], vec![undoing(3, "k")]] {
            journal.write(create, records).await.unwrap();
            end(4).await;
            assert_eq!(holder().await, Some(create));
        }
        journal.write(create, vec![finished(5)]).await.unwrap();
        assert_eq!(holder().await, Some(create), "it stands");
        end(6).await;
        assert_eq!(holder().await, None);
    })
    .await;
}
