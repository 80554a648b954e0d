//! Rows of tables as records.

use tidewatch_metrics::SeriesKey;
use tidewatch_operators::ClosedWindow;
use tidewatch_segments::LetterRow;
use tidewatch_sinks::{ClosedPercentiles, DeadMessage, FeedRecord, ScoredSample};

use crate::feeds::row::ScoredRow;

pub(crate) fn of_scored(key: &SeriesKey, row: &ScoredRow) -> FeedRecord {
    let ScoredRow { time, value, severity, flags, .. } = *row;
    ScoredSample { key, time, value, severity, flags }.record()
}

pub(crate) fn of_window(window: &ClosedWindow) -> FeedRecord {
    let quantiles = window.rule.quantiles().iter().map(|q| (*q, window.sketch.quantile(*q)));
    let quantiles: Vec<_> = quantiles.collect();
    let told = ClosedPercentiles {
        db: window.db(),
        name: window.rule.name(),
        labels: &window.labels(),
        start: window.start,
        end: window.end,
        revision: window.revision,
        quantiles: &quantiles,
        count: window.sketch.count(),
    };
    told.record()
}

pub(crate) fn of_letter(row: &LetterRow) -> FeedRecord {
    let letter = &row.letter;
    let told = DeadMessage {
        source: &row.source,
        topic: &row.topic,
        topic_id: row.topic_id,
        partition: row.partition,
        offset: letter.offset,
        time: letter.time,
        reason: &letter.reason,
        key: letter.key.as_deref(),
        payload: &letter.payload,
        bytes: letter.bytes,
    };
    told.record()
}
