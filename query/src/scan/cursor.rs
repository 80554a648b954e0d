//! Reads what is asked for of one segment or one head, some thousand rows at a time.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow::buffer::ScalarBuffer;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use tidewatch_metrics::EventTime;
use tidewatch_segments::{
    ChunkView, HeadColumns, Projection, Segment, SegmentColumns, SegmentReader,
};

use crate::limits::BATCH_ROWS;
use crate::scan::hidden::Hidden;
use crate::scan::hours::TimeTest;
use crate::scan::latest::Latest;
use crate::scan::plan::Columns;
use crate::scan::progress::Progress;
use crate::scan::rows::{Picks, Rows};
use crate::scan::series_index::SeriesIndex;

/// Bytes that a row of a head takes.
const HEAD_ROW_BYTES: u64 = 24;

/// What all parts of one scan share.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) index: Arc<SeriesIndex>,
    pub(crate) columns: Columns,
    /// Where only the latest row of each series counts.
    pub(crate) latest: Option<Arc<Latest>>,
    pub(crate) progress: Arc<Progress>,
}

impl Wanted {
    /// Whether rows of these series up to `last` count for nothing.
    pub(crate) fn is_settled(&self, series: Option<RangeInclusive<u32>>, last: EventTime) -> bool {
        let (Some(latest), Some(series)) = (&self.latest, series) else { return false };
        latest.is_settled(self.index.places(series), last.nanos())
    }
}

/// Row groups of one segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentPart {
    pub(crate) segment: Arc<Segment>,
    /// In ascending order.
    pub(crate) groups: Vec<usize>,
    pub(crate) hidden: Hidden,
}

/// Chunks of one head.
#[derive(Clone, Debug)]
pub(crate) struct HeadPart {
    pub(crate) chunks: Vec<ChunkView>,
    pub(crate) hidden: Hidden,
}

/// Reads row groups in the order of the segment: by series, time and arrival within a metric.
#[derive(Debug)]
pub(crate) struct SegmentCursor {
    reader: SegmentReader,
    groups: std::vec::IntoIter<usize>,
    hidden: Hidden,
    wanted: Wanted,
    test: TimeTest,
    /// The row group at work, and its rows that are left.
    group: SegmentColumns,
    left: Range<usize>,
    is_timed: bool,
    picks: Picks,
    memory: MemoryReservation,
}

/// Reads chunks of a head in the order of arrival.
#[derive(Debug)]
pub(crate) struct HeadCursor {
    chunks: std::vec::IntoIter<ChunkView>,
    hidden: Hidden,
    wanted: Wanted,
    test: TimeTest,
    chunk: Option<ChunkView>,
    left: Range<usize>,
    is_timed: bool,
    columns: HeadColumns,
    picks: Picks,
}

impl SegmentCursor {
    pub(crate) fn open(
        part: &SegmentPart,
        wanted: Wanted,
        test: TimeTest,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let reader = part.segment.reader().map_err(|error| wanted.progress.failed(error))?;
        Ok(Self {
            reader,
            groups: part.groups.clone().into_iter(),
            hidden: part.hidden.clone(),
            wanted,
            test,
            group: SegmentColumns::default(),
            left: 0..0,
            is_timed: false,
            picks: Picks::default(),
            memory,
        })
    }

