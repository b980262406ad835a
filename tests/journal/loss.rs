//! Logs that a disk cut short, damaged or lost: what was acknowledged is there, or the journal refuses to
//! start. The copies are of a journal in use, so what its process would leave if it died.

#![allow(clippy::indexing_slicing, reason = "helpers of tests fail as loudly as tests")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use authz_sidecar::journal::{Metrics, OpenError, SqlJournal};
use authz_sidecar::model::OperationId;

use crate::fixture::{Calls, Place, committed, meddle, names, opened, try_open};

const HEADER: usize = 32;
const FRAME: usize = 24 + 4096;

/// Copies of a journal's files, and what its callers were told.
struct Copies {
    database: Vec<u8>,
    log: Vec<u8>,
    /// What was noted of its commits after each append.
    notes: Vec<Vec<u8>>,
    /// Each operation, and the log's length when its second append, of two, was acknowledged.
    acknowledged: Vec<(OperationId, usize)>,
    /// The log's length after each append.
    ends: Vec<usize>,
}

/// Which note is there with the log.
#[derive(Clone, Copy)]
enum Note {
    /// That of the last append, as after the death of a process.
    Exact,
    /// That of the append before.
    Before,
    /// None, as it may be after a loss of power.
    None,
}

impl Copies {
    /// Of a journal that wrote `before` operations in an earlier use of the log, and `count` in this.
    async fn of(before: usize, count: usize) -> Self {
        let place = Place::new();
        let journal = place.open();
        let (mut acknowledged, mut ends, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..before {
            let operation = written(&journal, number).await;
            acknowledged.push((operation, 0));
        }
        if before > 0 {
            // All of it is in the database now, so that the next write starts the log over.
            meddle(&place.path(), "PRAGMA wal_checkpoint(PASSIVE)");
        }
        let read = |suffix| std::fs::read(beside(&place.path(), suffix)).unwrap();
        for number in before..before + count {
            let operation = opened(&journal, 1).await;
            ends.push(end_of_log(&place.path()));
            notes.push(read(".commits"));
            journal.write(operation, vec![committed(2, &number.to_string())]).await.unwrap();
            ends.push(end_of_log(&place.path()));
            notes.push(read(".commits"));
            acknowledged.push((operation, *ends.last().unwrap()));
        }
        Self { database: read(""), log: read("-wal"), notes, acknowledged, ends }
    }

    fn frames(&self) -> usize {
        (*self.ends.last().unwrap() - HEADER) / FRAME
    }

    /// Lays the files down with another log.
    fn lay(&self, log: &[u8], note: Note) -> Place {
        let place = Place::new();
        let write = |suffix, bytes: &[u8]| std::fs::write(beside(&place.path(), suffix), bytes);
        write("", &self.database).unwrap();
        write("-wal", log).unwrap();
        let (exact, before) =
            (&self.notes[self.notes.len() - 1], &self.notes[self.notes.len() - 2]);
        match note {
            Note::Exact => write(".commits", exact).unwrap(),
            Note::Before => write(".commits", before).unwrap(),
            Note::None => {}
        }
        place
    }

    /// Opens that: nothing of what was acknowledged when the log ended at `within` may be missing.
    async fn open(&self, log: &[u8], note: Note, within: usize) -> Result<(), OpenError> {
        let place = self.lay(log, note);
        let journal = try_open(&place.config(), Metrics::default())?;
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

async fn written(journal: &SqlJournal, number: usize) -> OperationId {
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
    result.as_ref().is_err_and(|error| error.to_string().contains("commits were acknowledged"))
}

#[tokio::test]
async fn p2_a_log_as_a_dead_process_leaves_it_holds_all_that_was_acknowledged() {
    for before in [0, 20] {
        let copies = Copies::of(before, 6).await;
        for note in [Note::Exact, Note::Before, Note::None] {
            copies.open(&copies.log, note, usize::MAX).await.unwrap();
        }
    }
}

#[tokio::test]
async fn p2_after_a_loss_of_power_a_log_holds_what_was_acknowledged_before_the_place_where_it_is_cut()
 {
    let copies = Copies::of(0, 6).await;
    let boundaries = (0..=copies.frames()).map(frame);
    let cuts = boundaries.flat_map(|at| [at - 9, at, at + 700]);
    for cut in cuts.filter(|cut| *cut <= copies.log.len()) {
        copies.open(&copies.log[..cut], Note::None, cut).await.unwrap();
    }
}

#[tokio::test]
async fn p2_a_log_with_fewer_commits_than_were_acknowledged_is_refused() {
    let copies = Copies::of(0, 6).await;
    let last = *copies.ends.last().unwrap();
    for cut in (0..copies.frames()).map(frame).chain([0, last - 1, last - 4000]) {
        let opened = copies.open(&copies.log[..cut], Note::Exact, usize::MAX).await;
        assert!(is_damaged(&opened), "cut at {cut}: {opened:?}");
        let message = opened.unwrap_err().to_string();
        assert!(message.contains("12 commits were acknowledged"), "{message}");
    }
    // One more than was noted is one that was not acknowledged yet.
    copies.open(&copies.log, Note::Before, usize::MAX).await.unwrap();
}

#[tokio::test]
async fn p2_a_log_that_is_gone_or_an_older_file_is_refused() {
    let copies = Copies::of(3, 6).await;
    let place = copies.lay(&copies.log, Note::Exact);
    std::fs::remove_file(beside(&place.path(), "-wal")).unwrap();
    assert!(place.refusal().contains("commits were acknowledged"));
    std::fs::remove_file(place.path()).unwrap();
    assert!(place.refusal().contains("commits were acknowledged"));
}

#[tokio::test]
async fn p2_after_a_process_died_any_damaged_bit_is_refused() {
    let copies = Copies::of(0, 6).await;
    let header = 0..HEADER;
    for (round, byte) in header.chain(regions(0..copies.frames())).enumerate() {
        let log = copies.flipped(byte, round % 8);
        let opened = copies.open(&log, Note::Exact, usize::MAX).await;
        assert!(is_damaged(&opened), "byte {byte}, bit {}: {opened:?}", round % 8);
    }
}

#[tokio::test]
async fn p2_where_the_note_is_older_than_a_loss_of_power_damage_before_it_is_refused() {
    let copies = Copies::of(0, 6).await;
    let [.., before, _] = copies.ends.as_slice() else { panic!("six operations have ends") };
    let sure = (before - HEADER) / FRAME;
    for (round, byte) in regions(0..copies.frames()).into_iter().enumerate() {
        let log = copies.flipped(byte, round % 8);
        let opened = copies.open(&log, Note::Before, *before).await;
        let is_refused = byte < frame(sure);
        assert_eq!(is_damaged(&opened), is_refused, "byte {byte}: {opened:?}");
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
        copies.open(&log, Note::Before, *before).await.unwrap();
        let torn = frame(lost) + 1024..frame(lost) + 1536;
        let mut log = copies.log.clone();
        log[torn].fill(0);
        copies.open(&log, Note::Before, *before).await.unwrap();
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
        copies.open(&log, Note::Exact, usize::MAX).await.unwrap();
    }
    // Damage within its end is found all the same.
    let log = copies.flipped(frame(1) + 100, 0);
    assert!(is_damaged(&copies.open(&log, Note::Exact, usize::MAX).await));
}

#[tokio::test]
async fn the_documented_way_out_of_a_damaged_log_keeps_what_stands_before_the_damage() {
    let copies = Copies::of(3, 6).await;
    let damaged = copies.ends[5];
    let log = copies.flipped(damaged + 1000, 3);
    let place = copies.lay(&log, Note::Exact);
    let message = place.refusal();
    assert!(message.contains("18 commits were acknowledged, and 12 can be read"), "{message}");
    assert!(message.contains("docs/OPERATIONS.md"), "{message}");
    // Refusing changed nothing: the log is as it was, and the next start says the same.
    assert_eq!(std::fs::read(beside(&place.path(), "-wal")).unwrap(), log);
    assert_eq!(place.refusal(), message);

    std::fs::remove_file(beside(&place.path(), ".commits")).unwrap();
    let journal = place.open();
    for (operation, end) in &copies.acknowledged {
        let expected: &[&str] = if *end <= damaged { &["prepared", "committed"] } else { &[] };
        assert_eq!(names(&journal, *operation).await, expected);
    }
    written(&journal, 99).await;
    drop(journal);
    place.open();
}

/// A loss of power may leave anything in the note: it tells nothing then, and is written anew.
#[tokio::test]
async fn a_note_that_can_t_be_read_keeps_no_journal_from_starting() {
    let copies = Copies::of(0, 2).await;
    for garbage in [&[0; 40][..], &[0xFF; 20], b"many"] {
        let place = copies.lay(&copies.log, Note::None);
        let note = beside(&place.path(), ".commits");
        std::fs::write(&note, garbage).unwrap();
        written(&place.open(), 99).await;
        let noted = String::from_utf8(std::fs::read(&note).unwrap()).unwrap();
        assert_eq!(noted.trim().parse(), Ok(6), "{noted:?}");
    }
}
