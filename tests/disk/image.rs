//! What a disk may hold after a loss of power: what was synced, and any part of what was not.
//!
//! The model is as unkind as POSIX allows, with sectors of 512 bytes written whole or not: an
//! unsynced write may be kept, lost, or kept in part, before or after any other; what a failed sync
//! was to sync may be lost although a later sync succeeds; a name in a directory needs a sync of the
//! directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::dice::Dice;

const SECTOR: usize = 512;

/// A file into which the process under test writes what a caller was told, so that the shim puts that
/// into one order with what happens to the journal. It is not a file of the disk.
pub(crate) const SAID: &str = "journal.db.said";

/// The journal's files as the shim saw them being written.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    /// Which file each name stands for, on the disk, and for the process.
    names: BTreeMap<String, usize>,
    seen: BTreeMap<String, usize>,
    /// What became of names since the directory was synced, in order.
    unsynced: Vec<(String, Option<usize>)>,
    /// Whether a sync of the directory failed.
    pub(crate) is_directory_struck: bool,
    /// What the process had said by then.
    pub(crate) said: String,
}

#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    unsynced: Vec<Step>,
}

#[derive(Clone)]
struct Step {
    change: Change,
    /// Its sync failed: no later one will bring it to the disk.
    is_doomed: bool,
}

#[derive(Clone)]
enum Change {
    /// Within one sector.
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        length: usize,
    },
}

impl Disk {
    /// The disk of a directory in which everything is synced.
    pub(crate) fn of(directory: &Path) -> Self {
        let mut disk = Self::default();
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if ["journal.db", "journal.db-wal", "journal.db.commits"].contains(&name.as_str()) {
                disk.names.insert(name, disk.files.len());
                disk.files
                    .push(File { synced: std::fs::read(entry.path()).unwrap(), ..File::default() });
            }
        }
        disk.seen.clone_from(&disk.names);
        disk
    }

    /// Replays what the shim wrote down, and shows the disk after each event.
    pub(crate) fn replay(&mut self, log: &Path, mut show: impl FnMut(&Self)) {
        events(log, |kind, name, offset, data| {
            if name == SAID {
                self.said.push_str(str::from_utf8(data).unwrap());
            } else {
                self.event(kind, name, offset, data);
            }
            show(self);
        });
    }

    fn event(&mut self, kind: u8, name: &str, offset: usize, data: &[u8]) {
        match kind {
            b'C' => {
                self.unsynced.push((name.to_owned(), Some(self.files.len())));
                self.seen.insert(name.to_owned(), self.files.len());
                self.files.push(File::default());
            }
            b'U' => {
                self.unsynced.push((name.to_owned(), None));
                self.seen.remove(name);
            }
            b'W' => self.file(name).write(offset, data),
            b'T' => self.file(name).step(Change::Truncate { length: offset }),
            b'S' => self.file(name).sync(),
            b'D' => {
                self.names.clone_from(&self.seen);
                self.unsynced.clear();
            }
            b'F' if name.is_empty() => self.is_directory_struck = true,
            b'F' => {
                for step in &mut self.file(name).unsynced {
                    step.is_doomed = true;
                }
            }
            other => panic!("no event of the shim: {other}"),
        }
    }

    fn file(&mut self, name: &str) -> &mut File {
        let index = self.seen[name];
        &mut self.files[index]
    }

    /// Lays down what the power left, drawn by `dice`.
    pub(crate) fn power_fails(&self, dice: &mut Dice, directory: &Path) {
        // A file system keeps its names in order.
        let mut names = self.names.clone();
        for (name, file) in self.unsynced.iter().take(dice.roll(self.unsynced.len() + 1)) {
            match file {
                Some(file) => drop(names.insert(name.clone(), *file)),
                None => drop(names.remove(name)),
            }
        }
        let files: BTreeSet<_> = names.values().collect();
        assert_eq!(files.len(), names.len(), "no file has two names");
        for (name, file) in names {
            std::fs::write(directory.join(name), self.files[file].left(dice)).unwrap();
        }
    }
}

impl File {
    fn step(&mut self, change: Change) {
        self.unsynced.push(Step { change, is_doomed: false });
    }

    fn write(&mut self, mut offset: usize, mut data: &[u8]) {
        while !data.is_empty() {
            let within = (SECTOR - offset % SECTOR).min(data.len());
            let (bytes, rest) = data.split_at(within);
            self.step(Change::Write { offset, bytes: bytes.to_vec() });
            offset += within;
            data = rest;
        }
    }

    fn sync(&mut self) {
        let (doomed, kept): (Vec<_>, _) =
            std::mem::take(&mut self.unsynced).into_iter().partition(|step| step.is_doomed);
        let rewritten: BTreeSet<_> = kept.iter().filter_map(|step| step.change.sector()).collect();
        for step in &kept {
            step.change.apply(&mut self.synced);
        }
        let is_rewritten =
            |step: &Step| step.change.sector().is_some_and(|sector| rewritten.contains(&sector));
        self.unsynced = doomed.into_iter().filter(|step| !is_rewritten(step)).collect();
    }

    /// Half of the time the writes reach the disk in order, up to some moment; else in any.
    fn left(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let count = self.unsynced.len();
        let until = if dice.roll(2) == 0 { dice.roll(count + 1) } else { count };
        let luck = if until < count { 100 } else { dice.roll(101) };
        for step in self.unsynced.iter().take(until) {
            if dice.roll(100) < luck {
                step.change.apply(&mut bytes);
            }
        }
        bytes
    }
}

impl Change {
    fn sector(&self) -> Option<usize> {
        match self {
            Self::Write { offset, .. } => Some(offset / SECTOR),
            Self::Truncate { .. } => None,
        }
    }

    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate { length } => file.resize(*length, 0),
        }
    }
}

/// Syncs of that file which succeeded.
pub(crate) fn syncs(log: &Path, of: &str) -> usize {
    let mut count = 0;
    events(log, |kind, name, _, _| count += usize::from(kind == b'S' && name == of));
    count
}

/// Reads what the shim wrote down: what happened, to which file, where, and the bytes.
fn events(log: &Path, mut each: impl FnMut(u8, &str, usize, &[u8])) {
    let log = std::fs::read(log).unwrap_or_default();
    let mut rest = log.as_slice();
    // The last event may have been cut.
    while let Some((head, after)) = rest.split_at_checked(16) {
        let length = u32::from_ne_bytes(head[4..8].try_into().unwrap()) as usize;
        let offset = u64::from_ne_bytes(head[8..16].try_into().unwrap());
        let Some((name, after)) = after.split_at_checked(usize::from(head[1])) else { break };
        let Some((data, after)) = after.split_at_checked(length) else { break };
        each(head[0], str::from_utf8(name).unwrap(), usize::try_from(offset).unwrap(), data);
        rest = after;
    }
}
