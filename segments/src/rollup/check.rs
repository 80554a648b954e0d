//! Compares a rollup with what the rows come to.

use tidewatch_metrics::EventTime;

use crate::error::SegmentsError;
use crate::file_meta::MetricName;
use crate::reader::SegmentColumns;
use crate::rollup::builder::{RollupBuilder, RollupGroup, SeriesHourRows};
use crate::rollup::columns::RollupColumns;
use crate::rollup::reader::RollupReader;

/// Compares a rollup with the rows of its segment, which are added in their order.
#[derive(Debug)]
pub(crate) struct RollupCheck {
    reader: RollupReader,
    builder: RollupBuilder,
    next_group: usize,
    is_good: bool,
}

impl RollupCheck {
    pub(crate) fn new(reader: RollupReader) -> Self {
        Self { reader, builder: RollupBuilder::default(), next_group: 0, is_good: true }
    }

    /// Adds a row group of the segment, with all columns; `rank` tells the metric of a series.
    ///
    /// # Errors
    /// As [`RollupReader::read`].
    pub(crate) fn add(
        &mut self,
        rows: &SegmentColumns,
        rank: impl Fn(u32) -> usize,
        name: impl Fn(usize) -> Option<MetricName>,
    ) -> Result<(), SegmentsError> {
        let columns = (&rows.series_ref, &rows.time, &rows.value, &rows.flags);
        let (Some(series), Some(times), Some(values), Some(flags)) = columns else { return Ok(()) };
        let mut from = 0;
        for of_series in series.values().chunk_by(|one, other| one == other) {
            let Some(first) = of_series.first() else { continue };
            let to = from + of_series.len();
            self.builder.push(&SeriesHourRows {
                series: *first,
                metric: rank(*first),
                times: &times.values()[from..to],
                values: &values.values()[from..to],
                flags: &flags.values()[from..to],
            });
            while let Some(group) = self.builder.full_group() {
                self.compare(&group, &name)?;
            }
            from = to;
        }
        Ok(())
    }

    /// Whether the rollup says what the rows come to, and has `rows` rows.
    ///
    /// # Errors
    /// As [`RollupReader::read`].
    pub(crate) fn finish(
        mut self,
        rows: u64,
        name: impl Fn(usize) -> Option<MetricName>,
    ) -> Result<bool, SegmentsError> {
        if let Some(group) = self.builder.last_group() {
            self.compare(&group, &name)?;
        }
        let groups = self.reader.groups();
        let all: u64 = groups.iter().map(|group| group.rows).sum();
        Ok(self.is_good && self.next_group == groups.len() && all == rows)
    }

    fn compare(
        &mut self,
        group: &RollupGroup,
        name: impl Fn(usize) -> Option<MetricName>,
    ) -> Result<(), SegmentsError> {
        let Some(meta) = self.reader.groups().get(self.next_group) else {
            self.is_good = false;
            return Ok(());
        };
        let mut stored = RollupColumns::default();
        self.reader.read(self.next_group, &mut stored)?;
        let time = |time: Option<&i64>| time.copied().map(EventTime::new);
        self.is_good &= stored.is_same(&group.columns)
            && (name(group.metrics.0).as_ref(), name(group.metrics.1).as_ref())
                == (Some(&meta.first), Some(&meta.last))
            && time(group.columns.first_times.iter().min()) == Some(meta.time_min)
            && time(group.columns.last_times.iter().max()) == Some(meta.time_max);
        self.next_group += 1;
        Ok(())
    }
}
