//! Divides a scan into parts: what each thread reads, and what must be merged.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tidewatch_metrics::EventTime;
use tidewatch_segments::{ChunkView, LateHours, MetricName, Predicate, Segment, Snapshot};

use crate::error::QueryError;
use crate::limits::MERGE_SOURCES_MAX;
use crate::scan::cursor::{HeadPart, SegmentPart, Wanted};
use crate::scan::hidden::{Hidden, ScanDeletes};
use crate::scan::hours::Hours;
use crate::scan::latest::Latest;
use crate::scan::progress::Progress;
use crate::scan::rolled::Rolled;
use crate::scan::rollup_cursor::RollupPart;
use crate::scan::series_index::SeriesIndex;

/// Which columns a scan needs, beside the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) time: bool,
    pub(crate) value: bool,
    pub(crate) severity: bool,
    pub(crate) flags: bool,
}

/// Whether superseded rows are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Superseded {
    /// One row of each series and time.
    Hidden,
    /// Every arrival.
    Shown,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct ScanRequest {
    pub(crate) index: Arc<SeriesIndex>,
    /// The metrics of the series; all if `None`.
    pub(crate) metrics: Option<BTreeSet<MetricName>>,
    pub(crate) times: RangeInclusive<i64>,
    pub(crate) columns: Columns,
    pub(crate) superseded: Superseded,
    /// Whether rows of rollups may stand for the rows of whole hours.
    pub(crate) rollups: bool,
    /// Where only the latest row of each series counts: what was given of them.
    pub(crate) latest: Option<Arc<Latest>>,
    /// Parts that are read at the same time.
    pub(crate) threads: usize,
}

/// A scan in parts.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) wanted: Wanted,
    pub(crate) times: RangeInclusive<i64>,
    pub(crate) parts: Vec<Part>,
    /// Rows of rollups in all parts; the others are samples.
    pub(crate) rollup_rows: u64,
}

/// What one thread reads, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) plain: Vec<Plain>,
    pub(crate) slabs: Vec<Slab>,
    /// Rows to be read, at least 1 where there is anything to read.
    pub(crate) rows: u64,
}

/// Rows that are read as they come.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) rows: PlainRows,
    pub(crate) hours: Hours,
}

/// Where plain rows come from.
#[derive(Clone, Debug)]
pub(crate) enum PlainRows {
    Segment(SegmentPart),
    Rollup(RollupPart),
    Head(HeadPart),
}

/// Hours that are merged together; sources in the order of arrival.
#[derive(Clone, Debug)]
pub(crate) struct Slab {
    pub(crate) hours: Hours,
    pub(crate) segments: Vec<SegmentPart>,
    pub(crate) heads: Vec<HeadPart>,
}

impl Columns {
    pub(crate) const ALL: Self = Self { time: true, value: true, severity: true, flags: true };

    /// Bytes of memory that a decoded row of a segment takes.
    pub(crate) fn row_bytes(self) -> usize {
        let value = if self.value { 8 } else { 0 };
        let severity = if self.severity { 2 } else { 0 };
        4 + 8 + value + severity + usize::from(self.flags)
    }
}

