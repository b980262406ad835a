//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with full jitter: pure, the caller brings the randomness.
///
/// Full jitter spreads the attempts of many callers evenly over each step, so that a back end
/// that comes back is not met by all of them at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    /// The shortest delay there is.
    pub const MIN: Duration = Duration::from_millis(1);

    /// Doubles from `base` up to `max`. Either is raised where it would allow no delay at all:
    /// `base` to [`Backoff::MIN`], `max` to `base`.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.max(Self::MIN);
        Self { base, max: max.max(base) }
    }

    /// The delay after failed attempt number `attempt`, counted from 0: between [`Backoff::MIN`]
    /// and [`Backoff::bound`], evenly spread over the values of `random`.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let room = self.bound(attempt).saturating_sub(Self::MIN).as_nanos();
        let nanos = room.saturating_mul(u128::from(random)) / u128::from(u64::MAX);
        Self::MIN + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The longest delay after `attempt`: `base`, doubled `attempt` times, but at most `max`.
    #[must_use]
    pub fn bound(&self, attempt: u32) -> Duration {
        let factor = 2u32.checked_pow(attempt).unwrap_or(u32::MAX);
        self.base.checked_mul(factor).map_or(self.max, |grown| grown.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
        range.prop_map(Duration::from_millis)
    }

    proptest! {
        #[test]
        fn a_delay_is_never_zero_and_never_above_its_bound_or_the_maximum(
            base in millis(0..100_000), max in millis(0..10_000_000),
            attempt: u32, random: u64,
        ) {
            let backoff = Backoff::new(base, max);
            let delay = backoff.delay(attempt, random);
            prop_assert!(delay >= Backoff::MIN);
            prop_assert!(delay <= backoff.bound(attempt));
            prop_assert!(backoff.bound(attempt) <= max.max(base).max(Backoff::MIN));
        }

        #[test]
        fn bounds_grow_and_jitter_is_monotone(
            base in millis(0..1_000), max in millis(0..100_000),
            attempt in 0u32..100, less: u64, more: u64,
        ) {
            let backoff = Backoff::new(base, max);
            prop_assert!(backoff.bound(attempt) <= backoff.bound(attempt + 1));
            let (less, more) = (less.min(more), less.max(more));
            prop_assert!(backoff.delay(attempt, less) <= backoff.delay(attempt, more));
        }
    }

    #[test]
    fn it_doubles_up_to_the_maximum_and_jitters_over_all_of_it() {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let bounds = [0, 1, 2, 3, 4, 5, u32::MAX].map(|n| backoff.bound(n).as_millis());
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.delay(3, 0), Backoff::MIN);
        assert_eq!(backoff.delay(3, u64::MAX), Duration::from_millis(400));
    }
}
