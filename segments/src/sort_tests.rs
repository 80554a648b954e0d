use tidewatch_env::Rng;
use tidewatch_metrics::Lsn;

use super::*;
use crate::fixtures::{Row, append, catalog_of, rows_of, sorted};
use crate::head::Head;
use crate::limits::CHUNK_ROWS;

#[test]
fn counting_gives_the_order_that_comparing_gives() {
    let mut rng = Rng::from_seed(3);
    let catalog = catalog_of(57);
    let (mut head, _) = Head::new();
    let mut views = Vec::new();
    let mut all = Vec::new();
    // Two frozen heads, the first of more than one chunk, and few times, so that many are equal.
    for (lsn, count) in [(1, CHUNK_ROWS + 1_000), (2, 5_000)] {
        let row = |number: usize| {
            let series = u32::try_from(rng.below(57)).unwrap();
            Row::new(series, i64::try_from(rng.below(50)).unwrap(), number as f64)
        };
        let rows: Vec<Row> = (0..count).map(row).collect();
        append(&mut head, &rows);
        head.publish(Lsn::new(lsn));
        views.push(head.freeze().unwrap().view());
        all.extend(rows);
    }
    let source = RowSource::new(&views);
    let order = SortedRows::of(&source, &catalog).unwrap();
    let values = order.rows.iter().map(|row| row.value.to_bits());
    let expected = sorted(&catalog, &all);
    assert!(values.eq(expected.iter().map(|row| row.bits)));
    let by_runs = order.metrics.iter().flat_map(|metric| &order.runs[metric.start..metric.end]);
    let by_runs = by_runs.flat_map(|run| std::iter::repeat_n(run.series.0, run.end - run.start));
    assert!(by_runs.eq(expected.iter().map(|row| row.series)));
}

#[test]
fn rows_of_unknown_series_are_counted_and_refused() {
    let (mut head, _) = Head::new();
    append(&mut head, &rows_of(0..12, 0..3));
    head.publish(Lsn::new(1));
    let view = head.freeze().unwrap().view();
    let refused = SortedRows::of(&RowSource::new(&[view]), &catalog_of(10)).unwrap_err();
    assert!(matches!(refused, SegmentsError::UnknownSeries { rows: 6 }), "{refused}");
}
