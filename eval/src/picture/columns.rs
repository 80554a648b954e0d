//! Rows by columns of pixels, so that a picture of a million rows is as small as one of a thousand.

use tidewatch_metrics::{EventTime, Severity};
use tidewatch_operators::Judgement;

use crate::series::Series;

/// Gaps this many times as long as usual, and this many columns wide, break a line.
const GAP_INTERVALS: i128 = 8;
const GAP_COLUMNS: usize = 3;

/// The first, least, greatest and last number of a column, in the order of their rows.
///
/// A line through them covers every row's pixel: no spike is lost. Source: Jugel, Jerzak, Hackenbroich and Markl, "M4: a
/// visualization-oriented time series data aggregation" (2014).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extent {
    first: f64,
    least: f64,
    greatest: f64,
    last: f64,
    least_is_first: bool,
    is_some: bool,
}

impl Extent {
    pub(super) fn add(&mut self, number: f64) {
        if !number.is_finite() {
            return;
        }
        if !self.is_some {
            let least_is_first = true;
            *self = Self {
                first: number,
                least: number,
                greatest: number,
                last: number,
                least_is_first,
                is_some: true,
            };
            return;
        }
        self.last = number;
        if number < self.least {
            self.least = number;
            self.least_is_first = false;
        } else if number > self.greatest {
            self.greatest = number;
            self.least_is_first = true;
        }
    }

    pub(super) fn is_some(&self) -> bool {
        self.is_some
    }

    pub(super) fn least(&self) -> f64 {
        self.least
    }

    pub(super) fn greatest(&self) -> f64 {
        self.greatest
    }

    /// Its numbers in the order of a line, each once where they are equal; none where there is none.
    pub(super) fn line(&self) -> impl Iterator<Item = f64> + use<> {
        let (a, b) = if self.least_is_first {
            (self.least, self.greatest)
        } else {
            (self.greatest, self.least)
        };
        let mut before: Option<f64> = None;
        let numbers =
            [self.first, a, b, self.last].into_iter().take(if self.is_some { 4 } else { 0 });
        numbers.filter(move |number| {
            before.replace(*number).is_none_or(|b| b.to_bits() != number.to_bits())
        })
    }
}

/// One column of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Column {
    /// Whether it has rows, with a value or without.
    pub(super) has_rows: bool,
    /// Whether the line ends before this column.
    pub(super) breaks: bool,
    pub(super) value: Extent,
    pub(super) expected: Extent,
    /// The lower ends of the band.
    pub(super) lower: Extent,
    /// The upper ends of the band.
    pub(super) upper: Extent,
    /// The greatest severity, and the value of its row.
    pub(super) severity: Severity,
    pub(super) severe_value: f64,
    /// The greatest onset severity.
    pub(super) onset: Severity,
    /// Whether a row is labelled.
    pub(super) labelled: bool,
}

/// The range of time of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Span {
    /// From the first to the last time, and never nothing.
    pub(super) fn of(times: &[EventTime]) -> Self {
        let nanos = || times.iter().map(|time| time.nanos());
        let (from, to) = (nanos().min().unwrap_or_default(), nanos().max().unwrap_or_default());
        if from < to {
            Self { from, to }
        } else {
            Self { from, to: from.saturating_add(1_000_000_000) }
        }
    }

    /// Where a time is, between 0 and 1.
    pub(super) fn place(self, nanos: i64) -> f64 {
        let distance = |to: i64| (i128::from(to) - i128::from(self.from)) as f64;
        let whole = distance(self.to);
        if whole > 0.0 { (distance(nanos) / whole).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The column of a time, of so many.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and columns"
    )]
    pub(super) fn column(self, nanos: i64, columns: usize) -> usize {
        ((self.place(nanos) * columns as f64) as usize).min(columns.saturating_sub(1))
    }
}

