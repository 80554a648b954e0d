//! Rows of the output until they fill a row group.

use std::ops::Range;

use tidewatch_metrics::SeriesRef;

use crate::merge::input::RunColumns;

/// How many rows a row group has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupLimits {
    /// At most.
    pub(crate) rows_max: usize,
    /// At least, where it ends for the sake of a metric.
    pub(crate) rows_min: usize,
}

/// Rows in the order of a segment, at most those of a row group.
#[derive(Debug)]
pub(crate) struct Gather {
    limits: GroupLimits,
    runs: Vec<GatheredRun>,
    times: Vec<i64>,
    values: Vec<f64>,
    severities: Vec<u16>,
    flags: Vec<u8>,
    /// The series whose rows come next.
    next: GatheredRun,
    /// Row at which the metric of the last row begins.
    metric_start: usize,
}

/// The rows of one series, from the end of the run before it on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatheredRun {
    pub(crate) series: SeriesRef,
    pub(crate) metric: usize,
    end: usize,
}

impl Gather {
    pub(crate) fn new(limits: GroupLimits) -> Self {
        Self {
            limits,
            runs: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            severities: Vec::new(),
            flags: Vec::new(),
            next: GatheredRun { series: SeriesRef(0), metric: 0, end: 0 },
            metric_start: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.times.len()
    }

    /// Rows that still fit.
    pub(crate) fn room(&self) -> usize {
        self.limits.rows_max - self.rows()
    }

    /// The runs in their order, each with its rows.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (GatheredRun, Range<usize>)> + '_ {
        let starts = std::iter::once(0).chain(self.runs.iter().map(|run| run.end));
        self.runs.iter().zip(starts).map(|(run, start)| (*run, start..run.end))
    }

    pub(crate) fn columns(&self, rows: Range<usize>) -> RunColumns<'_> {
        RunColumns {
            times: &self.times[rows.clone()],
            values: &self.values[rows.clone()],
            severities: &self.severities[rows.clone()],
            flags: &self.flags[rows],
        }
    }

    /// Says of which series the next rows are.
    pub(crate) fn begin(&mut self, series: SeriesRef, metric: usize) {
        self.next = GatheredRun { series, metric, end: 0 };
    }

    /// Adds rows of the series that was begun; they fit.
    pub(crate) fn push(&mut self, rows: &RunColumns<'_>) {
        let start = self.rows();
        if self.runs.last().is_none_or(|last| last.metric != self.next.metric) {
            self.metric_start = start;
        }
        self.times.extend_from_slice(rows.times);
        self.values.extend_from_slice(rows.values);
        self.severities.extend_from_slice(rows.severities);
        self.flags.extend_from_slice(rows.flags);
        let end = self.rows();
        match self.runs.last_mut() {
            Some(last) if last.series == self.next.series => last.end = end,
            Some(_) | None => self.runs.push(GatheredRun { end, ..self.next }),
        }
    }

    /// How many rows make a row group, if no more fit before rows of `metric`.
    ///
    /// A metric that would cross the end of the group begins a group of its own, so that a query
    /// for it reads few rows of others.
    pub(crate) fn full_group(&self, metric: usize) -> Option<usize> {
        if self.room() > 0 {
            return None;
        }
        let crosses = self.runs.last().is_some_and(|last| last.metric == metric);
        let is_cut = crosses && self.metric_start >= self.limits.rows_min;
        Some(if is_cut { self.metric_start } else { self.rows() })
    }

    /// Removes the first `rows`, which are written; they end with a series, or are all.
    pub(crate) fn remove_front(&mut self, rows: usize) {
        self.runs.retain_mut(|run| {
            let stays = run.end > rows;
            run.end = run.end.saturating_sub(rows);
            stays
        });
        self.times.drain(..rows);
        self.values.drain(..rows);
        self.severities.drain(..rows);
        self.flags.drain(..rows);
        self.metric_start = 0;
    }
}
