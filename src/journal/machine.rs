//! What the machine tells of itself.

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

/// Names the time between two starts of the machine, in which [`uptime`] goes on. `None` where that is not known.
pub(super) fn boot() -> Option<String> {
    told("random/boot_id")
}

/// The host's name, which in a pod is the pod's: across containers a process id alone says little.
pub(super) fn host() -> String {
    told("hostname").unwrap_or_else(|| "this host".into())
}

fn told(name: &str) -> Option<String> {
    let told = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
    Some(told.trim().to_owned()).filter(|told| !told.is_empty())
}
