//! Rows as queries see them.

use tidewatch_metrics::SeriesRef;
use tidewatch_segments::{HeadColumns, HeadView, Projection, SegmentColumns, Snapshot};

use crate::EngineError;
use crate::lab::script::SentRow;

/// A stored row: what was sent, and what the operators said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredRow {
    pub(super) sent: SentRow,
    pub(super) severity: u16,
    pub(super) flags: u8,
}

/// All rows of a snapshot, sorted.
pub(super) fn rows_of(snapshot: &Snapshot) -> Result<Vec<StoredRow>, EngineError> {
    let mut rows = Vec::new();
    let mut put = |series: u32, sent: (i64, u64), severity: u16, flags: u8| {
        let entry = snapshot.catalog.get(SeriesRef(series));
        let series = entry.map(|entry| entry.id).unwrap_or_default();
        let sent = SentRow { series, time: sent.0, bits: sent.1 };
        rows.push(StoredRow { sent, severity, flags });
    };
    for chunk in snapshot.heads.iter().flat_map(HeadView::chunks) {
        let mut columns = HeadColumns::default();
        chunk.copy(0..chunk.rows(), &mut columns);
        for row in 0..columns.len() {
            let sent = (columns.times[row], columns.values[row].to_bits());
            put(columns.series[row], sent, columns.severities[row], columns.flags[row]);
        }
    }
    let mut columns = SegmentColumns::default();
    for segment in &snapshot.segments {
        let reader = segment.reader()?;
        for group in 0..reader.groups().len() {
            reader.read(group, Projection::ALL, &mut columns)?;
            let series = columns.series_ref.as_ref().expect("all columns are read");
            let times = columns.time.as_ref().expect("all columns are read");
            let values = columns.value.as_ref().expect("all columns are read");
            let severities = columns.severity.as_ref().expect("all columns are read");
            let flags = columns.flags.as_ref().expect("all columns are read");
            for row in 0..columns.rows {
                let sent = (times.value(row), values.value(row).to_bits());
                put(series.value(row), sent, severities.value(row), flags.value(row));
            }
        }
    }
    rows.sort_unstable();
    Ok(rows)
}
