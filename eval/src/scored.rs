//! What a detector says of a series.

use tidewatch_metrics::{Channel, Flags, Severity};
use tidewatch_operators::{Judgement, SeriesDetector};

use crate::series::Series;

/// What a detector says of one row, as it is stored: severities have steps of 1/64, and are 0 below 0.5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredRow {
    /// What was expected before the row; NaN where nothing was.
    pub expected: f64,
    /// The lower end of the band of healthy samples; NaN where nothing was expected.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// How unlikely the row was; 0 where it was not scored.
    pub severity: Severity,
    flags: Flags,
}

impl ScoredRow {
    /// A row that is not scored: not later than the one before it, or without a value.
    const NOT_SCORED: Self = Self {
        expected: f64::NAN,
        lower: f64::NAN,
        upper: f64::NAN,
        severity: Severity::ZERO,
        flags: Flags::NONE,
    };

    /// The severity where it is an onset, 0 elsewhere.
    #[must_use]
    pub fn onset_severity(&self) -> Severity {
        if self.flags.is_onset() { self.severity } else { Severity::ZERO }
    }

    /// The channel that fired.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.flags.channel()
    }
}

impl From<Option<Judgement>> for ScoredRow {
    fn from(judged: Option<Judgement>) -> Self {
        let Some(judged) = judged else { return Self::NOT_SCORED };
        let Judgement { expected, lower, upper, severity, flags } = judged;
        Self { expected, lower, upper, severity, flags }
    }
}

/// Replaces `rows` by what `detector` says of the series, a row for a row.
///
/// Late rows, those not later than the one before them in order, touch no state, as in the server.
pub fn score_series(detector: &mut SeriesDetector, series: &Series, rows: &mut Vec<ScoredRow>) {
    rows.clear();
    rows.reserve(series.len());
    let columns = series.times().iter().zip(series.values());
    rows.extend(columns.map(|(time, value)| ScoredRow::from(detector.observe(*time, *value))));
}
