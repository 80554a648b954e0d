use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Rows of one series: time, value, flags.
type Rows = Vec<(i64, f64, u8)>;

fn rows() -> impl Strategy<Value = Rows> {
    let value = prop_oneof![
        6 => (-1_000_i32..1_000).prop_map(|n| f64::from(n) / 8.0),
        1 => Just(f64::NAN),
        1 => Just(-0.0),
        1 => Just(0.0),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
    ];
    let late = prop_oneof![60 => Just(0_u8), 1 => Just(Flags::LATE.bits())];
    let time = (-3_i64..4, 0_i64..HOUR_NANOS).prop_map(|(hour, nanos)| hour * HOUR_NANOS + nanos);
    proptest::collection::vec((time, value, late), 0..60).prop_map(|mut rows| {
        rows.sort_by_key(|(time, ..)| *time);
        rows
    })
}

/// What the rows of each series and hour come to, by plain comparison; without hours with late rows.
fn naive(all: &[Rows]) -> Vec<RollupRow> {
    let mut hours: BTreeMap<(usize, i64), Rows> = BTreeMap::new();
    for (series, rows) in all.iter().enumerate() {
        for row in rows {
            hours.entry((series, row.0.div_euclid(HOUR_NANOS))).or_default().push(*row);
        }
    }
    hours.retain(|_, rows| rows.iter().all(|row| !Flags::from_bits(row.2).is_late()));
    let row = |((series, _), rows): ((usize, i64), Rows)| {
        let values: Vec<f64> = rows.iter().map(|row| row.1).filter(|v| !v.is_nan()).collect();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        RollupRow {
            series: u32::try_from(series).unwrap(),
            rows: i64::try_from(rows.len()).unwrap(),
            values: i64::try_from(values.len()).unwrap(),
            sum: values.iter().copied().reduce(|sum, value| sum + value).unwrap_or(0.0),
            min: sorted.first().copied().unwrap_or(0.0),
            max: sorted.last().copied().unwrap_or(0.0),
            first: rows.first().unwrap().1,
            last: rows.last().unwrap().1,
            first_time: rows.first().unwrap().0,
            last_time: rows.last().unwrap().0,
        }
    };
    hours.into_iter().map(row).collect()
}

proptest! {
    #[test]
    fn a_row_is_what_the_rows_of_its_series_and_hour_come_to_however_they_are_cut(
        all in proptest::collection::vec(rows(), 1..5),
        piece in 1_usize..50,
    ) {
        let mut builder = RollupBuilder::default();
        for (series, rows) in all.iter().enumerate() {
            for rows in rows.chunks(piece) {
                builder.push(&SeriesHourRows {
                    series: u32::try_from(series).unwrap(),
                    metric: series / 2,
                    times: &rows.iter().map(|row| row.0).collect::<Vec<_>>(),
                    values: &rows.iter().map(|row| row.1).collect::<Vec<_>>(),
                    flags: &rows.iter().map(|row| row.2).collect::<Vec<_>>(),
                });
            }
        }
        prop_assert!(builder.full_group().is_none());
        let mut expected = RollupColumns::default();
        naive(&all).iter().for_each(|row| expected.push(row));
        match builder.last_group() {
            None => prop_assert!(expected.is_empty()),
            Some(group) => {
                prop_assert!(group.columns.is_same(&expected), "{:?}\n{expected:?}", group.columns);
                let metric = |series: Option<&u32>| *series.unwrap() as usize / 2;
                let ends = (expected.series.first(), expected.series.last());
                prop_assert_eq!(group.metrics, (metric(ends.0), metric(ends.1)));
            }
        }
    }
}
