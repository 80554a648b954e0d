//! The windows of one group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewatch_metrics::{EventTime, Lsn, Sketch};

use crate::percentile::closed::Outcome;
use crate::percentile::group_key::GroupKey;
use crate::percentile::group_watches::GroupWatches;
use crate::percentile::site::Site;
use crate::percentile::tally::GroupCounts;
use crate::percentile::{ClosedWindow, PercentilesRule};

/// Bytes of a pane beside its counts, and of a window, as they are counted: two entries of a tree each.
const PANE_BYTES: usize = 64;
const WINDOW_BYTES: usize = 160;

/// One group of one rule: counts by pane, and the windows over them.
///
/// A pane is as long as the slide; a window is so many panes, and has the number of the first one.
///
/// ```text
/// a row comes     -> its windows open, unless they were forgotten: then it is too late
/// open   -> closed    first:  at end + lateness, by the group's newest event time
///                     always: at max(end, opened) + lateness, by the tick's time
/// closed -> open      when a late row comes; it closes again as the next revision
/// closed -> forgotten at the time of its last rows + keep, by the tick's time
/// ```
#[derive(Debug)]
pub(crate) struct Group {
    /// Event time of the newest row.
    pub(crate) newest: EventTime,
    /// Windows that are not held and end here or before were forgotten. Nanoseconds of event time.
    pub(crate) floor: i64,
    /// Log time when the last rows came.
    pub(crate) touched: i64,
    pub(crate) panes: BTreeMap<i64, Sketch>,
    pub(crate) windows: BTreeMap<i64, Window>,
    pub(crate) watches: GroupWatches,
    open: BTreeSet<i64>,
    /// Log time before which no window is to be forgotten.
    forget_at: i64,
    /// Log time at which something is due, if no row comes.
    due: i64,
    /// Of all of this but the watches, as they are counted.
    bytes: usize,
}

/// A window that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// How often it has closed.
    pub(crate) revision: u32,
    /// Log time when the first rows came since it closed last; none while it is closed.
    pub(crate) opened: Option<i64>,
    /// Log time when the last rows came.
    pub(crate) touched: i64,
}

impl Group {
    /// A group without rows; `born` is the record at which it was met, where rules watch it.
    pub(crate) fn new(key: &GroupKey, born: Lsn) -> Self {
        Self {
            newest: EventTime::MIN,
            floor: i64::MIN,
            touched: i64::MIN,
            panes: BTreeMap::new(),
            windows: BTreeMap::new(),
            watches: GroupWatches::new(born, i64::MIN),
            open: BTreeSet::new(),
            forget_at: i64::MIN,
            due: i64::MIN,
            bytes: size_of::<Self>() + key.bytes(),
        }
    }

    /// Puts stored panes and windows in place.
    pub(crate) fn restore(&mut self, panes: BTreeMap<i64, Sketch>, windows: BTreeMap<i64, Window>) {
        self.bytes += panes.values().map(|counts| PANE_BYTES + counts.bytes()).sum::<usize>();
        self.bytes += windows.len() * WINDOW_BYTES;
        let open = windows.iter().filter(|(_, window)| window.opened.is_some());
        self.open = open.map(|(start, _)| *start).collect();
        (self.panes, self.windows) = (panes, windows);
    }

    /// Takes what a shard has counted, at log time `now`. Returns how many rows were too late.
    pub(crate) fn absorb(&mut self, rule: &PercentilesRule, counts: GroupCounts, now: i64) -> u64 {
        self.newest = self.newest.max(counts.newest);
        self.touched = now;
        // Where no window may close now, as when rules change, the next tick looks at them.
        self.due = i64::MIN;
        let mut late = 0_u64;
        for (pane, counts) in counts.panes {
            if self.open_windows(rule, pane, now) {
                let sum = self.panes.entry(pane).or_default();
                self.bytes -= if sum.is_empty() { 0 } else { PANE_BYTES + sum.bytes() };
                sum.merge(&counts);
                self.bytes += PANE_BYTES + sum.bytes();
            } else {
                late = late.saturating_add(counts.count()).saturating_add(counts.excluded());
            }
        }
        late
    }

    /// Opens the windows of a pane that has rows; `false` where all of them were forgotten.
    fn open_windows(&mut self, rule: &PercentilesRule, pane: i64, now: i64) -> bool {
        let mut any = false;
        for start in pane.saturating_sub(rule.panes() - 1)..=pane {
            if !self.windows.contains_key(&start) {
                if rule.window_end(start) <= self.floor {
                    continue;
                }
                self.bytes += WINDOW_BYTES;
            }
            let new = Window { revision: 0, opened: None, touched: now };
            let window = self.windows.entry(start).or_insert(new);
            window.opened.get_or_insert(now);
            window.touched = now;
            self.open.insert(start);
            any = true;
        }
        any
    }

