//! What one shard has counted since the last tick.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::{EventTime, SeriesKey, Sketch};

use crate::RuleSet;
use crate::percentile::group_key::GroupKey;
use crate::state::NONE;

/// Counts a shard's rows by group and pane. A series that no percentiles match costs 4 bytes and its rows nothing.
///
/// Which groups a series belongs to is decided once, when it is met; a row then goes to a sketch that is
/// almost always the one of the row before it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rules: Arc<RuleSet>,
    /// Per series the index of its groups, or [`NONE`].
    places: Vec<u32>,
    /// Indices of groups.
    members: Vec<Box<[u32]>>,
    groups: Vec<Group>,
    /// By rule and key, the index of each group.
    index: BTreeMap<(usize, Arc<GroupKey>), u32>,
    /// Groups that have rows.
    touched: Vec<u32>,
}

/// A group's rows since the last tick.
#[derive(Debug)]
struct Group {
    /// Index in the rule set.
    rule: usize,
    key: Arc<GroupKey>,
    slide_nanos: i64,
    /// The pane of the last row, and its rows.
    pane: i64,
    pane_start: i64,
    counts: Sketch,
    /// Those of other panes.
    others: BTreeMap<i64, Sketch>,
    newest: EventTime,
    is_touched: bool,
}

/// What a shard counted between two ticks.
#[derive(Debug, Default)]
pub struct Counts {
    pub(crate) groups: Vec<GroupCounts>,
}

/// What a shard counted of one group.
#[derive(Debug)]
pub(crate) struct GroupCounts {
    /// Index in the rule set.
    pub(crate) rule: usize,
    pub(crate) key: Arc<GroupKey>,
    pub(crate) newest: EventTime,
    /// In ascending order.
    pub(crate) panes: Vec<(i64, Sketch)>,
}

impl Tally {
    /// Takes the next series; returns whether its rows are counted.
    pub(crate) fn add_series(&mut self, entry: &SeriesEntry) -> bool {
        let place = self.place(entry);
        self.places.push(place);
        place != NONE
    }

    /// Puts rules in force; what was counted must have been taken before.
    pub(crate) fn set_rules(&mut self, rules: &Arc<RuleSet>, entries: &[Arc<SeriesEntry>]) {
        debug_assert!(self.touched.is_empty(), "counts under the old rules");
        *self = Self { rules: Arc::clone(rules), ..Self::default() };
        for entry in entries {
            self.add_series(entry);
        }
    }

    /// Whether the rows of each series are counted.
    pub(crate) fn counted(&self) -> impl Iterator<Item = bool> {
        self.places.iter().map(|place| *place != NONE)
    }

    /// Counts a row of a series that is counted.
    #[inline]
    pub(crate) fn add(&mut self, local: u32, time: EventTime, value: f64) {
        let place = self.places[local as usize] as usize;
        for &group in &self.members[place] {
            let counts = &mut self.groups[group as usize];
            counts.add(time, value);
            if !counts.is_touched {
                counts.is_touched = true;
                self.touched.push(group);
            }
        }
    }

    /// Takes what was counted; counting begins anew.
    pub(crate) fn take(&mut self) -> Counts {
        let touched = std::mem::take(&mut self.touched);
        let groups = touched.iter().map(|group| self.groups[*group as usize].take());
        Counts { groups: groups.collect() }
    }

    fn place(&mut self, entry: &SeriesEntry) -> u32 {
        let rules = Arc::clone(&self.rules);
        if rules.percentiles().is_empty() {
            return NONE;
        }
        let key = entry.key();
        let matching =
            rules.percentiles().iter().enumerate().filter(|(_, rule)| rule.matches(&key));
        let members: Box<[u32]> = matching
            .map(|(index, rule)| {
                let key = Arc::new(GroupKey::of(&key, &rule.by));
                self.group(index, key, rule.slide_nanos)
            })
            .collect();
        if members.is_empty() {
            return NONE;
        }
        self.members.push(members);
        u32::try_from(self.members.len() - 1).expect("fewer than 2^32 series")
    }

    fn group(&mut self, rule: usize, key: Arc<GroupKey>, slide_nanos: i64) -> u32 {
        let next = u32::try_from(self.groups.len()).expect("fewer groups than series and rules");
        let group = *self.index.entry((rule, Arc::clone(&key))).or_insert(next);
        if group == next {
            self.groups.push(Group::new(rule, key, slide_nanos));
        }
        group
    }
}

impl Group {
    fn new(rule: usize, key: Arc<GroupKey>, slide_nanos: i64) -> Self {
        Self {
            rule,
            key,
            slide_nanos,
            pane: 0,
            pane_start: 0,
            counts: Sketch::default(),
            others: BTreeMap::new(),
            newest: EventTime::MIN,
            is_touched: false,
        }
    }

    #[inline]
    fn add(&mut self, time: EventTime, value: f64) {
        let nanos = time.nanos();
        // Also right where the subtraction saturates: the distance is beyond any slide then.
        if nanos < self.pane_start || nanos.saturating_sub(self.pane_start) >= self.slide_nanos {
            self.turn_to(nanos.div_euclid(self.slide_nanos));
        }
        if time > self.newest {
            self.newest = time;
        }
        self.counts.add(value);
    }

    #[cold]
    fn turn_to(&mut self, pane: i64) {
        let counts = self.others.remove(&pane).unwrap_or_default();
        let before = std::mem::replace(&mut self.counts, counts);
        if !before.is_empty() {
            self.others.insert(self.pane, before);
        }
        self.pane = pane;
        self.pane_start = pane.saturating_mul(self.slide_nanos);
    }

    fn take(&mut self) -> GroupCounts {
        let mut others = std::mem::take(&mut self.others);
        let counts = std::mem::take(&mut self.counts);
        if !counts.is_empty() {
            others.insert(self.pane, counts);
        }
        self.is_touched = false;
        GroupCounts {
            rule: self.rule,
            key: Arc::clone(&self.key),
            newest: std::mem::replace(&mut self.newest, EventTime::MIN),
            panes: others.into_iter().collect(),
        }
    }
}

/// Bytes that a series takes here at most: its place and, where percentiles match it, its groups, as if it had them
/// alone.
pub(crate) fn tally_bytes(rules: &RuleSet, key: &SeriesKey) -> usize {
    let matching = rules.percentiles().iter().filter(|rule| rule.matches(key));
    let groups = matching.map(|rule| {
        let key = GroupKey::of(key, &rule.by).bytes();
        2 * size_of::<Group>() + 4 * size_of::<(usize, Arc<GroupKey>, u32)>() + key
    });
    let groups: usize = groups.sum();
    let member = 2 * size_of::<Box<[u32]>>() + 16;
    2 * size_of::<u32>() + if groups > 0 { member + groups } else { 0 }
}
