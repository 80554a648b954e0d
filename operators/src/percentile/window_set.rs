//! The windows of all groups, over all shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_metrics::UnixNanos;

use crate::RuleSet;
use crate::limits::{GROUPS_MAX, WINDOWS_BYTES_MAX};
use crate::percentile::group::Group;
use crate::percentile::group_key::GroupKey;
use crate::percentile::tally::GroupCounts;
use crate::percentile::{Counts, Outcome};

pub(crate) type Groups = BTreeMap<Arc<GroupKey>, Group>;

/// All windows that are held: a function of the rules, rows and ticks of the log, and of nothing else.
#[derive(Debug)]
pub struct WindowSet {
    pub(crate) rules: Arc<RuleSet>,
    /// The time of the last tick; none before the first one.
    pub(crate) now: Option<UnixNanos>,
    /// In the order of the rules.
    pub(crate) groups: Vec<Groups>,
    /// Of all groups, as they are counted.
    pub(crate) bytes: usize,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    groups_max: usize,
    bytes_max: usize,
}

impl Default for WindowSet {
    fn default() -> Self {
        Self {
            rules: Arc::default(),
            now: None,
            groups: Vec::new(),
            bytes: 0,
            limits: Limits { groups_max: GROUPS_MAX, bytes_max: WINDOWS_BYTES_MAX },
        }
    }
}

impl WindowSet {
    /// Takes what all shards have counted up to a tick of the log at `now`, and closes what is due.
    pub fn tick(&mut self, counts: Vec<Counts>, now: UnixNanos) -> Outcome {
        let now = self.now.max(Some(now)).unwrap_or(now);
        self.now = Some(now);
        let mut outcome = Outcome::default();
        self.absorb(counts, now.nanos(), true, &mut outcome);
        for (index, groups) in self.groups.iter_mut().enumerate() {
            let rule = &self.rules.percentiles()[index];
            for (key, group) in groups.iter_mut().filter(|(_, g)| g.due() <= now.nanos()) {
                let before = group.bytes();
                group.advance((rule, key), now.nanos(), &mut outcome.closed);
                self.bytes -= before - group.bytes();
            }
        }
        outcome
    }

    /// Puts rules in force from a record received at `received`, behind what all shards have counted under the old ones.
    ///
    /// Percentiles with the same canonical text keep their windows; those of others are given up.
    pub fn set_rules(
        &mut self,
        counts: Vec<Counts>,
        rules: Arc<RuleSet>,
        received: UnixNanos,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let now = self.now.unwrap_or(received).nanos();
        self.absorb(counts, now, false, &mut outcome);
        let old_rules = std::mem::replace(&mut self.rules, rules);
        let mut old: Vec<_> = old_rules
            .percentiles()
            .iter()
            .map(|rule| rule.hash)
            .zip(std::mem::take(&mut self.groups))
            .collect();
        for rule in self.rules.percentiles() {
            let kept = old.iter_mut().find(|(hash, _)| *hash == rule.hash);
            self.groups.push(kept.map(|(_, groups)| std::mem::take(groups)).unwrap_or_default());
        }
        let gone = old.iter().flat_map(|(_, groups)| groups.values());
        let open = gone.flat_map(|group| group.windows.values()).filter(|w| w.opened.is_some());
        outcome.windows_given_up = outcome.windows_given_up.saturating_add(open.count() as u64);
        self.bytes = self.groups.iter().flat_map(BTreeMap::values).map(Group::bytes).sum();
        outcome
    }

    /// Log time at which a window closes, if no row comes; none where no window is open.
    #[must_use]
    pub fn closes_at(&self) -> Option<UnixNanos> {
        let rules = self.rules.percentiles().iter().zip(&self.groups);
        let times = rules
            .flat_map(|(rule, groups)| groups.values().filter_map(|group| group.closes_at(rule)));
        times.min().map(UnixNanos::new)
    }

