//! How far behind a partition is, as time: the age of the oldest message that is not stored yet.
//!
//! ```text
//! lag = 0                                              where all messages are stored
//!     = now - time of the oldest message in hand       where one is in hand and has a time
//!     = min(now - time of the newest stored message,
//!           now - when it was last caught up)          otherwise, of those that are known
//!     = since it is looked at                          where none is
//! ```
//!
//! A message's time is the one that Kafka has of it. The second line is exact. The third never tells too little of
//! messages in their order: what is not stored is younger than what is, and came after the last time
//! that everything was. The first of both alone would tell hours of a topic that was silent for hours.

use std::time::Duration;

use tidewatch_env::Clock;
use tidewatch_metrics::EventTime;

/// A partition is caught up where all is stored that its broker had within this.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(5);

/// Brokers that answer again have told within this how far their partitions go: connections are tried twice a second.
const TELLS_WITHIN: Duration = Duration::from_secs(2);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Of the calendar, as messages' times are.
    pub(crate) calendar: EventTime,
    /// Of intervals.
    pub(crate) interval: Duration,
}

/// What is remembered of a partition to tell its lag.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// Kafka's time of the last message that is stored and has one.
    newest_stored: Option<EventTime>,
    /// All that the broker had at this time is stored.
    caught_up: Option<Duration>,
    /// The next such time, once all before its offset is stored.
    mark: Option<Mark>,
    /// When it was looked at first.
    since: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Duration,
    end: u64,
}

/// Whether what is known of the ends of partitions is of now.
#[derive(Debug)]
pub(crate) struct Contact {
    /// Since when brokers have answered; `None` where they do not.
    since: Option<Duration>,
}

impl Default for Contact {
    /// The ends of new partitions are asked for.
    fn default() -> Self {
        Self { since: Some(Duration::ZERO) }
    }
}

impl Contact {
    /// Notes whether brokers answer; gives whether what they told is of now.
    pub(crate) fn note(&mut self, now: Duration, is_cut_off: bool) -> bool {
        if is_cut_off {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        since.is_zero() || now.saturating_sub(since) >= TELLS_WITHIN
    }
}

impl Moment {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        let calendar = EventTime::new(clock.now().nanos());
        Self { calendar, interval: clock.monotonic() }
    }

    /// How long `time` is over; nothing where it is not.
    fn since(self, time: EventTime) -> Duration {
        let nanos = i128::from(self.calendar.nanos()) - i128::from(time.nanos());
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

impl Lag {
    /// Messages are stored, the last of which has this time.
    pub(crate) fn stored(&mut self, newest: Option<EventTime>) {
        self.newest_stored = newest.or(self.newest_stored);
    }

    /// Another member of the group has read it: nothing of what was known is of now.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Looks at how far it is stored, and at where the broker says that it ends.
    pub(crate) fn look(&mut self, now: Duration, stored: u64, end: u64) {
        self.since.get_or_insert(now);
        if stored >= end {
            self.caught_up = Some(now);
            self.mark = None;
            return;
        }
        // A topic that was made anew may never come to where the old one ended.
        if let Some(mark) = self.mark.filter(|mark| stored < mark.end && mark.end <= end) {
            self.mark = Some(mark);
            return;
        }
        if let Some(mark) = self.mark.filter(|mark| stored >= mark.end) {
            self.caught_up = Some(mark.at);
        }
        self.mark = Some(Mark { at: now, end });
    }

    /// Whether all is stored that the broker had a moment ago.
    pub(crate) fn is_caught_up(&self, now: Duration) -> bool {
        self.caught_up.is_some_and(|at| now.saturating_sub(at) <= CAUGHT_UP_WITHIN)
    }

    /// The age of the oldest message that is not stored, of which there are some.
    pub(crate) fn age(&self, now: Moment, oldest_in_hand: Option<EventTime>) -> Duration {
        if let Some(oldest) = oldest_in_hand {
            return now.since(oldest);
        }
        let since = |at: Option<Duration>| Some(now.interval.saturating_sub(at?));
        let stored = self.newest_stored.map(|newest| now.since(newest));
        let known = [stored, since(self.caught_up)].into_iter().flatten().min();
        known.or_else(|| since(self.since)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The calendar shows a thousand seconds more than the interval.
    fn moment(seconds: u64) -> Moment {
        Moment { calendar: time(seconds), interval: at(seconds) }
    }

    fn time(seconds: u64) -> EventTime {
        EventTime::new((i64::try_from(seconds).unwrap() + 1_000) * SECOND)
    }

    #[test]
    fn a_message_in_hand_tells_its_age_and_one_of_the_future_none() {
        let mut lag = Lag::default();
        lag.stored(Some(time(1)));
        assert_eq!(lag.age(moment(50), Some(time(20))), at(30));
        assert_eq!(lag.age(moment(50), Some(time(60))), at(0));
        assert!(lag.age(moment(50), Some(EventTime::MIN)) > at(1 << 30));
    }

    #[test]
    fn with_none_in_hand_what_is_stored_and_when_it_was_all_tell_the_age() {
        let mut lag = Lag::default();
        lag.look(at(10), 0, 100);
        assert_eq!(lag.age(moment(40), None), at(30), "it is looked at for so long");
        lag.stored(Some(time(5)));
        lag.stored(None);
        assert_eq!(lag.age(moment(40), None), at(35), "what is not stored is younger than what is");
        lag.look(at(41), 100, 100);
        lag.look(at(60), 100, 101);
        assert_eq!(
            lag.age(moment(60), None),
            at(19),
            "a silent topic is not behind by its silence"
        );
    }

    #[test]
    fn it_is_caught_up_where_all_is_stored_that_was_there_moments_ago() {
        let mut lag = Lag::default();
        lag.look(at(1), 0, 100);
        assert!(!lag.is_caught_up(at(1)));
        lag.look(at(2), 99, 200);
        assert!(!lag.is_caught_up(at(2)), "one that was there is not stored");
        // A topic that grows all the time is never stored to its end.
        lag.look(at(3), 100, 300);
        assert!(lag.is_caught_up(at(6)) && !lag.is_caught_up(at(7)), "to the end of second 1");
        lag.look(at(8), 299, 1_000);
        assert!(!lag.is_caught_up(at(8)));
        lag.look(at(9), 300, 1_100);
        assert!(!lag.is_caught_up(at(9)), "to the end of second 3");
        lag.look(at(10), 1_099, 1_200);
        assert!(!lag.is_caught_up(at(10)));
        lag.look(at(11), 1_100, 1_300);
        assert!(lag.is_caught_up(at(11)), "to the end of second 9");
    }

    #[test]
    fn what_brokers_told_before_they_were_away_is_not_of_now() {
        let mut contact = Contact::default();
        assert!(contact.note(at(1), false), "ends are asked for at the start");
        assert!(!contact.note(at(10), true));
        assert!(!contact.note(at(11), false), "they have just come back");
        assert!(contact.note(at(13), false));
        assert!(contact.note(at(14), false));
    }

    #[test]
    fn a_topic_that_is_made_anew_is_caught_up_with_although_it_is_shorter() {
        let mut lag = Lag::default();
        lag.look(at(1), 0, 1_000);
        lag.look(at(2), 0, 5);
        lag.look(at(3), 5, 7);
        assert!(lag.is_caught_up(at(3)));
    }
}
