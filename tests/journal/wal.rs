//! Logs that a disk cut short or damaged: what was acknowledged is there, or the journal refuses to
//! start. The copies are of a journal in use, so what its process would leave if it died.

#![allow(clippy::indexing_slicing, reason = "helpers of tests fail as loudly as tests")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use authz_sidecar::journal::{OpenError, OpenOptions, SqliteJournal};
use authz_sidecar::model::OperationId;

use crate::fixture::{Calls, Place, committed, meddle, names, opened};

const HEADER: usize = 32;
const FRAME: usize = 24 + 4096;

/// Copies of a journal's files, and what its callers were told.
struct Copies {
    database: Vec<u8>,
    log: Vec<u8>,
    index: Vec<u8>,
    /// Each operation, and the log's length when its second append, of two, was acknowledged.
    acknowledged: Vec<(OperationId, usize)>,
    /// The log's length after each append.
    ends: Vec<usize>,
}

impl Copies {
    /// Of a journal that wrote `before` operations in an earlier use of the log, and `count` in this.
    async fn of(before: usize, count: usize) -> Self {
        let place = Place::new();
        let journal = place.open();
        let (mut acknowledged, mut ends) = (Vec::new(), Vec::new());
        for number in 0..before {
            let operation = written(&journal, number).await;
            acknowledged.push((operation, 0));
        }
        if before > 0 {
            // All of it is in the database now, so that the next write starts the log over.
            meddle(&place.path(), "PRAGMA wal_checkpoint(PASSIVE)");
        }
        for number in before..before + count {
            let operation = opened(&journal, 1).await;
            ends.push(end_of_log(&place.path()));
            journal.write(operation, vec![committed(2, &number.to_string())]).await.unwrap();
            ends.push(end_of_log(&place.path()));
            acknowledged.push((operation, *ends.last().unwrap()));
        }
        let read = |suffix| std::fs::read(beside(&place.path(), suffix)).unwrap();
        Self { database: read(""), log: read("-wal"), index: read("-shm"), acknowledged, ends }
    }

    fn frames(&self) -> usize {
        (*self.ends.last().unwrap() - HEADER) / FRAME
    }

    /// Lays the files down with another log, and with the index where that survived.
    fn lay(&self, log: &[u8], has_index: bool) -> Place {
        let place = Place::new();
        let write = |suffix, bytes: &[u8]| std::fs::write(beside(&place.path(), suffix), bytes);
        write("", &self.database).unwrap();
        write("-wal", log).unwrap();
        if has_index {
            write("-shm", &self.index).unwrap();
        }
        place
    }

    /// Opens that: nothing of what was acknowledged when the log ended at `within` may be missing.
    async fn open(&self, log: &[u8], has_index: bool, within: usize) -> Result<(), OpenError> {
        let place = self.lay(log, has_index);
        let journal = place.try_open(OpenOptions::default())?;
        for (operation, end) in &self.acknowledged {
            if *end <= within {
                assert_eq!(names(&journal, *operation).await, ["prepared", "committed"]);
            }
        }
        Ok(())
    }

    fn flipped(&self, byte: usize, bit: usize) -> Vec<u8> {
        let mut log = self.log.clone();
        log[byte] ^= 1 << bit;
        log
    }
}

