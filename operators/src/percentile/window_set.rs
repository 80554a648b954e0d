//! The windows of all groups, over all shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_metrics::{Lsn, Transition, UnixNanos};

use crate::limits::{GROUPS_MAX, WINDOWS_BYTES_MAX};
use crate::percentile::group::Group;
use crate::percentile::group_key::GroupKey;
use crate::percentile::site::Site;
use crate::percentile::tally::GroupCounts;
use crate::percentile::{Counts, Outcome};
use crate::watch::RULE_CHANGED;
use crate::{PipelineConfig, RuleSet};

pub(crate) type Groups = BTreeMap<Arc<GroupKey>, Group>;

/// The reason of a resolution whose group had no rows for so long that others took its place.
const GROUP_FORGOTTEN: &str = "group_forgotten";

/// All windows that are held, and the rules on them: a function of the rules, rows and ticks of the log, and of nothing
/// else.
#[derive(Debug)]
pub struct WindowSet {
    pub(crate) rules: Arc<RuleSet>,
    /// The time of the last tick; none before the first one.
    pub(crate) now: Option<UnixNanos>,
    /// In the order of the rules.
    pub(crate) groups: Vec<Groups>,
    /// Of all groups, as they are counted.
    pub(crate) bytes: usize,
    alerts_max_age_nanos: i64,
    limits: Limits,
}

/// A record at which windows change.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Lsn,
    /// Log time.
    now: i64,
    /// Whether windows may close.
    closing: bool,
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
            alerts_max_age_nanos: PipelineConfig::default().alerts_max_age_nanos,
            limits: Limits { groups_max: GROUPS_MAX, bytes_max: WINDOWS_BYTES_MAX },
        }
    }
}

impl WindowSet {
    /// Alerts whose window closes later than this, behind its end and the lateness, are historical from here on.
    /// Nanoseconds.
    pub fn set_alerts_max_age(&mut self, nanos: i64) {
        self.alerts_max_age_nanos = nanos;
    }

    /// Takes what all shards have counted up to the tick `at` of the log at `now`, and closes what is due.
    pub fn tick(&mut self, counts: Vec<Counts>, at: Lsn, now: UnixNanos) -> Outcome {
        let now = self.now.max(Some(now)).unwrap_or(now);
        self.now = Some(now);
        let mut outcome = Outcome::default();
        let moment = Moment { at, now: now.nanos(), closing: true };
        self.absorb(counts, moment, &mut outcome);
        let (rules, max_age) = (Arc::clone(&self.rules), self.alerts_max_age_nanos);
        for (index, groups) in self.groups.iter_mut().enumerate() {
            for (key, group) in groups.iter_mut().filter(|(_, g)| g.due() <= now.nanos()) {
                let before = group.bytes();
                group
                    .advance(&Site::new((&rules, index), key, (moment.now, max_age)), &mut outcome);
                self.bytes = self.bytes - before + group.bytes();
            }
        }
        outcome
    }

    /// Puts rules in force from the record `at`, received at `received`, behind what all shards have counted under
    /// the old ones.
    ///
    /// Percentiles with the same canonical text keep their windows; those of others are given up. Rules on windows
    /// that are kept go on if their own text is the same; others resolve their firing alerts with the reason
    /// `rule_changed`, in the order of the old percentiles, groups and rules.
    pub fn set_rules(
        &mut self,
        counts: Vec<Counts>,
        rules: Arc<RuleSet>,
        at: Lsn,
        received: UnixNanos,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let now = self.now.unwrap_or(received).nanos();
        self.absorb(counts, Moment { at, now, closing: false }, &mut outcome);
        let old = Old {
            rules: std::mem::replace(&mut self.rules, rules),
            groups: std::mem::take(&mut self.groups),
            received: received.nanos(),
            alerts_max_age_nanos: self.alerts_max_age_nanos,
        };
        self.groups = old.hand_over(&self.rules, at, &mut outcome);
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

    /// Takes at most so many groups of each percentiles.
    #[cfg(test)]
    pub(crate) fn limit_groups(&mut self, groups_max: usize) {
        self.limits.groups_max = groups_max;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
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
    fn absorb(&mut self, counts: Vec<Counts>, moment: Moment, outcome: &mut Outcome) {
        let mut all: Vec<GroupCounts> =
            counts.into_iter().flat_map(|counts| counts.groups).collect();
        all.sort_by(|a, b| (a.rule, &a.key).cmp(&(b.rule, &b.key)));
        self.make_room(&all, moment.now, &mut outcome.transitions);
        let (rules, max_age) = (Arc::clone(&self.rules), self.alerts_max_age_nanos);
        let mut all = all.into_iter().peekable();
        while let Some(first) = all.next() {
            let (index, key) = (first.rule, Arc::clone(&first.key));
            let mut parts = vec![first];
            while let Some(next) = all.next_if(|next| next.rule == index && next.key == key) {
                parts.push(next);
            }
            let groups = &mut self.groups[index];
            if !groups.contains_key(&key) && groups.len() >= self.limits.groups_max {
                let rows = parts.iter().flat_map(|part| &part.panes);
                let rows = rows.map(|(_, counts)| counts.count().saturating_add(counts.excluded()));
                outcome.rows_refused = rows.fold(outcome.rows_refused, u64::saturating_add);
                continue;
            }
            let before = groups.get(&key).map_or(0, Group::bytes);
            let born = if rules.watching(index).is_empty() { Lsn::ZERO } else { moment.at };
            let group = groups.entry(Arc::clone(&key)).or_insert_with(|| Group::new(&key, born));
            for part in parts {
                let late = group.absorb(&rules.percentiles()[index], part, moment.now);
                outcome.rows_late = outcome.rows_late.saturating_add(late);
            }
            if moment.closing {
                group.advance(&Site::new((&rules, index), &key, (moment.now, max_age)), outcome);
            }
            self.bytes = self.bytes - before + group.bytes();
            if self.bytes > self.limits.bytes_max {
                self.relieve(moment.now, outcome);
            }
        }
    }

    /// Where new groups would exceed the limit, those without windows make room, the longest without rows first.
    /// What fires on them is resolved: nobody would know of it any more.
    fn make_room(&mut self, counts: &[GroupCounts], now: i64, out: &mut Vec<Transition>) {
        let (rules, max_age) = (Arc::clone(&self.rules), self.alerts_max_age_nanos);
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
                let mut group = groups.remove(&key).expect("a group that is held");
                self.bytes -= group.bytes();
                let site = Site::new((&rules, index), &key, (now, max_age));
                group.watches.end(&site, GROUP_FORGOTTEN, out);
            }
        }
    }

