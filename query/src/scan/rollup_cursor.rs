//! Reads rows of a segment's rollup: each stands for the rows of a series and hour.

use std::sync::Arc;

use arrow::buffer::ScalarBuffer;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use tidewatch_metrics::EventTime;
use tidewatch_segments::{LateHours, RollupColumns, RollupReader, Segment, SegmentsError};

use crate::scan::cursor::Wanted;
use crate::scan::rolled::Rolled;
use crate::scan::rows::Rows;
use crate::scan::series_index::NO_SERIES;

/// Bytes that a row of a rollup takes, decoded and picked.
const ROLLUP_ROW_BYTES: usize = 2 * 76;

/// Row groups of one rollup.
#[derive(Clone, Debug)]
pub(crate) struct RollupPart {
    pub(crate) segment: Arc<Segment>,
    /// In ascending order.
    pub(crate) groups: Vec<usize>,
    pub(crate) rolled: Arc<Rolled>,
}

/// Reads row groups of a rollup, and takes the hours that it answers.
#[derive(Debug)]
pub(crate) struct RollupCursor {
    reader: Option<RollupReader>,
    groups: std::vec::IntoIter<usize>,
    rolled: Arc<Rolled>,
    wanted: Wanted,
    columns: RollupColumns,
    memory: MemoryReservation,
}

impl RollupCursor {
    pub(crate) fn open(
        part: &RollupPart,
        wanted: Wanted,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let reader = part.segment.reader().map_err(|error| wanted.progress.failed(error))?;
        let reader = reader.rollup().map_err(|error| wanted.progress.rollup_failed(error))?;
        if reader.is_none() {
            // It was there when the scan was planned.
            let path = part.segment.meta().file.clone().into();
            let reason = "another query found its rollup damaged";
            let error = SegmentsError::Corrupt { path, offset: 0, reason };
            return Err(wanted.progress.rollup_failed(error).into());
        }
        Ok(Self {
            reader,
            groups: part.groups.clone().into_iter(),
            rolled: Arc::clone(&part.rolled),
            wanted,
            columns: RollupColumns::default(),
            memory,
        })
    }

    /// The next rows, at least one; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Rows>> {
        while let (Some(reader), Some(group)) = (&self.reader, self.groups.next()) {
            let meta = reader.groups().get(group);
            if meta.is_some_and(|meta| {
                self.wanted.is_settled(reader.series_range(group), meta.time_max)
            }) {
                continue;
            }
            let rows = meta.map_or(0, |meta| meta.rows);
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            self.memory.try_resize(rows.saturating_mul(ROLLUP_ROW_BYTES))?;
            let progress = &self.wanted.progress;
            let read = reader.read(group, &mut self.columns);
            let bytes = read.map_err(|error| progress.rollup_failed(error))?;
            progress.read_rollup(self.columns.len() as u64, bytes)?;
            let picked = self.pick();
            if !picked.places.is_empty() {
                return Ok(Some(picked));
            }
        }
        self.memory.free();
        Ok(None)
    }

    /// The rows of series that are asked for, in hours that the rollup answers.
    fn pick(&self) -> Rows {
        let (from, mut to) = (&self.columns, RollupColumns::default());
        let mut places = Vec::new();
        let rows = from.series.iter().zip(&from.first_times).enumerate();
        for (row, (series, time)) in rows {
            let place = self.wanted.index.place(*series);
            let hour = LateHours::hour_of(EventTime::new(*time));
            if place != NO_SERIES && self.rolled.takes(hour) {
                places.push(place);
                to.push_from(from, row);
            }
        }
        let times = ScalarBuffer::from(to.first_times.clone());
        Rows { places, times, rolled: Some(Box::new(to)), ..Rows::default() }
    }
}