impl Scan {
    /// Finds what must be read. Reads footers of segments.
    pub(crate) fn plan(
        snapshot: &Snapshot,
        request: ScanRequest,
        progress: Arc<Progress>,
    ) -> Result<Self, QueryError> {
        let mut planner = Planner {
            snapshot,
            index: &request.index,
            times: request.times.clone(),
            deletes: ScanDeletes::new(snapshot, request.metrics.as_ref()),
            parts: vec![Part::default(); request.threads.max(1)],
            read: BTreeSet::new(),
            rollups: request.rollups,
            rollup_rows: 0,
            progress: &progress,
            predicate: Predicate {
                metrics: request.metrics,
                times: EventTime::new(*request.times.start())
                    ..=EventTime::new(*request.times.end()),
            },
        };
        let late = match request.superseded {
            Superseded::Shown => LateHours::NONE,
            Superseded::Hidden => planner.late_hours(),
        };
        if !request.times.is_empty() {
            match late {
                LateHours::All => planner.slabs_of_all()?,
                LateHours::Listed(hours) if hours.is_empty() => planner.plain(&Hours::All)?,
                LateHours::Listed(hours) => {
                    planner.slabs(&hours)?;
                    planner.plain(&Hours::Except(Arc::new(hours)))?;
                }
            }
        }
        let segments = snapshot.segments.len();
        progress.quarantined(snapshot.manifest.quarantined().len() as u64);
        progress.pruned(segments as u64, (segments - planner.read.len()) as u64);
        let (mut parts, rollup_rows) = (planner.parts, planner.rollup_rows);
        parts.retain(|part| part.rows > 0);
        if parts.is_empty() {
            parts.push(Part::default());
        }
        let ScanRequest { index, columns, latest, times, .. } = request;
        let wanted = Wanted { index, columns, latest, progress };
        Ok(Self { wanted, times, parts, rollup_rows })
    }
}

struct Planner<'a> {
    snapshot: &'a Snapshot,
    index: &'a SeriesIndex,
    predicate: Predicate,
    deletes: ScanDeletes<'a>,
    times: RangeInclusive<i64>,
    parts: Vec<Part>,
    rollups: bool,
    rollup_rows: u64,
    progress: &'a Progress,
    /// Segments that are read, by position.
    read: BTreeSet<usize>,
}

