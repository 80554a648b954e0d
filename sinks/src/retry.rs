//! How long to wait before the next attempt, and for how long to go on.

use std::time::Duration;

use tidewatch_env::Rng;

use crate::limits::{GIVE_UP_AFTER, RETRY_AFTER_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN};

/// Doubling stops here: the longest delay is reached long before.
const DOUBLINGS_MAX: u32 = 30;

/// Exponential waits with jitter, between two bounds, for a limited time.
///
/// After attempt `n`, with `u` uniform in [0, 1):
///
/// ```text
/// base = min(delay_min * 2^(n-1), delay_max * 2/3)
/// wait = base * (1 + u/2)
/// ```
///
/// so every wait is jittered, none is below `delay_min` and none above `delay_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The shortest wait.
    pub delay_min: Duration,
    /// The longest wait; at least 1.5 times the shortest.
    pub delay_max: Duration,
    /// The longest wait that a receiver can ask for.
    pub asked_max: Duration,
    /// How long after its acceptance a message is given up.
    pub give_up_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            delay_min: RETRY_DELAY_MIN,
            delay_max: RETRY_DELAY_MAX,
            asked_max: RETRY_AFTER_MAX,
            give_up_after: GIVE_UP_AFTER,
        }
    }
}

impl RetryPolicy {
    /// The wait after attempt number `attempt` (from 1) failed, where the receiver asked for one
    /// of at least `asked`.
    pub(crate) fn wait(&self, attempt: u32, asked: Option<Duration>, rng: &mut Rng) -> Duration {
        let doublings = attempt.saturating_sub(1).min(DOUBLINGS_MAX);
        let grown = self.delay_min.saturating_mul(1 << doublings);
        let base = grown.min(self.delay_max * 2 / 3);
        let own = base + base.mul_f64(rng.unit_f64() / 2.0);
        own.max(asked.unwrap_or_default().min(self.asked_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_sixty_and_are_jittered() {
        let policy = RetryPolicy::default();
        let mut rng = Rng::from_seed(3);
        for (attempt, low, high) in
            [(1, 1.0, 1.5), (2, 2.0, 3.0), (5, 16.0, 24.0), (7, 40.0, 60.0), (u32::MAX, 40.0, 60.0)]
        {
            let waits: Vec<f64> =
                (0..200).map(|_| policy.wait(attempt, None, &mut rng).as_secs_f64()).collect();
            assert!(waits.iter().all(|w| (low..=high).contains(w)), "attempt {attempt}: {waits:?}");
            let (least, most) =
                waits.iter().fold((f64::MAX, 0.0_f64), |(a, b), &w| (a.min(w), b.max(w)));
            assert!(most - least > (high - low) / 2.0, "attempt {attempt}: no jitter");
        }
    }

    #[test]
    fn a_receiver_can_ask_for_longer_but_neither_for_ever_nor_for_shorter() {
        let policy = RetryPolicy::default();
        let mut rng = Rng::from_seed(4);
        let mut wait = |asked| policy.wait(1, Some(Duration::from_secs(asked)), &mut rng);
        assert_eq!(wait(90), Duration::from_secs(90));
        assert_eq!(wait(u64::MAX), RETRY_AFTER_MAX);
        assert!(wait(0) >= RETRY_DELAY_MIN);
    }
}
