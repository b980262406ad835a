//! Places where a test may kill the process: before and after each record, call and answer.
//!
//! Without the cargo feature `failpoints`, which no release has, [`hit`] and [`records`] are
//! nothing. With it, the variable `FAILPOINT=name:n` makes the process send itself SIGKILL at the
//! n-th time that it comes to that place, and each place is logged when it is first come to.
//! `scripts/crash.sh` goes round all of them.

/// Every place. Those of the journal are one for each kind of record: before its transaction, between
/// its write and the COMMIT, and after that, before anybody hears of it.
///
/// A question that failed (of `parent`, `find`, `list`) has no place of its own: it changed nothing
/// anywhere, so what a crash leaves there is what one before the question leaves. An undo that failed
/// has one, since it may have had its effect.
pub const ALL: [&str; 60] = [
    "create.sending",
    "create.answered",
    "create.late",
    "delete.sending",
    "delete.answered",
    "upstream.written",
    "parent.asking",
    "parent.told",
    "find.asking",
    "find.told",
    "list.asking",
    "list.told",
    "undo.sending",
    "undo.answered",
    "undo.failed",
    "register.sending",
    "register.answered",
    "deregister.sending",
    "deregister.answered",
    "stand_in.sending",
    "stand_in.answered",
    "reply.ready",
    "reply.written",
    "recovery.replayed",
    "journal.before.prepared",
    "journal.before.committed",
    "journal.before.closed",
    "journal.before.registered",
    "journal.before.passed",
    "journal.before.undoing",
    "journal.before.deleted",
    "journal.before.resumed",
    "journal.before.reported",
    "journal.before.retried",
    "journal.before.discarded",
    "journal.before.finished",
    "journal.written.prepared",
    "journal.written.committed",
    "journal.written.closed",
    "journal.written.registered",
    "journal.written.passed",
    "journal.written.undoing",
    "journal.written.deleted",
    "journal.written.resumed",
    "journal.written.reported",
    "journal.written.retried",
    "journal.written.discarded",
    "journal.written.finished",
    "journal.committed.prepared",
    "journal.committed.committed",
    "journal.committed.closed",
    "journal.committed.registered",
    "journal.committed.passed",
    "journal.committed.undoing",
    "journal.committed.deleted",
    "journal.committed.resumed",
    "journal.committed.reported",
    "journal.committed.retried",
    "journal.committed.discarded",
    "journal.committed.finished",
];

/// The process comes to a place, one of [`ALL`].
#[inline]
pub fn hit(name: &'static str) {
    #[cfg(feature = "failpoints")]
    armed::hit(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// The journal comes to a stage (`before`, `written`, `committed`) with records of these names.
#[inline]
pub fn records(stage: &'static str, names: impl Iterator<Item = &'static str>) {
    #[cfg(feature = "failpoints")]
    names.for_each(|name| armed::hit(&format!("journal.{stage}.{name}")));
    #[cfg(not(feature = "failpoints"))]
    let _ = (stage, names);
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    /// Where to die, and at the how manieth time; `None` where the variable is not set.
    static WHERE: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let text = std::env::var("FAILPOINT").ok()?;
        let (name, times) = text.split_once(':')?;
        Some((name.to_owned(), times.parse().ok()?))
    });

    /// How often the process came to each place.
    static TIMES: LazyLock<Vec<AtomicU32>> =
        LazyLock::new(|| super::ALL.iter().map(|_| AtomicU32::new(0)).collect());

    pub(super) fn hit(name: &str) {
        let Some((fatal, times)) = &*WHERE else { return };
        let place = super::ALL.iter().position(|known| *known == name);
        let Some(count) = place.and_then(|place| TIMES.get(place)) else {
            tracing::error!(name, "failpoint::ALL lacks a place");
            return;
        };
        let before = count.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            tracing::info!(name, "came to a place");
        }
        if name == fatal && before + 1 == *times {
            // Nothing can be done about a failure, and there is none: it is our own process.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}