    /// Whether there is anything to count.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rules.percentiles().is_empty()
    }

    /// Groups and windows that are held, and their bytes as they are counted.
    #[must_use]
    pub fn held(&self) -> (usize, usize, usize) {
        let groups = self.groups.iter().map(BTreeMap::len).sum();
        let windows = self.groups.iter().flat_map(BTreeMap::values);
        (groups, windows.map(|group| group.windows.len()).sum(), self.bytes)
    }

    /// Adds counts up, group by group in the order of rules and keys, however they are spread over shards.
    fn absorb(&mut self, counts: Vec<Counts>, now: i64, closing: bool, outcome: &mut Outcome) {
        let mut all: Vec<GroupCounts> =
            counts.into_iter().flat_map(|counts| counts.groups).collect();
        all.sort_by(|a, b| (a.rule, &a.key).cmp(&(b.rule, &b.key)));
        self.make_room(&all);
        let mut all = all.into_iter().peekable();
        while let Some(first) = all.next() {
            let (index, key) = (first.rule, Arc::clone(&first.key));
            let mut parts = vec![first];
            while let Some(next) = all.next_if(|next| next.rule == index && next.key == key) {
                parts.push(next);
            }
            let rule = Arc::clone(&self.rules.percentiles()[index]);
            let groups = &mut self.groups[index];
            if !groups.contains_key(&key) && groups.len() >= self.limits.groups_max {
                let rows = parts.iter().flat_map(|part| &part.panes);
                let rows = rows.map(|(_, counts)| counts.count().saturating_add(counts.excluded()));
                outcome.rows_refused = rows.fold(outcome.rows_refused, u64::saturating_add);
                continue;
            }
            let before = groups.get(&key).map_or(0, Group::bytes);
            let group = groups.entry(Arc::clone(&key)).or_insert_with(|| Group::new(&key));
            for part in parts {
                let late = group.absorb(&rule, part, now);
                outcome.rows_late = outcome.rows_late.saturating_add(late);
            }
            if closing {
                group.advance((&rule, &key), now, &mut outcome.closed);
            }
            self.bytes = self.bytes - before + group.bytes();
            if self.bytes > self.limits.bytes_max {
                self.relieve(outcome);
            }
        }
    }

    /// Where new groups would exceed the limit, those without windows make room, the longest without rows first.
    fn make_room(&mut self, counts: &[GroupCounts]) {
        for (index, groups) in self.groups.iter_mut().enumerate() {
            let mut new: Vec<_> =
                counts.iter().filter(|c| c.rule == index).map(|c| &c.key).collect();
            new.dedup();
            let has_rows = |key: &Arc<GroupKey>| new.binary_search(&key).is_ok();
            let fresh = new.iter().filter(|key| !groups.contains_key(**key)).count();
            let Some(excess) = (groups.len() + fresh).checked_sub(self.limits.groups_max) else {
                continue;
            };
            let idle = groups.iter().filter(|(key, g)| g.windows.is_empty() && !has_rows(key));
            let mut idle: Vec<_> = idle.map(|(key, g)| (g.touched, Arc::clone(key))).collect();
            idle.sort_unstable();
            for (_, key) in idle.into_iter().take(excess) {
                self.bytes -= groups.remove(&key).map_or(0, |group| group.bytes());
            }
        }
    }

    /// Closes and forgets windows, the longest without rows first, until a quarter of the memory is free.
    fn relieve(&mut self, outcome: &mut Outcome) {
        let mut oldest = Vec::new();
        for (index, groups) in self.groups.iter().enumerate() {
            for (key, group) in groups {
                let windows = group.windows.iter();
                oldest
                    .extend(windows.map(|(start, w)| (w.touched, index, Arc::clone(key), *start)));
            }
        }
        oldest.sort_unstable();
        for (_, index, key, start) in oldest {
            if self.bytes <= self.limits.bytes_max / 4 * 3 {
                break;
            }
            let rule = &self.rules.percentiles()[index];
            let group = self.groups[index].get_mut(&key).expect("a group that has windows");
            let before = group.bytes();
            if group.windows[&start].opened.is_some() {
                outcome.closed.push(group.close((rule, &key), start));
            }
            group.forget(rule, start);
            self.bytes -= before - group.bytes();
            outcome.windows_given_up = outcome.windows_given_up.saturating_add(1);
        }
    }
}

#[cfg(test)]
#[path = "window_set_tests.rs"]
mod tests;