    /// The next rows, at least one; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Rows>> {
        loop {
            if self.left.is_empty() && !self.load()? {
                return Ok(None);
            }
            self.wanted.progress.check()?;
            let start = self.left.start;
            let end = self.left.end.min(start + BATCH_ROWS);
            self.left.start = end;
            let series = self.group.series_ref.as_ref().expect("the series is always read");
            let times = self.group.time.as_ref().filter(|_| self.is_timed);
            let times = times.map(|times| (&times.values()[start..end], &mut self.test));
            let series = &series.values()[start..end];
            self.picks.pick(&self.wanted.index, series, times);
            if let Some(times) = self.group.time.as_ref().filter(|_| !self.hidden.is_empty()) {
                self.picks.hide(&self.hidden, series, &times.values()[start..end]);
            }
            if !self.picks.is_empty() {
                return Ok(Some(self.rows(start)));
            }
        }
    }

    /// The next row group that may hold rows that count.
    fn next_group(&mut self) -> Option<usize> {
        let (reader, wanted) = (&self.reader, &self.wanted);
        self.groups.find(|group| {
            let Some(meta) = reader.groups().get(*group) else { return true };
            !wanted.is_settled(reader.series_range(*group), meta.time_max)
        })
    }

    /// Reads the next row group; false at the end.
    fn load(&mut self) -> Result<bool> {
        self.group = SegmentColumns::default();
        let Some(group) = self.next_group() else {
            self.memory.free();
            return Ok(false);
        };
        let meta = self.reader.groups().get(group);
        let times = meta.map(|meta| meta.time_min.nanos()..=meta.time_max.nanos());
        let is_timed = times.is_none_or(|times| !self.test.takes_all(&times));
        self.is_timed = is_timed || !self.hidden.is_empty();
        let columns = self.wanted.columns;
        let projection = Projection {
            series: true,
            time: columns.time || self.is_timed,
            value: columns.value,
            severity: columns.severity,
            flags: columns.flags,
        };
        let rows = meta.map_or(0, |meta| usize::try_from(meta.rows).unwrap_or(usize::MAX));
        self.memory.try_resize(rows.saturating_mul(columns.row_bytes()))?;
        let read = self.reader.read(group, projection, &mut self.group);
        let bytes = read.map_err(|error| self.wanted.progress.failed(error))?;
        self.wanted.progress.read(self.group.rows as u64, bytes)?;
        self.left = 0..self.group.rows;
        Ok(true)
    }

    fn rows(&mut self, start: usize) -> Rows {
        let (group, picks, columns) = (&self.group, &self.picks, self.wanted.columns);
        let mut rows = Rows::default();
        if let Some(times) = group.time.as_ref().filter(|_| columns.time) {
            rows.times = picks.gather(times.values(), start);
        }
        if let Some(values) = &group.value {
            rows.values = picks.gather(values.values(), start);
        }
        if let Some(severities) = &group.severity {
            rows.severities = picks.gather(severities.values(), start);
        }
        if let Some(flags) = &group.flags {
            rows.flags = picks.gather(flags.values(), start);
        }
        rows.places = self.picks.take_places();
        rows
    }
}

impl HeadCursor {
    pub(crate) fn new(part: HeadPart, wanted: Wanted, test: TimeTest) -> Self {
        Self {
            chunks: part.chunks.into_iter(),
            hidden: part.hidden,
            wanted,
            test,
            chunk: None,
            left: 0..0,
            is_timed: false,
            columns: HeadColumns::default(),
            picks: Picks::default(),
        }
    }

    /// The next rows, at least one; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Rows>> {
        Ok(if self.advance()? { Some(self.rows()) } else { None })
    }

    /// Copies the next rows and picks at least one of them; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        loop {
            if self.left.is_empty() {
                let Some(chunk) = self.chunks.next() else { return Ok(false) };
                self.left = 0..chunk.rows();
                let times = chunk.time_min().nanos()..=chunk.time_max().nanos();
                self.is_timed = !self.test.takes_all(&times);
                self.chunk = Some(chunk);
                continue;
            }
            let start = self.left.start;
            let end = self.left.end.min(start + BATCH_ROWS);
            self.left.start = end;
            let rows = (end - start) as u64;
            self.wanted.progress.read(rows, rows * HEAD_ROW_BYTES)?;
            self.columns.clear();
            let chunk = self.chunk.as_ref().expect("rows are left of a chunk");
            chunk.copy(start..end, &mut self.columns);
            let times = self.is_timed.then_some((self.columns.times.as_slice(), &mut self.test));
            self.picks.pick(&self.wanted.index, &self.columns.series, times);
            if !self.hidden.is_empty() {
                self.picks.hide(&self.hidden, &self.columns.series, &self.columns.times);
            }
            if !self.picks.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The copied rows, and which of them are taken.
    pub(crate) fn picked(&self) -> (&HeadColumns, &Picks) {
        (&self.columns, &self.picks)
    }

    fn rows(&mut self) -> Rows {
        let wanted = self.wanted.columns;
        let columns = &mut self.columns;
        let mut rows = Rows::default();
        if wanted.time {
            let times = ScalarBuffer::from(std::mem::take(&mut columns.times));
            rows.times = self.picks.gather(&times, 0);
        }
        if wanted.value {
            let values = ScalarBuffer::from(std::mem::take(&mut columns.values));
            rows.values = self.picks.gather(&values, 0);
        }
        if wanted.severity {
            let severities = ScalarBuffer::from(std::mem::take(&mut columns.severities));
            rows.severities = self.picks.gather(&severities, 0);
        }
        if wanted.flags {
            let flags = ScalarBuffer::from(std::mem::take(&mut columns.flags));
            rows.flags = self.picks.gather(&flags, 0);
        }
        rows.places = self.picks.take_places();
        rows
    }
}
