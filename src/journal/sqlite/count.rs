//! How many commits were acknowledged, noted in a file next to the journal.
//!
//! SQLite reads its write-ahead log up to the first frame that is not whole, and takes the rest for a write
//! that a crash cut off. So a disk that damages one frame, or that loses the log, loses all records behind
//! it, acknowledged or not, without a word. Therefore the database counts its commits, and after each one
//! the same number is noted here. A database with fewer commits than were noted has lost some.
//!
//! The note is written once the commit is durable, so it is never ahead of a disk that keeps what it synced. It
//! is not synced itself, since that would double the cost of a commit. After the death of the process it is exact.
//! After a loss of power it is as old as the kernel left it, by half a minute as a rule: of what was committed
//! since, it does not tell.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::problem::Problem;
use super::file::{beside, private};

/// The note.
#[derive(Debug)]
pub(super) struct Count {
    file: File,
    /// What it said when it was opened; 0 where it said nothing.
    pub(super) noted: i64,
}

impl Count {
    /// Opens the note of the journal at `path`, or makes one.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        let mut file = private().open(beside(path, ".commits"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let noted = str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        if noted.is_none() && !bytes.is_empty() {
            // A loss of power may leave anything in it.
            file.set_len(0)?;
            tracing::warn!(path = %path.display(), "the number of acknowledged commits can't be read");
        }
        Ok(Self { file, noted: noted.unwrap_or(0) })
    }

    /// Notes that so many commits are durable.
    pub(super) fn note(&self, commits: i64) -> io::Result<()> {
        self.file.write_all_at(format!("{commits:019}\n").as_bytes(), 0)
    }

    /// Refuses a journal that has lost acknowledged commits. SQLite would start without them.
    pub(super) fn compare(&self, commits: i64) -> Result<(), Problem> {
        let noted = self.noted;
        if commits >= noted {
            return Ok(());
        }
        let what = format!("{noted} commits were acknowledged, and {commits} can be read");
        let remedy = "its log (the file named -wal) is damaged or lost, so restore the volume from a copy that holds \
                      all files of one moment, or accept the loss as docs/OPERATIONS.md tells";
        Err(Problem::new(what, remedy))
    }
}
