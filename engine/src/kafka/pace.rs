//! How fast a source reads, and how long it takes until it has caught up.

use std::collections::VecDeque;
use std::time::Duration;

/// Figures of so long ago are forgotten.
const LOOKS_BACK: Duration = Duration::from_secs(10);
/// Over less than this, a batch more or less would tell anything.
const TELLS_AFTER: Duration = Duration::from_secs(2);

/// What was noted at one time.
#[derive(Clone, Copy, Debug)]
struct Note {
    at: Duration,
    messages: u64,
    lag: u64,
}

/// The pace of the last seconds.
///
/// ```text
/// messages a second = messages stored in the time / time
/// time left         = lag / (how much less the lag is than it was / time)
/// ```
#[derive(Debug, Default)]
pub(crate) struct Pace {
    notes: VecDeque<Note>,
    /// Partitions of which the notes are.
    partitions: usize,
}

impl Pace {
    /// Notes how many messages are stored since the start, and how many of so many partitions are not. Of other
    /// partitions than before, the lag is another one: it begins anew.
    pub(crate) fn note(&mut self, at: Duration, partitions: usize, (messages, lag): (u64, u64)) {
        if partitions != self.partitions {
            self.notes.clear();
            self.partitions = partitions;
        }
        while self.notes.get(1).is_some_and(|next| next.at + LOOKS_BACK <= at) {
            self.notes.pop_front();
        }
        self.notes.push_back(Note { at, messages, lag });
    }

    /// Messages that are stored in a second; 0 as long as nobody can tell.
    pub(crate) fn messages_per_second(&self) -> u64 {
        let Some((first, last)) = self.ends() else { return 0 };
        per(last.messages.saturating_sub(first.messages), 1_000, (last.at - first.at).as_millis())
    }

    /// When nothing is left at this pace; `None` where that is never, or nobody can tell.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let (first, last) = self.ends()?;
        let less = first.lag.checked_sub(last.lag).filter(|less| *less > 0)?;
        let millis = u64::try_from((last.at - first.at).as_millis()).ok()?;
        Some(Duration::from_millis(per(last.lag, millis, u128::from(less))))
    }

    fn ends(&self) -> Option<(Note, Note)> {
        let (first, last) = (*self.notes.front()?, *self.notes.back()?);
        (last.at >= first.at + TELLS_AFTER).then_some((first, last))
    }
}

/// `number * times / parts`, without going beyond.
fn per(number: u64, times: u64, parts: u128) -> u64 {
    let product = u128::from(number) * u128::from(times);
    u64::try_from(product.checked_div(parts).unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_time_left_is_the_lag_by_how_fast_it_falls() {
        let mut pace = Pace::default();
        assert_eq!((pace.messages_per_second(), pace.time_left()), (0, None));
        pace.note(at(0), 2, (0, 10_000));
        pace.note(at(500), 2, (400, 9_900));
        assert_eq!((pace.messages_per_second(), pace.time_left()), (0, None), "too early");
        // 800 a second are stored, and 600 a second come.
        pace.note(at(4_000), 2, (3_200, 9_200));
        assert_eq!((pace.messages_per_second(), pace.time_left()), (800, Some(at(46_000))));
        // More come than are stored.
        pace.note(at(5_000), 2, (4_000, 11_000));
        assert_eq!((pace.messages_per_second(), pace.time_left()), (800, None));
    }

    #[test]
    fn what_is_long_ago_and_what_was_of_other_partitions_does_not_count() {
        let mut pace = Pace::default();
        for second in 0..60_u64 {
            pace.note(at(second * 1_000), 1, (second * 10, 1_000 - second));
        }
        assert!(pace.notes.len() <= 12, "{}", pace.notes.len());
        pace.note(at(60_000), 1, (600 + 1_000, 940));
        assert_eq!(pace.messages_per_second(), 110);
        pace.note(at(61_000), 2, (1_600, 50_000));
        assert_eq!((pace.messages_per_second(), pace.time_left()), (0, None));
    }
}
