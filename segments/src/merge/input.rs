//! One segment that is merged, read row group by row group.

use std::ops::Range;

use arrow::datatypes::TimeUnit;
use tidewatch_metrics::SeriesRef;

use crate::error::SegmentsError;
use crate::merge::kept::next_kept;
use crate::merge::order::SeriesOrder;
use crate::merge::run::ErasedTimes;
use crate::reader::{Projection, SegmentColumns, SegmentReader};
use crate::segment::Segment;

/// A segment's rows from front to back, one decoded row group at a time.
#[derive(Debug)]
pub(crate) struct Input {
    reader: SegmentReader,
    columns: SegmentColumns,
    next_group: usize,
    /// Rows of the decoded group that belong to the series at `place` and have not been passed.
    run: Range<usize>,
    /// The first rows of `run` that are taken over; empty before [`Input::begin`].
    kept: Range<usize>,
    place: Option<u32>,
    series: SeriesRef,
    /// Time of the last row of `run`, or of the run before.
    last_time: i64,
    erased: Vec<ErasedTimes>,
    /// Rows passed over because they are erased.
    pub(crate) rows_erased: u64,
}

/// Rows of one series in columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunColumns<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) severities: &'a [u16],
    pub(crate) flags: &'a [u8],
}

impl RunColumns<'_> {
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        Self {
            times: &self.times[rows.clone()],
            values: &self.values[rows.clone()],
            severities: &self.severities[rows.clone()],
            flags: &self.flags[rows],
        }
    }
}

impl Input {
    /// Opens the segment and decodes its first row group.
    pub(crate) fn open(segment: &Segment, order: &SeriesOrder) -> Result<Self, SegmentsError> {
        let mut input = Self {
            reader: segment.reader()?,
            columns: SegmentColumns::default(),
            next_group: 0,
            run: 0..0,
            kept: 0..0,
            place: None,
            series: SeriesRef(0),
            last_time: i64::MIN,
            erased: Vec::new(),
            rows_erased: 0,
        };
        input.find_run(order)?;
        Ok(input)
    }

    pub(crate) fn time_unit(&self) -> Result<TimeUnit, SegmentsError> {
        self.reader.time_unit()
    }

    /// The place in the order of the series that is next; `None` at the end.
    pub(crate) fn place(&self) -> Option<u32> {
        self.place
    }

    pub(crate) fn series(&self) -> SeriesRef {
        self.series
    }

    /// Begins the next series, without the rows at `erased` times.
    pub(crate) fn begin(
        &mut self,
        erased: Vec<ErasedTimes>,
        order: &SeriesOrder,
    ) -> Result<(), SegmentsError> {
        self.erased = erased;
        self.find_kept(order)
    }

    /// The next rows of the series that was begun, as far as they are decoded; empty once all of
    /// them are taken.
    pub(crate) fn rows(&self) -> RunColumns<'_> {
        let rows = self.kept.clone();
        RunColumns {
            times: &self.times()[rows.clone()],
            values: &column(self.columns.value.as_ref().map(|array| &array.values()[..]))
                [rows.clone()],
            severities: &column(self.columns.severity.as_ref().map(|array| &array.values()[..]))
                [rows.clone()],
            flags: &column(self.columns.flags.as_ref().map(|array| &array.values()[..]))[rows],
        }
    }

    /// Passes over the first `count` of [`Input::rows`].
    pub(crate) fn take(&mut self, count: usize, order: &SeriesOrder) -> Result<(), SegmentsError> {
        self.kept.start += count;
        self.run.start = self.kept.start;
        if self.kept.is_empty() { self.find_kept(order) } else { Ok(()) }
    }

    /// Finds the next rows of the series that are taken over, in this row group or the next ones.
    fn find_kept(&mut self, order: &SeriesOrder) -> Result<(), SegmentsError> {
        let place = self.place;
        while self.place == place {
            self.kept = next_kept(self.times(), self.run.clone(), &self.erased);
            self.rows_erased += (self.kept.start - self.run.start) as u64;
            self.run.start = self.kept.start;
            if !self.kept.is_empty() {
                return Ok(());
            }
            self.find_run(order)?;
        }
        self.kept = self.run.start..self.run.start;
        Ok(())
    }

    /// Finds the rows of the next series, or the next row group's of the same one.
    fn find_run(&mut self, order: &SeriesOrder) -> Result<(), SegmentsError> {
        let mut start = self.run.end;
        if start == self.columns.rows {
            if self.next_group == self.reader.groups().len() {
                self.place = None;
                self.run = start..start;
                return Ok(());
            }
            self.reader.read(self.next_group, Projection::ALL, &mut self.columns)?;
            self.next_group += 1;
            start = 0;
        }
        let series = column(self.columns.series_ref.as_ref().map(|array| &array.values()[..]));
        let Some(first) = series.get(start) else {
            return Err(self.corrupt("a row group has no rows"));
        };
        let rows = series[start..].iter().take_while(|other| *other == first).count();
        self.series = SeriesRef(*first);
        let place = order.place(self.series).ok_or(SegmentsError::UnknownSeries { rows })?;
        // Rows that are out of order would be lost to every reader that trusts the row groups.
        if self.place.is_some_and(|last| last > place) {
            return Err(self.corrupt("series are out of order"));
        }
        let is_fresh = self.place != Some(place);
        self.place = Some(place);
        self.run = start..start + rows;
        let times = &self.times()[self.run.clone()];
        let continues = is_fresh || times.first().is_none_or(|time| *time >= self.last_time);
        if !continues || !times.is_sorted() {
            return Err(self.corrupt("times of a series are out of order"));
        }
        self.last_time = times.last().copied().unwrap_or_default();
        Ok(())
    }

    fn times(&self) -> &[i64] {
        column(self.columns.time.as_ref().map(|array| &array.values()[..]))
    }

    fn corrupt(&self, reason: &'static str) -> SegmentsError {
        let group = self.reader.groups().get(self.next_group.saturating_sub(1));
        self.reader.corrupt(group.map_or(0, |group| group.offset), reason)
    }
}

/// A column that was asked for, empty before the first row group.
fn column<T>(column: Option<&[T]>) -> &[T] {
    column.unwrap_or_default()
}
