//! How often something may happen: a token bucket, kept as the time at which it is full again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How many turns a bucket gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds until another turn is there.
    interval: u64,
    /// Turns at once, after a pause.
    burst: u64,
}

impl Rate {
    /// `per_second` turns a second (1 to 1,000,000), `burst` of them at once.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        let interval = NANOS_PER_SECOND / per_second.clamp(1, 1_000_000);
        Self { interval, burst: burst.max(1) }
    }

    /// Turns at once, after a pause.
    pub(crate) const fn burst(&self) -> u64 {
        self.burst
    }

    const fn capacity(&self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }
}

/// What asking for a turn gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Whether there was one.
    pub(crate) granted: bool,
    /// Turns that are left.
    pub(crate) remaining: u64,
    /// Time until the next one is there; zero if one is left.
    pub(crate) next: Duration,
    /// Time until all of them are there.
    pub(crate) full: Duration,
}

/// The turns that one key, or one address, has left. Full at first.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When all turns are there again, in nanoseconds of the monotonic clock.
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes a turn at `now` of the monotonic clock, if one is left.
    ///
    /// A bucket that is full at time `f` lacks `(f - now) / interval` turns; taking one moves `f` on by
    /// one interval (the generic cell rate algorithm). A refused request takes nothing.
    pub(crate) fn take(&self, rate: &Rate, now: Duration) -> Turn {
        let now = nanos(now);
        let take = |full_at: u64| {
            let taken = full_at.max(now).saturating_add(rate.interval);
            (taken - now <= rate.capacity()).then_some(taken)
        };
        // ATOMICS: one number that guards no other memory, hence relaxed.
        let (granted, full_at) =
            match self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                Ok(before) => (true, before.max(now).saturating_add(rate.interval)),
                Err(unchanged) => (false, unchanged),
            };
        let lacking = full_at.saturating_sub(now);
        let left = rate.capacity().saturating_sub(lacking);
        let next = rate.interval.saturating_sub(left);
        Turn {
            granted,
            remaining: left / rate.interval,
            next: Duration::from_nanos(next),
            full: Duration::from_nanos(lacking),
        }
    }

    /// Whether all turns are there at `now`: then the bucket need not be kept.
    pub(crate) fn is_full(&self, now: Duration) -> bool {
        self.full_at.load(Ordering::Relaxed) <= nanos(now)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_at_once_and_then_the_rate() {
        let rate = Rate::new(10, 20);
        let bucket = Bucket::default();
        let start = Duration::from_secs(1_000);
        for left in (0..20).rev() {
            let turn = bucket.take(&rate, start);
            assert!(turn.granted);
            assert_eq!(turn.remaining, left);
        }
        let refused = bucket.take(&rate, start);
        let tenth = Duration::from_millis(100);
        let expected = Turn { granted: false, remaining: 0, next: tenth, full: 20 * tenth };
        assert_eq!(refused, expected);
        assert!(!bucket.take(&rate, start + tenth - Duration::from_nanos(1)).granted);
        assert!(bucket.take(&rate, start + tenth).granted, "when it said");
        assert!(!bucket.take(&rate, start + tenth).granted);
    }

    #[test]
    fn over_any_time_no_more_than_rate_and_burst_are_granted() {
        let rate = Rate::new(100, 200);
        let bucket = Bucket::default();
        let granted = (0..100_000_u64)
            .filter(|step| bucket.take(&rate, Duration::from_micros(step * 100)).granted)
            .count();
        // Ten seconds: the burst, and 100 a second; the last of them would come with the end.
        assert_eq!(granted, 200 + 999);
    }

    #[test]
    fn a_long_pause_fills_it_and_no_more() {
        let rate = Rate::new(1, 2);
        let bucket = Bucket::default();
        assert!(bucket.is_full(Duration::ZERO));
        bucket.take(&rate, Duration::ZERO);
        assert!(!bucket.is_full(Duration::from_millis(999)));
        let late = Duration::from_secs(100_000);
        assert!(bucket.is_full(late));
        assert_eq!(bucket.take(&rate, late).remaining, 1);
        assert!(bucket.take(&rate, late).granted && !bucket.take(&rate, late).granted);
    }
}
