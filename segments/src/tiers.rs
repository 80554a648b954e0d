//! Which segments are merged, and when: 10 minutes -> 2 hours -> 1 day.
//!
//! A flush writes tier 0. Neighbours in the log become a segment of tier 1, and neighbours of
//! tier 1 one of tier 2, which stays: a row is written at most three times. Where samples come fast,
//! flushes are as large as tier 1 already and go straight to tier 2. Only neighbours in the order of
//! the log are merged, because of two rows of one moment the one in the later file stands.

use std::ops::Range;
use std::sync::Arc;

use tidewatch_metrics::UnixNanos;

use crate::file_meta::FileMeta;
use crate::limits::{GROUP_ROWS_MAX, MERGE_INPUTS_MAX};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The tier that is never merged again.
pub const TIER_LAST: u8 = 2;
/// Rows that a merge decodes at the same time, at most; this bounds its memory.
const OPEN_ROWS_MAX: u64 = 16 * GROUP_ROWS_MAX as u64;

/// When the files that become one of a tier are complete.
#[derive(Clone, Copy, Debug)]
struct Target {
    tier: u8,
    /// Rows that make them complete.
    rows: u64,
    /// The log's time from the first to the last one that makes them complete.
    age: i64,
    /// Event time that makes them complete once they have `span_rows`.
    span: i64,
    span_rows: u64,
}

const TARGETS: [Target; 2] = [
    Target { tier: 1, rows: 2 << 20, age: DAY / 12, span: DAY / 12, span_rows: 1 << 20 },
    Target { tier: 2, rows: 64 << 20, age: DAY, span: DAY, span_rows: 16 << 20 },
];

/// Neighbours that are due to become one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMerge {
    /// Their places among the segments.
    pub files: Range<usize>,
    /// The tier of the segment that they become.
    pub tier: u8,
}

/// The next merge of `files`, which are all segments in the order of the manifest, at the log's time
/// `now`. With `force` neighbours are merged that would wait for more.
#[must_use]
pub fn due_merge(files: &[Arc<FileMeta>], now: UnixNanos, force: bool) -> Option<DueMerge> {
    // Files behind this one may still get company of their tier.
    let mut end = files.len();
    for target in TARGETS {
        let mut open = end;
        for stretch in stretches(&files[..end], target.tier) {
            for group in groups(files, stretch, target) {
                let is_newest = group.files.end == end;
                let is_complete = group.is_complete
                    || !is_newest
                    || force
                    || now.nanos() - files[group.files.start].written.nanos() >= target.age;
                if is_complete && group.files.len() > 1 {
                    return Some(DueMerge { files: group.files, tier: target.tier });
                }
                if !is_complete {
                    open = group.files.start;
                }
            }
        }
        end = open;
    }
    None
}

/// The tier of a file: as many merges as it has been through, or as its size makes needless.
fn tier_of(file: &FileMeta) -> u8 {
    let by_size = TARGETS.iter().filter(|target| file.rows >= target.rows).map(|t| t.tier).max();
    by_size.unwrap_or(0).max(file.tier)
}

/// Stretches of neighbours that are all below `tier`.
fn stretches(files: &[Arc<FileMeta>], tier: u8) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        if tier_of(file) >= tier {
            continue;
        }
        match stretches.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => stretches.push(at..at + 1),
        }
    }
    stretches
}

#[derive(Debug)]
struct Group {
    files: Range<usize>,
    is_complete: bool,
}

/// Divides a stretch, oldest first, into groups that become one file each.
fn groups(files: &[Arc<FileMeta>], stretch: Range<usize>, target: Target) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut start = stretch.start;
    let mut sum = Sum::default();
    for at in stretch.clone() {
        let file = &files[at];
        if at > start && !sum.has_room(file, target) {
            groups.push(Group { files: start..at, is_complete: true });
            start = at;
            sum = Sum::default();
        }
        sum.add(file);
        if sum.is_complete(target) {
            groups.push(Group { files: start..at + 1, is_complete: true });
            start = at + 1;
            sum = Sum::default();
        }
    }
    if start < stretch.end {
        groups.push(Group { files: start..stretch.end, is_complete: false });
    }
    groups
}

/// What a group has come to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    files: usize,
    rows: u64,
    open_rows: u64,
    /// Earliest and latest event time, and the log's time of the first file.
    times: Option<(i64, i64, i64)>,
}

impl Sum {
    fn add(&mut self, file: &FileMeta) {
        self.files += 1;
        self.rows += file.rows;
        self.open_rows += open_rows(file);
        let (min, max) = (file.time_min.nanos(), file.time_max.nanos());
        self.times = Some(match self.times {
            None => (min, max, file.written.nanos()),
            Some((first, last, written)) => (first.min(min), last.max(max), written),
        });
    }

    /// Whether another file may be added to those that there are.
    fn has_room(&self, file: &FileMeta, target: Target) -> bool {
        let written = self.times.map_or(0, |(_, _, written)| written);
        self.files < MERGE_INPUTS_MAX
            && self.open_rows + open_rows(file) <= OPEN_ROWS_MAX
            && file.written.nanos().saturating_sub(written) < target.age
    }

    fn is_complete(&self, target: Target) -> bool {
        let span = self.times.map_or(0, |(first, last, _)| last.saturating_sub(first));
        self.rows >= target.rows || (span >= target.span && self.rows >= target.span_rows)
    }
}

/// Rows of a file that a merge decodes at the same time: a row group's.
fn open_rows(file: &FileMeta) -> u64 {
    file.rows.min(GROUP_ROWS_MAX as u64)
}

#[cfg(test)]
#[path = "tiers_tests.rs"]
mod tests;
