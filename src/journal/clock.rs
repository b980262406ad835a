//! Clocks that are not set: the machine's, and on top of it the journal's, from which all recorded times come.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Clock, Timestamp};

/// Time since the machine started. It counts the time that the machine was suspended and is never
/// set: a lease must not look longer than it is after either.
pub(super) fn uptime() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    // Elsewhere, which is for development only, the next best.
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let time = clock_gettime(CLOCK);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}

/// Names the time between two starts of the machine, in which [`uptime`] goes on. `None` where that is not known.
pub(super) fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// How far a process's idea of a database's time may be off: half the longest round trip that is believed.
pub(super) const ERROR: Duration = Duration::from_millis(500);

/// A time that was known once, carried on by [`uptime`].
#[derive(Debug, Default)]
pub(super) struct JournalClock {
    /// What is to be added to the uptime, in microseconds.
    shift: AtomicI64,
    /// The last time that was told: a new measurement sets no time back.
    told: AtomicI64,
}

impl JournalClock {
    /// A clock that shows the uptime and so many microseconds.
    pub(super) fn shifted(shift: i64) -> Self {
        Self { shift: AtomicI64::new(shift), ..Self::default() }
    }

    /// What makes such a clock of the wall clock as it is now.
    pub(super) fn wall() -> i64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        micros(wall).saturating_sub(micros(uptime()))
    }

    /// Takes `time`, for which the database was asked at `asked` and which has come just now. Gives whether it is
    /// believed: an answer that took too long tells too little.
    pub(super) fn measure(&self, asked: Duration, time: i64) -> bool {
        let trip = uptime().saturating_sub(asked);
        let is_believed = trip <= 2 * ERROR;
        if is_believed {
            self.shift.store(time.saturating_sub(micros(asked + trip / 2)), Ordering::Release);
        }
        is_believed
    }
}

impl Clock for JournalClock {
    fn now(&self) -> Timestamp {
        let time = micros(uptime()).saturating_add(self.shift.load(Ordering::Acquire));
        Timestamp::from_micros(self.told.fetch_max(time, Ordering::AcqRel).max(time))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: i64 = 1 << 60;

    #[test]
    fn a_journal_s_time_goes_on_and_never_back() {
        let clock = JournalClock::default();
        assert!(clock.measure(uptime(), LATER));
        let first = clock.now();
        assert!(first.since(Timestamp::from_micros(LATER)) < ERROR);
        assert!(clock.measure(uptime(), LATER / 2), "it was set back");
        assert!(clock.now() >= first);
    }

    #[test]
    fn an_answer_that_took_longer_than_a_second_is_not_believed() {
        let clock = JournalClock::default();
        assert!(!clock.measure(uptime().saturating_sub(3 * ERROR), LATER));
        assert!(clock.now() < Timestamp::from_micros(LATER));
    }
}