/// The rows by columns; `windows` are ranges of rows.
pub(super) fn columns(
    series: &Series,
    rows: &[Judgement],
    windows: &[std::ops::Range<usize>],
    (span, count): (Span, usize),
) -> Vec<Column> {
    let mut columns = vec![Column::default(); count];
    for ((time, value), row) in series.times().iter().zip(series.values()).zip(rows) {
        let column = &mut columns[span.column(time.nanos(), count)];
        column.has_rows = true;
        column.value.add(*value);
        column.expected.add(row.expected);
        column.lower.add(row.lower);
        column.upper.add(row.upper);
        if row.severity > column.severity {
            column.severity = row.severity;
            column.severe_value = *value;
        }
        column.onset = column.onset.max(row.onset_severity());
    }
    label(&mut columns, series, windows, span);
    mark_gaps(&mut columns, series.times(), span);
    columns
}

/// All columns from a window's first row to its last one.
fn label(columns: &mut [Column], series: &Series, windows: &[std::ops::Range<usize>], span: Span) {
    let count = columns.len();
    for window in windows {
        let times = series.times().get(window.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (times.first(), times.last()) else { continue };
        let (from, to) = (span.column(first.nanos(), count), span.column(last.nanos(), count));
        for column in columns.iter_mut().take(to.max(from) + 1).skip(from.min(to)) {
            column.labelled = true;
        }
    }
}

/// A line ends where nothing came for long, and where rows have no value.
fn mark_gaps(columns: &mut [Column], times: &[EventTime], span: Span) {
    let mut gaps: Vec<i128> = times
        .windows(2)
        .map(|pair| i128::from(pair[1].nanos()) - i128::from(pair[0].nanos()))
        .filter(|gap| *gap > 0)
        .collect();
    let usual = match gaps.len() {
        0 => 0,
        count => *gaps.select_nth_unstable(count / 2).1,
    };
    let whole = i128::from(span.to) - i128::from(span.from);
    let allowed = GAP_INTERVALS * usual * i128::try_from(columns.len()).unwrap_or(1) / whole.max(1);
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).max(GAP_COLUMNS);
    let mut empty = 0;
    for column in columns {
        if column.value.is_some() {
            column.breaks = empty > allowed || empty == usize::MAX;
            empty = 0;
        } else if column.has_rows {
            // Rows were there and had no value.
            empty = usize::MAX;
        } else {
            empty = empty.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_every_extreme_in_order() {
        let line = |numbers: &[f64]| -> Vec<f64> {
            let mut extent = Extent::default();
            numbers.iter().for_each(|number| extent.add(*number));
            extent.line().collect()
        };
        assert_eq!(line(&[]), Vec::<f64>::new());
        assert_eq!(line(&[f64::NAN, 3.0, f64::INFINITY]), vec![3.0]);
        assert_eq!(line(&[3.0, 1.0, 2.0, 9.0, 4.0]), vec![3.0, 1.0, 9.0, 4.0]);
        assert_eq!(line(&[3.0, 9.0, 2.0, 1.0, 4.0]), vec![3.0, 9.0, 1.0, 4.0]);
        assert_eq!(line(&[1.0, 2.0]), vec![1.0, 2.0]);
    }

    #[test]
    fn a_line_breaks_where_nothing_came_and_where_nothing_was_measured() {
        let mut series = Series::default();
        for minute in (0..100).chain(160..200_i64) {
            let value = if (50..60).contains(&minute) { f64::NAN } else { 1.0 };
            series.push(EventTime::new(minute * 60_000_000_000), value, "");
        }
        let span = Span::of(series.times());
        let rows = vec![Judgement::NOT_SCORED; series.len()];
        let columns = columns(&series, &rows, &[10..20, 30..40], (span, 200));
        let breaks: Vec<_> = (0..200).filter(|column| columns[*column].breaks).collect();
        assert_eq!(breaks.len(), 2, "{breaks:?}");
        assert!((60..63).contains(&breaks[0]) && (160..163).contains(&breaks[1]), "{breaks:?}");
        let labelled = columns.iter().filter(|column| column.labelled).count();
        assert!((18..=22).contains(&labelled), "{labelled}");
    }
}
