//! Wall-clock times and the bounds that the saga's reasoning rests on.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A wall-clock instant in microseconds since the Unix epoch, UTC.
///
/// Microseconds, because that is what PostgreSQL and Python keep of a `created_at`.
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

    /// Reads an RFC 3339 or ISO 8601 date and time; one without a zone is UTC (DESIGN §3).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let zoned = text.parse::<jiff::Timestamp>().ok();
        let naive = || text.parse::<jiff::civil::DateTime>().ok();
        let timestamp = zoned.or_else(|| jiff::tz::TimeZone::UTC.to_timestamp(naive()?).ok())?;
        Some(Self(timestamp.as_microsecond()))
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
    /// The wall clock's reading.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(micros(since))
    }
}

/// The configured bounds of DESIGN §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// *L*: how late a request that was sent may still take effect. Default 120 s.
    pub late_effect: Duration,
    /// *S*: how far the service's `created_at` may be from our clock. Default 5 s.
    pub clock_skew: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { late_effect: Duration::from_mins(2), clock_skew: Duration::from_secs(5) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_at_without_a_zone_is_utc() {
        let zoned = Timestamp::parse("2026-11-24T10:00:00.123456Z");
        assert!(zoned.is_some());
        assert_eq!(Timestamp::parse("2026-11-24T10:00:00.123456"), zoned);
        assert_eq!(Timestamp::parse("2026-11-24 10:00:00.123456"), zoned);
        assert_eq!(Timestamp::parse("2026-11-24T11:00:00.123456+01:00"), zoned);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
