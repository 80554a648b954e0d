//! What clients know of the idempotency keys that they sent under.

use std::collections::BTreeMap;

use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_segments::limits::KEYS_KEPT_NANOS;

/// The records that keys are known to stand for, and how often clients sent under them again.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyLedger {
    held: BTreeMap<u64, Held>,
    /// The log's time when a record was last made of a request, by its key and number.
    made: BTreeMap<(u64, usize), UnixNanos>,
    /// Requests that were answered as when they had been stored.
    pub(super) replayed: u64,
    /// Requests that were refused because their key stood for another one.
    pub(super) refused: u64,
    /// Requests that were stored under a key that had run out.
    pub(super) run_out: u64,
}

/// What a key stands for.
#[derive(Clone, Copy, Debug)]
struct Held {
    request: usize,
    lsn: Lsn,
    /// The log's time, not later than that of the key.
    since: UnixNanos,
}

impl Held {
    /// Whether the key may be forgotten when the log's time is `now`.
    fn may_run_out(&self, now: UnixNanos) -> bool {
        now.nanos().saturating_sub(self.since.nanos()) >= KEYS_KEPT_NANOS
    }
}

impl KeyLedger {
    /// A record was made of a request under its key; `Err` where one is stored already.
    pub(super) fn make(
        &mut self,
        (key, request): (u64, usize),
        now: UnixNanos,
    ) -> Result<(), String> {
        self.made.insert((key, request), now);
        match self.held.get(&key) {
            Some(held) if !held.may_run_out(now) => {
                Err(format!("request {request} is stored again under its key: {held:?}"))
            }
            Some(_) => {
                self.run_out += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A client was answered that its request is in the record `lsn`.
    pub(super) fn hold(&mut self, (key, request): (u64, usize), lsn: Lsn) {
        // Of a request that nobody made a record of, nothing is known.
        if let Some(since) = self.made.get(&(key, request)) {
            self.held.insert(key, Held { request, lsn, since: *since });
        }
    }

    /// A request was answered with an earlier record; `Err` where that is not its own.
    pub(super) fn replay(
        &mut self,
        (key, request): (u64, usize),
        (lsn, now): (Lsn, UnixNanos),
    ) -> Result<(), String> {
        self.replayed += 1;
        if !self.made.contains_key(&(key, request)) {
            return Err(format!("request {request} is said to be record {lsn}, and never was one"));
        }
        match self.held.get(&key) {
            Some(held) if (held.request, held.lsn) != (request, lsn) && !held.may_run_out(now) => {
                Err(format!("request {request} is said to be record {lsn}, but {held:?}"))
            }
            Some(_) | None => {
                self.hold((key, request), lsn);
                Ok(())
            }
        }
    }

    /// A request was refused because its key stands for another one; `Err` where none was sent.
    pub(super) fn refuse(&mut self, (key, request): (u64, usize)) -> Result<(), String> {
        self.refused += 1;
        let mut of_key = self.made.range((key, 0)..=(key, usize::MAX));
        if of_key.any(|((_, other), _)| *other != request) {
            return Ok(());
        }
        Err(format!("request {request} is refused for its key, and no other one had it"))
    }

    /// A crash took the records after `last`.
    pub(super) fn forget_after(&mut self, last: Lsn) {
        self.held.retain(|_, held| held.lsn <= last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: UnixNanos = UnixNanos::new(KEYS_KEPT_NANOS);
    const BEFORE: UnixNanos = UnixNanos::new(KEYS_KEPT_NANOS - 1);

    fn held() -> KeyLedger {
        let mut keys = KeyLedger::default();
        keys.make((1, 7), UnixNanos::default()).unwrap();
        keys.hold((1, 7), Lsn::new(3));
        keys
    }

    #[test]
    fn a_request_under_a_held_key_is_a_promise_broken_until_the_day_is_over() {
        assert!(held().make((1, 7), BEFORE).is_err());
        assert!(held().make((1, 8), BEFORE).is_err(), "another one neither");
        held().make((1, 7), DAY).unwrap();
        held().make((2, 7), BEFORE).unwrap();
        let mut lost = held();
        lost.forget_after(Lsn::new(2));
        lost.make((1, 7), BEFORE).unwrap();
    }

    #[test]
    fn a_repeat_has_the_record_of_its_request_and_no_other() {
        held().replay((1, 7), (Lsn::new(3), BEFORE)).unwrap();
        assert!(held().replay((1, 7), (Lsn::new(4), BEFORE)).is_err(), "another record");
        assert!(held().replay((1, 8), (Lsn::new(3), BEFORE)).is_err(), "another request");
        assert!(held().replay((2, 7), (Lsn::new(3), BEFORE)).is_err(), "another key");
    }

    #[test]
    fn a_key_is_refused_only_where_another_request_had_it() {
        held().refuse((1, 8)).unwrap();
        assert!(held().refuse((1, 7)).is_err());
        assert!(held().refuse((2, 8)).is_err());
    }
}