impl Planner<'_> {
    /// Hours with late rows that lie in the time range.
    fn late_hours(&self) -> LateHours {
        let mut late = LateHours::NONE;
        for segment in &self.snapshot.segments {
            if segment.meta().overlaps(&self.predicate.times) {
                late.extend(&segment.meta().late_hours);
            }
        }
        self.snapshot.heads.iter().for_each(|head| late.extend(head.late_hours()));
        if let LateHours::Listed(hours) = &mut late {
            let first = LateHours::hour_of(*self.predicate.times.start());
            let last = LateHours::hour_of(*self.predicate.times.end());
            hours.retain(|hour| (first..=last).contains(hour));
        }
        late
    }

    /// Rows that are read as they come: every row group and chunk goes to the part with least to do.
    fn plain(&mut self, hours: &Hours) -> Result<(), QueryError> {
        for position in 0..self.snapshot.segments.len() {
            let segment = Arc::clone(&self.snapshot.segments[position]);
            let hidden = self.deletes.of_segment(segment.meta());
            let unrolled = self.rollup(position, hours, &hidden)?;
            let hours = unrolled.as_ref().unwrap_or(hours);
            for (group, rows) in self.groups(position, hours)? {
                let part = self.least();
                part.rows += rows.max(1);
                match part.plain.last_mut() {
                    Some(Plain { rows: PlainRows::Segment(last), .. })
                        if Arc::ptr_eq(&last.segment, &segment) =>
                    {
                        last.groups.push(group);
                    }
                    _ => part.plain.push(Plain {
                        rows: PlainRows::Segment(SegmentPart {
                            segment: Arc::clone(&segment),
                            groups: vec![group],
                            hidden: hidden.clone(),
                        }),
                        hours: hours.clone(),
                    }),
                }
            }
        }
        for head in &self.snapshot.heads {
            let hidden = self.deletes.of_head(head);
            for chunk in self.chunks(head.chunks(), hours) {
                let part = self.least();
                part.rows += chunk.rows() as u64;
                let hidden = hidden.clone();
                let rows = PlainRows::Head(HeadPart { chunks: vec![chunk], hidden });
                part.plain.push(Plain { rows, hours: hours.clone() });
            }
        }
        Ok(())
    }

    /// Takes rows of a segment's rollup, if there are any; the hours of which rows are read still.
    fn rollup(
        &mut self,
        position: usize,
        hours: &Hours,
        hidden: &Hidden,
    ) -> Result<Option<Hours>, QueryError> {
        let segment = &self.snapshot.segments[position];
        let meta = segment.meta();
        let late = if let Hours::Except(late) = hours { Arc::clone(late) } else { Arc::default() };
        let rolled = Arc::new(Rolled::new(&self.times, &late, hidden.times()));
        let hour_of = |time: EventTime| LateHours::hour_of(time);
        let may_answer = rolled.may_take(hour_of(meta.time_min), hour_of(meta.time_max));
        if !self.rollups || meta.rollup_rows == 0 || !may_answer {
            return Ok(None);
        }
        let reader = segment.reader().map_err(|error| self.progress.failed(error))?;
        let reader = match reader.rollup() {
            Ok(Some(reader)) => reader,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.progress.rollup_damaged(&error);
                return Ok(None);
            }
        };
        let mut groups = reader.row_groups(&self.predicate);
        groups.retain(|group| self.index.asks(reader.series_range(*group)));
        let rows = groups.iter().filter_map(|group| reader.groups().get(*group));
        let rows: u64 = rows.map(|group| group.rows).sum();
        if rows > 0 {
            let segment = Arc::clone(segment);
            let part = RollupPart { segment, groups, rolled: Arc::clone(&rolled) };
            let least = self.least();
            least.rows += rows;
            least.plain.push(Plain { rows: PlainRows::Rollup(part), hours: Hours::All });
            self.rollup_rows += rows;
            self.read.insert(position);
        }
        let (first, last) = (self.predicate.times.start(), self.predicate.times.end());
        Ok(Some(Hours::Unrolled(hour_of(*first), hour_of(*last), rolled)))
    }

    /// Merges these hours, as many together as have few enough sources.
    fn slabs(&mut self, hours: &BTreeSet<i64>) -> Result<(), QueryError> {
        let each = hours.iter().map(|hour| (*hour, self.sources(*hour, *hour))).collect();
        for hours in together(each) {
            self.slab(Hours::Only(Arc::new(hours.into_iter().collect())))?;
        }
        Ok(())
    }

    /// Merges all hours, as many together as have few enough sources.
    fn slabs_of_all(&mut self) -> Result<(), QueryError> {
        // Between two neighbours of these hours, the sources are the same.
        let mut starts = BTreeSet::from([i64::MIN]);
        for segment in &self.snapshot.segments {
            let meta = segment.meta();
            if meta.overlaps(&self.predicate.times) {
                starts.insert(LateHours::hour_of(meta.time_min));
                starts.insert(LateHours::hour_of(meta.time_max) + 1);
            }
        }
        let ends = starts.iter().skip(1).map(|start| start - 1).chain([i64::MAX]);
        let spans = starts.iter().copied().zip(ends);
        let each = spans.map(|(start, end)| ((start, end), self.sources(start, end))).collect();
        for spans in together(each) {
            if let (Some((start, _)), Some((_, end))) = (spans.first(), spans.last()) {
                self.slab(Hours::Between(*start, *end))?;
            }
        }
        Ok(())
    }

    /// The segments that may hold rows of these hours.
    fn sources(&self, first: i64, last: i64) -> BTreeSet<usize> {
        let hours = Hours::Between(first, last);
        let segments = self.snapshot.segments.iter().enumerate();
        segments.filter(|(_, segment)| may_take(segment, &hours)).map(|(at, _)| at).collect()
    }

    fn slab(&mut self, hours: Hours) -> Result<(), QueryError> {
        let mut rows = 0;
        let mut segments = Vec::new();
        for position in 0..self.snapshot.segments.len() {
            let groups = self.groups(position, &hours)?;
            if groups.is_empty() {
                continue;
            }
            rows += groups.iter().map(|(_, rows)| rows).sum::<u64>();
            let segment = Arc::clone(&self.snapshot.segments[position]);
            let groups = groups.into_iter().map(|(group, _)| group).collect();
            let hidden = self.deletes.of_segment(segment.meta());
            segments.push(SegmentPart { segment, groups, hidden });
        }
        let heads = self.snapshot.heads.iter();
        let mut heads: Vec<_> = heads
            .map(|head| HeadPart {
                chunks: self.chunks(head.chunks(), &hours),
                hidden: self.deletes.of_head(head),
            })
            .collect();
        heads.retain(|part| !part.chunks.is_empty());
        let chunks = heads.iter().flat_map(|part| &part.chunks);
        rows += chunks.map(|chunk| chunk.rows() as u64).sum::<u64>();
        if rows > 0 {
            let part = self.least();
            part.rows += rows;
            part.slabs.push(Slab { hours, segments, heads });
        }
        Ok(())
    }

    /// Row groups of a segment that may hold rows asked for, with their rows.
    fn groups(&mut self, position: usize, hours: &Hours) -> Result<Vec<(usize, u64)>, QueryError> {
        let segment = &self.snapshot.segments[position];
        if !segment.meta().overlaps(&self.predicate.times) || !may_take(segment, hours) {
            return Ok(Vec::new());
        }
        let reader = segment.reader().map_err(|error| self.progress.failed(error))?;
        let mut groups = Vec::new();
        for group in reader.row_groups(&self.predicate) {
            let Some(meta) = reader.groups().get(group) else { continue };
            let is_asked = self.index.asks(reader.series_range(group));
            if is_asked && hours.may_take(&(meta.time_min.nanos()..=meta.time_max.nanos())) {
                groups.push((group, meta.rows));
            }
        }
        if !groups.is_empty() {
            self.read.insert(position);
        }
        Ok(groups)
    }

    fn chunks(&self, chunks: &[ChunkView], hours: &Hours) -> Vec<ChunkView> {
        let taken = chunks.iter().filter(|chunk| {
            let (first, last) = (chunk.time_min().nanos(), chunk.time_max().nanos());
            first <= *self.times.end()
                && *self.times.start() <= last
                && hours.may_take(&(first..=last))
        });
        taken.cloned().collect()
    }

    fn least(&mut self) -> &mut Part {
        self.parts.iter_mut().min_by_key(|part| part.rows).expect("there is a part at least")
    }
}