    /// Closes and forgets windows, the longest without rows first, until a quarter of the memory is free.
    fn relieve(&mut self, now: i64, outcome: &mut Outcome) {
        let mut oldest = Vec::new();
        for (index, groups) in self.groups.iter().enumerate() {
            for (key, group) in groups {
                let windows = group.windows.iter();
                oldest
                    .extend(windows.map(|(start, w)| (w.touched, index, Arc::clone(key), *start)));
            }
        }
        oldest.sort_unstable();
        let rules = Arc::clone(&self.rules);
        for (_, index, key, start) in oldest {
            if self.bytes <= self.limits.bytes_max / 4 * 3 {
                break;
            }
            let group = self.groups[index].get_mut(&key).expect("a group that has windows");
            let before = group.bytes();
            if group.windows[&start].opened.is_some() {
                let site = Site::new((&rules, index), &key, (now, self.alerts_max_age_nanos));
                group.close(&site, start, outcome);
            }
            group.forget(&rules.percentiles()[index], start);
            self.bytes = self.bytes - before + group.bytes();
            outcome.windows_given_up = outcome.windows_given_up.saturating_add(1);
        }
    }
}

/// Groups under rules that are no longer in force.
#[derive(Debug)]
struct Old {
    rules: Arc<RuleSet>,
    groups: Vec<Groups>,
    received: i64,
    alerts_max_age_nanos: i64,
}

impl Old {
    /// What goes on under `new` rules from the record `at`; what does not ends.
    fn hand_over(self, new: &RuleSet, at: Lsn, outcome: &mut Outcome) -> Vec<Groups> {
        let Self { rules: old, groups, received, alerts_max_age_nanos } = self;
        let mut handed: Vec<Groups> = new.percentiles().iter().map(|_| Groups::new()).collect();
        let kept = kept_rules(&old, new);
        for (index, mut groups) in groups.into_iter().enumerate() {
            let hash = old.percentiles()[index].hash;
            let place = new.percentiles().iter().position(|rule| rule.hash == hash);
            for (key, group) in &mut groups {
                let site = Site::new((&old, index), key, (received, alerts_max_age_nanos));
                let Some(place) = place else {
                    group.watches.end(&site, RULE_CHANGED, &mut outcome.transitions);
                    let open = group.windows.values().filter(|window| window.opened.is_some());
                    let given_up = outcome.windows_given_up.saturating_add(open.count() as u64);
                    outcome.windows_given_up = given_up;
                    continue;
                };
                group.watches.keep(&site, &kept, RULE_CHANGED, &mut outcome.transitions);
                match (old.watching(index).is_empty(), new.watching(place).is_empty()) {
                    (true, false) => group.watch_from(Some(at)),
                    (false, true) => group.watch_from(None),
                    (true, true) | (false, false) => {}
                }
            }
            if let Some(place) = place {
                handed[place] = groups;
            }
        }
        handed
    }
}

/// The rules that both sets have, from old to new index.
fn kept_rules(old: &RuleSet, new: &RuleSet) -> BTreeMap<usize, usize> {
    let places: BTreeMap<u128, usize> =
        new.rules().iter().enumerate().map(|(index, rule)| (rule.hash, index)).collect();
    let old = old.rules().iter().enumerate();
    old.filter_map(|(index, rule)| Some((index, *places.get(&rule.hash)?))).collect()
}

#[cfg(test)]
#[path = "window_set_tests.rs"]
mod tests;
