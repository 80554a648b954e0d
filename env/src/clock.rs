//! Time: of the calendar, and of intervals.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewatch_metrics::UnixNanos;

/// Where time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The calendar's time; it may jump in both directions.
    fn now(&self) -> UnixNanos;

    /// Time since the clock was made; it never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// A clock whose [`monotonic`](Clock::monotonic) time starts at this moment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where real time enters")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where real time enters")]
    fn now(&self) -> UnixNanos {
        let now = SystemTime::now();
        // A machine whose clock stands before 1970 gets negative nanoseconds; the ends hold.
        UnixNanos::new(match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        })
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct SimClock {
    time: Mutex<SimTime>,
}

#[derive(Clone, Copy, Debug)]
struct SimTime {
    now: UnixNanos,
    monotonic: Duration,
}

impl SimClock {
    /// A clock that shows `now`, with no time passed since its start.
    #[must_use]
    pub fn new(now: UnixNanos) -> Self {
        Self { time: Mutex::new(SimTime { now, monotonic: Duration::ZERO }) }
    }

    /// Lets time pass, for calendar and intervals alike.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time();
        time.now = time.now.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX));
        time.monotonic = time.monotonic.saturating_add(by);
    }

    /// Makes the calendar jump, as an operator or a time server does; no time passes.
    pub fn set(&self, now: UnixNanos) {
        self.time().now = now;
    }

    fn time(&self) -> MutexGuard<'_, SimTime> {
        self.time.lock().expect("nobody panics while holding the simulated time")
    }
}

impl Clock for SimClock {
    fn now(&self) -> UnixNanos {
        self.time().now
    }

    fn monotonic(&self) -> Duration {
        self.time().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_calendar_is_no_passing_of_time() {
        let clock = SimClock::new(UnixNanos::new(1_000));
        clock.advance(Duration::from_nanos(5));
        clock.set(UnixNanos::new(-7));
        clock.advance(Duration::from_nanos(2));
        assert_eq!(clock.now(), UnixNanos::new(-5));
        assert_eq!(clock.monotonic(), Duration::from_nanos(7));
    }

    #[test]
    fn the_real_clock_shows_this_century_and_never_goes_back() {
        let clock = RealClock::new();
        let before = clock.monotonic();
        assert!(clock.now() > UnixNanos::new(1_700_000_000_000_000_000));
        assert!(clock.monotonic() >= before);
    }
}
