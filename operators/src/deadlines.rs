//! When silences are to be looked at.

use std::collections::BTreeSet;

use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{SeriesId, Slot, UnixNanos};

/// A silence that is to be looked at once log time is later than `at`.
///
/// The order is the same on every number of shards: `local` only tells where the series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    pub(crate) at: UnixNanos,
    pub(crate) series: SeriesId,
    /// Place among the series' alerts.
    pub(crate) place: u32,
    pub(crate) local: u32,
}

/// The deadlines of each slot, in their order. A rule on a series has at most one, never later than the real one: a
/// sample that moves it on costs nothing here, and what turns out too early is put back.
#[derive(Debug)]
pub(crate) struct Deadlines {
    slots: Box<[BTreeSet<Deadline>; SLOTS]>,
    /// The time of the last tick that each slot has come to.
    ticked: Box<[Option<UnixNanos>; SLOTS]>,
    count: usize,
}

impl Default for Deadlines {
    fn default() -> Self {
        let slots = Box::new(std::array::from_fn(|_| BTreeSet::new()));
        Self { slots, ticked: Box::new([None; SLOTS]), count: 0 }
    }
}

impl Deadlines {
    /// The slots that a tick takes forward. A tick that a restored slot has seen already does not.
    pub(crate) fn begin(&mut self, now: UnixNanos) -> Vec<Slot> {
        let slots = (0..=u8::MAX).zip(self.ticked.iter_mut()).zip(self.slots.iter());
        let forward = slots.filter_map(|((slot, ticked), deadlines)| {
            let is_later = *ticked < Some(now);
            *ticked = (*ticked).max(Some(now));
            (is_later && !deadlines.is_empty()).then_some(Slot(slot))
        });
        forward.collect()
    }

    /// A slot was restored behind a tick at this time.
    pub(crate) fn restore(&mut self, slot: Slot, ticked: Option<UnixNanos>) {
        self.ticked[usize::from(slot.0)] = ticked;
    }

    pub(crate) fn add(&mut self, slot: Slot, deadline: Deadline) {
        self.count += usize::from(self.slots[usize::from(slot.0)].insert(deadline));
    }

    pub(crate) fn remove(&mut self, slot: Slot, deadline: &Deadline) {
        self.count -= usize::from(self.slots[usize::from(slot.0)].remove(deadline));
    }

    /// Takes the slot's first deadline, if it has passed.
    pub(crate) fn pop(&mut self, slot: Slot, now: UnixNanos) -> Option<Deadline> {
        let deadlines = &mut self.slots[usize::from(slot.0)];
        if deadlines.first()?.at >= now {
            return None;
        }
        self.count -= 1;
        deadlines.pop_first()
    }

    /// Forgets all deadlines.
    pub(crate) fn clear(&mut self) {
        self.slots.iter_mut().for_each(BTreeSet::clear);
        self.count = 0;
    }

    /// Log time from which on a tick has something to look at.
    pub(crate) fn next(&self) -> Option<UnixNanos> {
        if self.count == 0 {
            return None;
        }
        let first = self.slots.iter().filter_map(BTreeSet::first).map(|d| d.at.nanos()).min();
        first.map(|at| UnixNanos::new(at.saturating_add(1)))
    }
}
