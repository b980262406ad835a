//! The power fails: under a disk that honours syncs nothing is lost, and the journal starts again;
//! under one that lies the harness sees the loss.

use std::path::Path;

use tempfile::TempDir;

use crate::dice::Dice;
use crate::image::Disk;
use crate::seeds;
use crate::shim::{Fault, Shim};
use crate::victim::{Loss, Told, heard, lost, run};

/// Losses of power that are drawn from one run.
const MOMENTS: usize = 30;

/// A moment at which the power fails: what the disk was left with, and what had been told.
struct Moment {
    left: TempDir,
    told: Told,
}

/// Runs the victim on what is in `directory`, and lets the power fail at some moments of that. The last
/// moment is the end.
fn moments(directory: &Path, fault: Fault, before: &Told, dice: &mut Dice) -> Vec<Moment> {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("log");
    let mut disk = Disk::of(directory);
    run(&Shim::new(directory, fault).logging(log.clone()), 40 + dice.roll(80));
    let mut events = 0;
    disk.clone().replay(&log, |_| events += 1);
    let mut drawn: Vec<_> = (1..MOMENTS).map(|_| dice.roll(events)).collect();
    drawn.push(events - 1);
    let (mut event, mut moments) = (0, Vec::new());
    disk.replay(&log, |disk| {
        for _ in drawn.iter().filter(|moment| **moment == event) {
            let moment = Moment { left: tempfile::tempdir().unwrap(), told: told(before, disk) };
            disk.power_fails(dice, moment.left.path());
            moments.push(moment);
        }
        event += 1;
    });
    // The index is whole at the end only; whether the kernel had got it to the disk is a toss.
    let last = moments.last().unwrap();
    if dice.roll(2) == 0 {
        let index = "journal.db-shm";
        std::fs::copy(directory.join(index), last.left.path().join(index)).unwrap();
    }
    moments
}

fn told(before: &Told, disk: &Disk) -> Told {
    let mut told = before.clone();
    heard(&disk.said, &mut told);
    told
}

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[tokio::test]
async fn p2_what_was_acknowledged_survives_a_loss_of_power_at_any_moment() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let (mut directory, mut before) = (tempfile::tempdir().unwrap(), Told::new());
        // A second life begins on what the first was left with.
        for life in 1..=2 {
            let moments = moments(directory.path(), Fault::None, &before, &mut dice);
            let last = moments.last().unwrap();
            let (next, told) = (copy(last.left.path()), last.told.clone());
            assert!(told.len() > before.len() + 20, "seed {seed}: it did too little");
            for moment in moments {
                if let Err(loss) = lost(moment.left.path(), &moment.told).await {
                    panic!("seed {seed}, life {life}: {loss}");
                }
            }
            (directory, before) = (next, told);
        }
    }
}

#[tokio::test]
async fn a_disk_that_lies_about_syncs_loses_what_was_acknowledged_and_this_harness_sees_it() {
    let (mut records, mut refused) = (0, 0);
    for seed in seeds() {
        let directory = tempfile::tempdir().unwrap();
        for moment in moments(directory.path(), Fault::Lie, &Told::new(), &mut Dice::new(seed)) {
            match lost(moment.left.path(), &moment.told).await {
                Ok(()) => {}
                Err(Loss::Record(_)) => records += 1,
                Err(Loss::Refused(_)) => refused += 1,
            }
        }
    }
    assert!(records > 0, "nothing was lost; {refused} refused");
}
