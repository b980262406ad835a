//! Finished operations are forgotten: however many there were, the files stay as large as the few
//! minutes that claims may need, and nobody waits for it.
//!
//! `RETENTION_OPERATIONS` says how many: 20,000 unless it is set.

#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use authz_sidecar::journal::{Journal, SqlJournal};
use authz_sidecar::model::OperationId;

use crate::fixture::{
    Calls, Place, at, closed, committed, create, deleted, finished, ids, opened, prepared,
    registered, reported, resource, undoing,
};

/// Operations in a second of the journal's time, which is not the test's.
const RATE: i64 = 10;

/// What the sidecar keeps with its defaults: 2 × (L + 2 S).
const KEPT: i64 = 260;

/// How often it prunes, in seconds.
const EVERY: i64 = 30;

/// The database's size and the log's, in KiB.
fn size(path: &Path) -> (u64, u64) {
    let length = |path: String| std::fs::metadata(path).map_or(0, |file| file.len() / 1024);
    (length(path.display().to_string()), length(format!("{}-wal", path.display())))
}

/// Creates that finish at once, until that second; prunes as the sidecar does.
async fn live(journal: &SqlJournal, seconds: std::ops::Range<i64>) {
    let mut lives = Vec::new();
    for second in seconds {
        for number in 0..RATE {
            let key = format!("{second}-{number}");
            let entries = vec![
                prepared("api_key", second),
                committed(second, &key),
                registered(second, &key),
                finished(second),
            ];
            lives.push((OperationId::new(), entries));
        }
        if second % EVERY == 0 {
            journal.write_all(std::mem::take(&mut lives)).await.unwrap();
            journal.prune(at(second), at(second - KEPT)).await.unwrap();
        }
    }
    journal.write_all(lives).await.unwrap();
}

/// Appends one after the other and waits for each, until the time is negative; the longest wait.
async fn longest_append(journal: Arc<SqlJournal>, time: Arc<AtomicI64>) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let second = time.load(Relaxed);
        if second < 0 {
            break;
        }
        let began = Instant::now();
        let operation = OperationId::new();
        let entries = vec![prepared("agent", second), finished(second)];
        journal.write(operation, entries).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_however_many_operations_finish_the_files_stay_as_large_as_what_claims_may_need() {
    let asked = std::env::var("RETENTION_OPERATIONS").ok();
    let operations: i64 = asked.map_or(20_000, |text| text.parse().unwrap());
    let place = Place::new();
    let journal = Arc::new(place.open());
    // What is stuck, for as long as it takes, holds nothing but itself, or at most its window.
    let mut stuck = Vec::new();
    for history in [
        vec![create(0), closed(0), reported(1)],
        vec![prepared("api_key", 0), deleted(1, &["d"])],
        vec![create(0), committed(0, "u"), undoing(1, "u")],
        vec![create(0), closed(1)],
        vec![prepared("api_key", 0), closed(1)],
    ] {
        stuck.push(OperationId::new());
        journal.write(stuck[stuck.len() - 1], history).await.unwrap();
    }

    let began = Instant::now();
    let (warm, end) = (3 * KEPT, operations / RATE);
    assert!(end > 2 * warm, "too few to show anything: {operations}");
    live(&journal, 0..warm).await;
    let (steady, _) = size(&place.path());
    let time = Arc::new(AtomicI64::new(warm));
    let appends = tokio::spawn(longest_append(journal.clone(), time.clone()));
    let (mut largest, mut largest_log) = (0, 0);
    for from in (warm..end).step_by(100) {
        // What is appended beside it belongs to the same time: what is stuck holds its own.
        time.store(from, Relaxed);
        live(&journal, from..end.min(from + 100)).await;
        let (database, log) = size(&place.path());
        (largest, largest_log) = (largest.max(database), largest_log.max(log));
    }
    time.store(-1, Relaxed);
    let longest = appends.await.unwrap();
    println!(
        "operations={operations} seconds={:.1} steady_kib={steady} largest_kib={largest} \
         largest_log_kib={largest_log} longest_append_ms={}",
        began.elapsed().as_secs_f64(),
        longest.as_millis()
    );
    assert!(largest < steady * 3 / 2 + 4096, "{largest} KiB, from {steady}");
    assert!(largest_log <= 64 << 10, "the log has {largest_log} KiB");
    assert!(longest < Duration::from_secs(2), "an append waited for {longest:?}");
    let unfinished = ids(&journal.unfinished().await.unwrap());
    assert_eq!(unfinished.len(), stuck.len());
    assert!(stuck.iter().all(|operation| unfinished.contains(operation)));
}

#[tokio::test]
async fn p4_p8_a_create_that_looks_for_its_row_for_ever_holds_its_window_and_nothing_later() {
    let place = Place::new();
    let journal = place.open();
    live(&journal, 0..2 * KEPT).await;
    let looks = vec![create(2 * KEPT), closed(2 * KEPT + 1)];
    journal.write(OperationId::new(), looks).await.unwrap();
    live(&journal, 2 * KEPT..6 * KEPT).await;
    let (window, _) = size(&place.path());
    live(&journal, 6 * KEPT..20 * KEPT).await;
    let (held, _) = size(&place.path());
    assert!(held < window * 5 / 4, "{held} KiB, from {window}");
    for (second, is_kept) in [
        (KEPT - 1, false),
        (KEPT, true),
        (2 * KEPT, true),
        (3 * KEPT + 1, true),
        (3 * KEPT + 2, false),
        (20 * KEPT - 1, true),
    ] {
        let key = resource("api_key", &format!("{second}-0"));
        assert_eq!(journal.holder(&key).await.unwrap().is_some(), is_kept, "{key}");
    }
}

#[tokio::test]
async fn p4_an_operation_under_way_holds_what_it_may_need_and_its_end_gives_the_space_back() {
    let place = Place::new();
    let journal = place.open();
    live(&journal, 0..2 * KEPT).await;
    let (steady, _) = size(&place.path());
    let open = opened(&journal, 2 * KEPT).await;
    live(&journal, 2 * KEPT..10 * KEPT).await;
    let (held, _) = size(&place.path());
    assert!(held > steady * 2, "{held} KiB, from {steady}");
    // What ended within the margin before it is there, too.
    for (second, is_kept) in [(KEPT + 1, true), (KEPT - 1, false)] {
        let key = resource("api_key", &format!("{second}-0"));
        assert_eq!(journal.holder(&key).await.unwrap().is_some(), is_kept, "{key}");
    }
    journal.write(open, vec![finished(10 * KEPT)]).await.unwrap();
    live(&journal, 10 * KEPT..12 * KEPT).await;
    let (after, _) = size(&place.path());
    assert!(after < steady * 3 / 2 + 4096, "{after} KiB, from {steady} and {held}");
}
