//! The journal's clock, from which all recorded times come. It goes on with the machine's uptime, which nobody sets.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::machine::uptime;
use crate::model::{Clock, Timestamp};

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

    /// It was true at some time between question and answer: the middle is at most half a trip off.
    #[test]
    fn a_database_s_time_is_taken_to_be_of_the_middle_of_the_trip() {
        let clock = JournalClock::default();
        assert!(clock.measure(uptime().saturating_sub(ERROR * 8 / 5), LATER));
        let since = clock.now().since(Timestamp::from_micros(LATER));
        assert!((ERROR * 7 / 10..ERROR * 13 / 10).contains(&since), "{since:?}");
    }

    #[test]
    fn an_answer_that_took_longer_than_a_second_is_not_believed() {
        let clock = JournalClock::default();
        assert!(!clock.measure(uptime().saturating_sub(3 * ERROR), LATER));
        assert!(clock.now() < Timestamp::from_micros(LATER));
    }
}