async fn written(journal: &SqliteJournal, number: usize) -> OperationId {
    let operation = opened(journal, 1).await;
    journal.write(operation, vec![committed(2, &number.to_string())]).await.unwrap();
    operation
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

/// Where the log ends: of one that started over, the file is longer.
fn end_of_log(path: &Path) -> usize {
    let log = std::fs::read(beside(path, "-wal")).unwrap();
    let salts = |at: usize| &log[at..at + 8];
    let frames = (HEADER..log.len()).step_by(FRAME);
    HEADER + FRAME * frames.take_while(|at| salts(at + 8) == salts(16)).count()
}

fn frame(index: usize) -> usize {
    HEADER + index * FRAME
}

/// A byte of each field of each of these frames, and some of its page.
fn regions(frames: Range<usize>) -> Vec<usize> {
    let within = [1, 3, 4, 7, 8, 15, 16, 23, 24, 25, 500, 2000, 4119];
    frames.flat_map(|index| within.map(|byte| frame(index) + byte)).collect()
}

fn is_damaged(result: &Result<(), OpenError>) -> bool {
    matches!(result, Err(OpenError::Damaged { .. }))
}

#[tokio::test]
async fn p2_a_log_as_a_dead_process_leaves_it_holds_all_that_was_acknowledged() {
    for before in [0, 20] {
        let copies = Copies::of(before, 6).await;
        for has_index in [false, true] {
            copies.open(&copies.log, has_index, usize::MAX).await.unwrap();
        }
    }
}

#[tokio::test]
async fn p2_a_log_cut_at_any_place_holds_what_was_acknowledged_before_that_place() {
    let copies = Copies::of(0, 6).await;
    let boundaries = (0..=copies.frames()).map(frame);
    let cuts = boundaries.flat_map(|at| [at - 9, at, at + 700]);
    for cut in cuts.filter(|cut| *cut <= copies.log.len()) {
        copies.open(&copies.log[..cut], false, cut).await.unwrap();
    }
}

#[tokio::test]
async fn p2_a_log_cut_below_what_its_index_counts_is_refused() {
    let copies = Copies::of(0, 6).await;
    let last = *copies.ends.last().unwrap();
    for cut in (0..copies.frames()).map(frame).chain([last - 1, last - 4000]) {
        let opened = copies.open(&copies.log[..cut], true, usize::MAX).await;
        assert!(is_damaged(&opened), "cut at {cut}: {opened:?}");
        let message = opened.unwrap_err().to_string();
        assert!(message.contains(&format!("{} frames were on the disk", copies.frames())));
    }
    // One that holds more than the index counts is one that was cut off before it was acknowledged.
    let mut more = copies.log[..last].to_vec();
    more.extend_from_slice(&copies.log[last - FRAME..last]);
    copies.open(&more, true, usize::MAX).await.unwrap();
}

#[tokio::test]
async fn p2_after_a_process_died_any_damaged_bit_is_refused() {
    let copies = Copies::of(0, 6).await;
    let header = 0..HEADER;
    for (round, byte) in header.chain(regions(0..copies.frames())).enumerate() {
        let log = copies.flipped(byte, round % 8);
        let opened = copies.open(&log, true, usize::MAX).await;
        assert!(is_damaged(&opened), "byte {byte}, bit {}: {opened:?}", round % 8);
    }
}

#[tokio::test]
async fn p2_after_a_loss_of_power_a_damaged_bit_before_the_last_transactions_is_refused() {
    let copies = Copies::of(0, 6).await;
    let [.., unsure, _, _] = copies.ends.as_slice() else { panic!("six operations have ends") };
    let sure = (unsure - HEADER) / FRAME;
    let header = 0..HEADER;
    for (round, byte) in header.chain(regions(0..sure)).enumerate() {
        let log = copies.flipped(byte, round % 8);
        let opened = copies.open(&log, false, usize::MAX).await;
        assert!(is_damaged(&opened), "byte {byte}, bit {}: {opened:?}", round % 8);
    }
    // Behind it damage may pass for a write that was cut off; what stands before is there.
    for (round, byte) in regions(sure..copies.frames()).into_iter().enumerate() {
        let log = copies.flipped(byte, round % 8);
        let opened = copies.open(&log, false, *unsure).await;
        assert!(opened.is_ok() || is_damaged(&opened), "byte {byte}: {opened:?}");
    }
}

#[tokio::test]
async fn a_write_whose_sectors_came_to_the_disk_in_any_order_is_no_damage() {
    let copies = Copies::of(0, 6).await;
    let [.., before, last] = copies.ends.as_slice() else { panic!("it has ends") };
    let frames = (before - HEADER) / FRAME..(last - HEADER) / FRAME;
    assert!(frames.len() > 1, "a transaction of several frames");
    for lost in frames {
        let mut log = copies.log.clone();
        log[frame(lost)..frame(lost + 1)].fill(0);
        copies.open(&log, false, *before).await.unwrap();
        let torn = frame(lost) + 1024..frame(lost) + 1536;
        let mut log = copies.log.clone();
        log[torn].fill(0);
        copies.open(&log, false, *before).await.unwrap();
    }
}

#[tokio::test]
async fn what_an_earlier_use_of_the_log_left_behind_its_end_is_no_damage() {
    let copies = Copies::of(20, 2).await;
    let stale = copies.frames()..(copies.log.len() - HEADER) / FRAME;
    assert!(stale.len() > 10, "{stale:?}");
    let stale = stale.start..stale.start + 4;
    for (round, byte) in regions(stale).into_iter().enumerate() {
        let log = copies.flipped(byte, round % 8);
        copies.open(&log, round % 2 == 0, usize::MAX).await.unwrap();
    }
    // Damage within its end is found all the same.
    let log = copies.flipped(frame(1) + 100, 0);
    assert!(is_damaged(&copies.open(&log, false, usize::MAX).await));
}

#[tokio::test]
async fn the_documented_way_out_of_a_damaged_log_keeps_what_stands_before_the_damage() {
    let copies = Copies::of(3, 6).await;
    let damaged = copies.ends[5];
    let place = copies.lay(&copies.flipped(damaged + 1000, 3), true);
    let error = place.try_open(OpenOptions::default()).unwrap_err();
    let OpenError::Damaged { usable, .. } = &error else { panic!("{error}") };
    let message = error.to_string();
    assert!(message.contains(&format!("damaged at byte {damaged}: the frame")), "{message}");
    assert!(message.contains("docs/OPERATIONS.md"), "{message}");
    assert_eq!(usize::try_from(*usable).unwrap(), damaged);
    // Refusing changed nothing: the next start says the same.
    assert_eq!(place.try_open(OpenOptions::default()).unwrap_err().to_string(), message);

    let log = std::fs::OpenOptions::new().write(true).open(beside(&place.path(), "-wal")).unwrap();
    log.set_len(*usable).unwrap();
    std::fs::remove_file(beside(&place.path(), "-shm")).unwrap();
    let journal = place.open();
    for (operation, end) in &copies.acknowledged {
        let expected: &[&str] = if *end <= damaged { &["prepared", "committed"] } else { &[] };
        assert_eq!(names(&journal, *operation).await, expected);
    }
    written(&journal, 99).await;
}