fn may_take(segment: &Segment, hours: &Hours) -> bool {
    let meta = segment.meta();
    hours.may_take(&(meta.time_min.nanos()..=meta.time_max.nanos()))
}

/// Puts neighbours together while they have few enough sources.
///
/// Each source is read once per slab, so where a single one has many sources already, twice as
/// many are allowed, rather than reading all of them again for its neighbour.
fn together<T>(each: Vec<(T, BTreeSet<usize>)>) -> Vec<Vec<T>> {
    let mut slabs: Vec<Vec<T>> = Vec::new();
    let mut sources: BTreeSet<usize> = BTreeSet::new();
    let mut sources_max = 0;
    for (hours, of_hours) in each {
        match slabs.last_mut() {
            Some(slab) if sources.union(&of_hours).count() <= sources_max => slab.push(hours),
            _ => {
                sources.clear();
                sources_max = MERGE_SOURCES_MAX.max(2 * of_hours.len());
                slabs.push(vec![hours]);
            }
        }
        sources.extend(of_hours);
    }
    slabs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_merged_together_while_their_sources_are_few() {
        let few = (0..100_usize).map(|hour| (hour, [hour, hour + 1].into())).collect();
        let slabs = together(few);
        assert_eq!(slabs.iter().map(Vec::len).collect::<Vec<_>>(), [63, 37]);
        let many = (0..100_usize).map(|hour| (hour, (hour..hour + 300).collect())).collect();
        assert_eq!(together(many).len(), 1, "neighbours share most of their sources");
        assert!(together(Vec::<((), BTreeSet<usize>)>::new()).is_empty());
    }
}
