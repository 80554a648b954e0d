//! What a detector says of a series.

use tidewatch_operators::{Judgement, SeriesDetector};

use crate::series::Series;

/// Replaces `rows` by what `detector` says of the series, as it is stored, a row for a row.
///
/// Late rows, those not later than the one before them in order, touch no state, as in the server; they and rows without a
/// value are [not scored](Judgement::NOT_SCORED).
pub fn score_series(detector: &mut SeriesDetector, series: &Series, rows: &mut Vec<Judgement>) {
    rows.clear();
    rows.reserve(series.len());
    let columns = series.times().iter().zip(series.values());
    let judge = |(time, value): (&_, &_)| detector.observe(*time, *value);
    rows.extend(columns.map(judge).map(|judged| judged.unwrap_or(Judgement::NOT_SCORED)));
}
