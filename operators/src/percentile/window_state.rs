//! All windows as bytes: what a checkpoint keeps of them.
//!
//! Format 2 where rules are on percentiles, else 1; numbers little-endian, fields as in `tidewatch_metrics::fields`:
//! ```text
//! version   u8 = 1 or 2
//! now       u8: 0 = the log has not ticked; 1 = i64, time of its last tick
//! rules     u32 count, each in the order of their names:
//!   hash      u128 of the canonical text
//!   groups    u32 count, each in ascending order of database and values:
//!     db        text
//!     values    u32 count, text each
//!     newest    i64 event time; floor i64 event time; touched i64 log time
//!     panes     u32 count, each ascending: number i64, sketch as bytes
//!     windows   u32 count, each ascending: number i64, revision u32, touched i64, u8: 0 closed, 1 open since i64
//!     with format 2:
//!     born      u64 record at which the group was met; newest i64, the first pane of the last window looked at
//!     watches   u32 count, each in the order of the rules' names:
//!       rule      u128 hash of the canonical text
//!       state     as of an alert on a series
//!       seen      i64 event time of the last window, value f64 of it
//!       told      u32 count, each ascending: number i64, onset i64, historical u8, value f64
//! ```
//!
//! Equal windows have equal bytes. What is due when follows from the rest.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, Lsn, Sketch, UnixNanos};
use twox_hash::XxHash3_64;

use crate::RuleSet;
use crate::order::{decode_time, encode_time};
use crate::percentile::WindowSet;
use crate::percentile::group::{Group, Window};
use crate::percentile::group_key::GroupKey;
use crate::percentile::group_watches::GroupWatches;
use crate::percentile::site::Site;
use crate::percentile::window_set::Groups;

/// Version of the bytes where no rule is on percentiles: those that the first release with percentiles wrote.
const UNWATCHED_FORMAT: u8 = 1;
/// Version of the bytes where some are.
pub const WINDOWS_FORMAT: u8 = 2;

impl WindowSet {
    /// Appends all windows.
    pub fn encode(&self, out: &mut FieldWriter) {
        out.u8(format(&self.rules));
        encode_time(self.now, out);
        out.count(self.groups.len());
        for (rule, groups) in self.rules.percentiles().iter().zip(&self.groups) {
            out.u128(rule.hash);
            out.count(groups.len());
            for (key, group) in groups {
                encode_group(key, group, out);
                if self.rules.watches_windows() {
                    group.watches.encode(&self.rules, out);
                }
            }
        }
    }

    /// Hash of every bit that [`WindowSet::encode`] writes.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let mut out = FieldWriter::default();
        self.encode(&mut out);
        XxHash3_64::oneshot(out.as_bytes())
    }

    /// What [`WindowSet::encode`] wrote under the same rules; `None` for everything else.
    #[must_use]
    pub fn decode(rules: Arc<RuleSet>, fields: &mut FieldReader<'_>) -> Option<Self> {
        if fields.u8()? != format(&rules) {
            return None;
        }
        let now = decode_time(fields)?;
        if fields.count()? != rules.percentiles().len() {
            return None;
        }
        let mut set = Self::default();
        set.now = now;
        for (index, rule) in rules.percentiles().iter().enumerate() {
            if fields.u128()? != rule.hash {
                return None;
            }
            let groups = decode_groups(&rules, index, fields)?;
            set.bytes += groups.values().map(Group::bytes).sum::<usize>();
            set.groups.push(groups);
        }
        set.rules = rules;
        Some(set)
    }
}

/// The version of the bytes under these rules.
fn format(rules: &RuleSet) -> u8 {
    if rules.watches_windows() { WINDOWS_FORMAT } else { UNWATCHED_FORMAT }
}

fn encode_group(key: &GroupKey, group: &Group, out: &mut FieldWriter) {
    out.text(&key.db);
    out.count(key.values.len());
    for value in &key.values {
        out.text(value);
    }
    for time in [group.newest.nanos(), group.floor, group.touched] {
        out.i64(time);
    }
    out.count(group.panes.len());
    for (pane, counts) in &group.panes {
        out.i64(*pane);
        out.blob(&counts.encode());
    }
    out.count(group.windows.len());
    for (start, window) in &group.windows {
        out.i64(*start);
        out.u32(window.revision);
        out.i64(window.touched);
        encode_time(window.opened.map(UnixNanos::new), out);
    }
}

fn decode_groups(rules: &RuleSet, index: usize, fields: &mut FieldReader<'_>) -> Option<Groups> {
    let values = rules.percentiles().get(index)?.by.len();
    let mut groups = Groups::new();
    for _ in 0..fields.count()? {
        let db = fields.text()?;
        if fields.count()? != values {
            return None;
        }
        let values = (0..values).map(|_| fields.text()).collect::<Option<_>>()?;
        let key = Arc::new(GroupKey { db, values });
        if groups.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return None;
        }
        let mut group = decode_group(&key, fields)?;
        if rules.watches_windows() {
            let site = Site::new((rules, index), &key, (0, 0));
            let is_held = |start| group.windows.contains_key(&start);
            group.watches = GroupWatches::decode(&site, is_held, fields)?;
        }
        groups.insert(key, group);
    }
    Some(groups)
}

fn decode_group(key: &GroupKey, fields: &mut FieldReader<'_>) -> Option<Group> {
    let mut group = Group::new(key, Lsn::ZERO);
    group.newest = EventTime::new(fields.i64()?);
    group.floor = fields.i64()?;
    group.touched = fields.i64()?;
    let mut panes = BTreeMap::new();
    for _ in 0..fields.count()? {
        let pane = ascending(&panes, fields.i64()?)?;
        let counts = Sketch::decode(fields.blob()?).filter(|counts| !counts.is_empty())?;
        panes.insert(pane, counts);
    }
    let mut windows = BTreeMap::new();
    for _ in 0..fields.count()? {
        let start = ascending(&windows, fields.i64()?)?;
        let (revision, touched) = (fields.u32()?, fields.i64()?);
        let opened = decode_time(fields)?.map(UnixNanos::nanos);
        if revision == 0 && opened.is_none() {
            return None;
        }
        windows.insert(start, Window { revision, opened, touched });
    }
    group.restore(panes, windows);
    Some(group)
}

/// The number, if it is greater than all before it.
fn ascending<T>(before: &BTreeMap<i64, T>, number: i64) -> Option<i64> {
    before.last_key_value().is_none_or(|(last, _)| *last < number).then_some(number)
}
