//! A clock for leases.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

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
