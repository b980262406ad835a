//! Syncs fail, the disk fills, files can't be written: the journal says so, accepts nothing more, and a
//! restart, after a loss of power too, finds what was acknowledged.

use tempfile::TempDir;

use crate::dice::Dice;
use crate::image::Disk;
use crate::seeds;
use crate::shim::{Fault, Shim};
use crate::victim::{Told, heard, lost, run};

/// Runs the victim on a disk with that fault. Returns what it said, the directory as a process
/// finds it that is started again, what was told, and whether the directory was struck.
async fn struck(fault: Fault, seed: u64) -> (String, TempDir, Told, bool) {
    let (directory, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = scratch.path().join("log");
    let mut disk = Disk::of(directory.path());
    let said = run(&Shim::new(directory.path(), fault).logging(log.clone()), 400);
    disk.replay(&log, |_| {});
    let mut told = Told::new();
    heard(&disk.said, &mut told);
    let mut dice = Dice::new(seed);
    for _ in 0..5 {
        let left = tempfile::tempdir().unwrap();
        disk.power_fails(&mut dice, left.path());
        if let Err(loss) = lost(left.path(), &told).await {
            panic!("{fault:?}, seed {seed}, after a loss of power: {loss}");
        }
    }
    (said, directory, told, disk.is_directory_struck)
}

async fn assert_refuses_and_recovers(fault: Fault, seed: u64) {
    let (said, directory, told, is_directory_struck) = struck(fault, seed).await;
    let is_in_use = said.contains("health: Err(Broken(");
    // SQLite takes no notice of a directory's failed sync; the journal's own comes after it.
    let is_noticed = is_in_use || said.contains("refused: journal ");
    assert!(is_noticed || is_directory_struck, "{fault:?}: {said}");
    if is_in_use {
        // Of eight callers one is told that nobody knows, or that nothing was written; all are refused.
        let refused = said.lines().filter(|line| line.contains("the journal "));
        assert!(refused.count() >= 8, "{fault:?}: {said}");
    }
    if let Err(loss) = lost(directory.path(), &told).await {
        panic!("{fault:?}, seed {seed}: {loss}");
    }
}

#[tokio::test]
async fn p2_after_a_sync_that_failed_nothing_is_accepted_and_a_restart_finds_what_was() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        // The first dozen belong to the opening.
        for nth in [1 + dice.roll(12), 12 + dice.roll(8), 20 + dice.roll(30)] {
            assert_refuses_and_recovers(Fault::Sync(nth), seed).await;
        }
    }
}

#[tokio::test]
async fn p2_on_a_full_disk_nothing_is_accepted_and_a_restart_finds_what_was() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        for nth in [1 + dice.roll(40), 40 + dice.roll(100), 200 + dice.roll(400)] {
            assert_refuses_and_recovers(Fault::Full(nth), seed).await;
        }
    }
}

#[test]
fn a_disk_that_can_not_be_written_is_told_with_the_mend() {
    let cases = [
        (Fault::ReadOnly, "mount the volume for writing"),
        (Fault::Denied, "belong to the sidecar's user"),
        (Fault::Full(1), "make room"),
        (Fault::Names, "the kernel's log may tell more"),
    ];
    for (fault, mend) in cases {
        let directory = tempfile::tempdir().unwrap();
        let said = run(&Shim::new(directory.path(), fault), 1);
        assert!(said.contains("refused: journal "), "{said}");
        assert!(said.contains(directory.path().to_str().unwrap()), "{said}");
        assert!(said.contains(mend), "{said}");
    }
}
