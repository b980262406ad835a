//! Wall-clock times and the bounds that the saga's reasoning rests on.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A wall-clock instant in microseconds since the Unix epoch, UTC.
///
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 date and time.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|timestamp| Self(timestamp.as_microsecond()))
    }

    /// This instant moved later by `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This instant moved earlier by `duration`, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// How long after `earlier` this is; zero where it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the time comes from; the pure core takes instants, only the shell holds a clock.
pub trait Clock: Send + Sync + 'static {
    /// The time. Within one process it never goes back, and it jumps by no more than an error of its measurement.
    fn now(&self) -> Timestamp;
}

/// The wall clock as it was when the process first asked, carried on by a clock that does not step.
///
/// Waiting is measured with it, so a step of the wall clock ends no wait early. After a restart the
/// times of an earlier process may be off by such a step; recovery therefore waits anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

static BEGAN: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Timestamp(micros(wall)), Instant::now())
});

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (wall, began) = *BEGAN;
        wall.plus(began.elapsed())
    }
}

/// The configured bounds that the core's reasoning rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// *L*: how late a request that was sent may still take effect. Default 120 s.
    pub late_effect: Duration,
    /// *λ*: how far a read of the service may lag behind its writes. Default 0 s.
    pub read_lag: Duration,
    /// How long the outcome of a create may stay unknown before a person is asked. Default 30 min.
    pub unresolved: Duration,
}

impl Bounds {
    /// L + λ: how long after a request was sent its effect may still be about to be seen.
    #[must_use]
    pub fn late_sight(&self) -> Duration {
        self.late_effect + self.read_lag
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            late_effect: Duration::from_mins(2),
            read_lag: Duration::ZERO,
            unresolved: Duration::from_mins(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_process_never_goes_back() {
        let (first, second) = (SystemClock.now(), SystemClock.now());
        assert!(first <= second);
        assert!(first > Timestamp::from_micros(0), "it begins with the wall clock's reading");
    }
}
