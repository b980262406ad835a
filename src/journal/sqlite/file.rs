//! The journal's files: who may have them open, who may read them, and what to say when that
//! does not work out.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::machine::host;
use super::super::problem::Problem;

/// The exclusive right to the journal, held until dropped.
///
/// An advisory lock (`flock`) on a file of its own: SQLite's locks come and go with its
/// transactions, and are lost when any descriptor of the same file is closed. The kernel gives
/// it up when the process dies, however it dies. The file stays, since removing it would race.
#[derive(Debug)]
pub(super) struct Lock {
    _held: File,
}

/// Locks the journal at `path` and makes its file where there is none.
pub(super) fn acquire(path: &Path) -> Result<Lock, Problem> {
    if path.is_dir() {
        return Err(Problem::new("it is a directory", "name a file in it in journal.url"));
    }
    let directory = directory(path);
    if !directory.is_dir() {
        let what = format!("there is no directory {}", directory.display());
        return Err(Problem::new(what, "make it, on a volume that outlives the container"));
    }
    let lock = lock(path)?;
    private().open(path)?;
    sync_names(path)?;
    Ok(lock)
}

/// Brings the names of the journal's files to the disk. SQLite does so too, and goes on where
/// that fails.
pub(super) fn sync_names(path: &Path) -> Result<(), Problem> {
    Ok(File::open(directory(path))?.sync_all()?)
}

/// The path of a file that is named after the journal's.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// What to do about a file that can't be made or written.
pub(super) const MOUNT: &str = "mount the volume for writing";
pub(super) const OWN: &str = "its directory and files must belong to the sidecar's user";
pub(super) const MAKE_ROOM: &str = "make room on its volume";
pub(super) const WRITABLE: &str = "its directory must be writable for the sidecar's user, and its disk in order (the kernel's log may tell more)";

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        let remedy = match error.kind() {
            ErrorKind::ReadOnlyFilesystem => MOUNT,
            ErrorKind::PermissionDenied => OWN,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => MAKE_ROOM,
            _ => WRITABLE,
        };
        Self::new(error, remedy)
    }
}

fn lock(path: &Path) -> Result<Lock, Problem> {
    let mut file = private().open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            // The holder may be about to write its id.
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder).is_ok_and(|length| length > 0);
            let holder = if read { holder.trim() } else { "(id not known)" };
            let remedy = "a journal belongs to one sidecar, so stop the other or give this one a \
                          journal.url of its own";
            let what = format!("process {holder} has it open");
            return Err(Problem { is_locked: true, ..Problem::new(what, remedy) });
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    writeln!(file, "{} on {}", std::process::id(), host())?;
    Ok(Lock { _held: file })
}

/// Mode 0600: the journal names users and resources. SQLite gives its `-wal` and `-shm` files
/// the mode of the main one.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