    /// Log time at which something is due, if no row comes.
    pub(crate) fn due(&self) -> i64 {
        self.due
    }

    /// Log time at which a window closes, if no row comes.
    pub(crate) fn closes_at(&self, rule: &PercentilesRule) -> Option<i64> {
        self.open.iter().map(|start| self.windows[start].closes_at(rule, *start)).min()
    }

    /// Closes and forgets what is due.
    pub(crate) fn advance(&mut self, site: &Site<'_>, out: &mut Outcome) {
        let (rule, now) = (site.percentiles, site.now);
        let passed = |start: i64, window: &Window| {
            let end = rule.window_end(start).saturating_add(rule.lateness_nanos);
            window.revision == 0 && self.newest.nanos() >= end
                || now >= window.closes_at(rule, start)
        };
        let due: Vec<i64> = self
            .open
            .iter()
            .copied()
            .filter(|start| passed(*start, &self.windows[start]))
            .collect();
        for start in due {
            self.close(site, start, out);
        }
        if now >= self.forget_at {
            self.forget_old(rule, now);
        }
        let close = self.closes_at(rule).unwrap_or(i64::MAX);
        self.due = self.forget_at.min(close);
    }

    fn forget_old(&mut self, rule: &PercentilesRule, now: i64) {
        let closed = self.windows.iter().filter(|(_, window)| window.opened.is_none());
        let times = closed.map(|(start, window)| (*start, window.forgotten_at(rule)));
        let (old, kept): (Vec<_>, Vec<_>) = times.partition(|(_, at)| now >= *at);
        for (start, _) in old {
            self.forget(rule, start);
        }
        self.forget_at = kept.into_iter().map(|(_, at)| at).min().unwrap_or(i64::MAX);
    }

    /// Closes an open window, and shows it to the rules.
    pub(crate) fn close(&mut self, site: &Site<'_>, start: i64, out: &mut Outcome) {
        let rule = site.percentiles;
        self.open.remove(&start);
        let window = self.windows.get_mut(&start).expect("an open window is held");
        window.opened = None;
        window.revision = window.revision.saturating_add(1);
        let revision = window.revision;
        self.forget_at = self.forget_at.min(window.forgotten_at(rule));
        let mut sketch = Sketch::default();
        for counts in self.panes.range(start..start.saturating_add(rule.panes())) {
            sketch.merge(counts.1);
        }
        let closed = ClosedWindow {
            rule: Arc::clone(rule),
            key: Arc::clone(site.key),
            start: EventTime::new(rule.pane_start(start)),
            end: EventTime::new(rule.window_end(start)),
            revision,
            sketch,
        };
        self.watches.show(site, (start, &closed), &self.panes, &mut out.transitions);
        out.closed.push(closed);
    }

    /// The first rule on the group comes into force at the record `born`, and windows that have closed are
    /// behind it; or, without `born`, the last one has gone.
    pub(crate) fn watch_from(&mut self, born: Option<Lsn>) {
        let closed = self.windows.iter().rev().find(|(_, window)| window.revision > 0);
        let newest = closed.map(|(start, _)| *start).filter(|_| born.is_some());
        self.watches = GroupWatches::new(born.unwrap_or_default(), newest.unwrap_or(i64::MIN));
    }

    /// Forgets a window, and the panes that no other window needs.
    pub(crate) fn forget(&mut self, rule: &PercentilesRule, start: i64) {
        let window = self.windows.remove(&start).expect("a window that is held");
        debug_assert!(window.opened.is_none(), "what was counted is put out before");
        self.bytes -= WINDOW_BYTES;
        self.watches.forget(start);
        self.floor = self.floor.max(rule.window_end(start));
        let panes = self.panes.range(start..start.saturating_add(rule.panes()));
        let needed = |pane: i64| {
            let first = pane.saturating_sub(rule.panes() - 1);
            self.windows.range(first..=pane).next().is_some()
        };
        let free: Vec<i64> = panes.map(|(pane, _)| *pane).filter(|pane| !needed(*pane)).collect();
        for pane in free {
            let counts = self.panes.remove(&pane);
            self.bytes -= counts.map_or(0, |counts| PANE_BYTES + counts.bytes());
        }
    }

    /// Bytes that the group takes, as they are counted: a function of what came, not of the allocator.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.watches.bytes()
    }
}

impl Window {
    /// Log time at which an open window closes, if no row comes.
    fn closes_at(&self, rule: &PercentilesRule, start: i64) -> i64 {
        let since = self.opened.unwrap_or(i64::MAX).max(rule.window_end(start));
        since.saturating_add(rule.lateness_nanos)
    }

    /// Log time at which a closed window is forgotten, if no row comes.
    fn forgotten_at(&self, rule: &PercentilesRule) -> i64 {
        self.touched.saturating_add(rule.keep_nanos)
    }
}
