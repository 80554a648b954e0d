use arrow::array::ArrayRef;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{Directory, HARD_VALUES, Row, catalog_of, rows_in, rows_of, sorted};
use crate::limits::{GROUP_ROWS_MAX, GROUP_ROWS_MIN};

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        proptest::sample::select(HARD_VALUES.to_vec()),
        any::<u64>().prop_map(f64::from_bits),
        (-1_000_000_i32..1_000_000).prop_map(f64::from),
        (-1_000_000_i32..1_000_000).prop_map(|n| f64::from(n) / 100.0),
        (-1_000_000_i32..1_000_000).prop_map(|n| f64::from(n) / 1000.0),
        (0_i32..1_000).prop_map(|n| f64::from(n) * 4096.0),
    ]
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        (-50_i64..50).prop_map(|s| s * 1_000_000_000),
        (-50_i64..50).prop_map(|us| us * 1_000),
        any::<i64>(),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    // One form of value for most series, so that all forms of columns occur.
    let row = (0_u32..6, times(), values(), any::<u16>(), any::<u8>());
    let mixed = row
        .prop_map(|(series, time, value, severity, flags)| Row {
            series,
            time,
            bits: value.to_bits(),
            severity,
            flags,
        })
        .boxed();
    let plain = (0_u32..6, -50_i64..50, -500_i32..500)
        .prop_map(|(series, time, n)| Row::new(series, time * 1_000_000, f64::from(n) / 100.0))
        .boxed();
    prop_oneof![
        proptest::collection::vec(mixed.clone(), 1..60),
        proptest::collection::vec(plain.clone(), 1..60),
        proptest::collection::vec(prop_oneof![mixed, plain], 1..60),
    ]
}

proptest! {
    #[test]
    fn rows_come_back_bit_for_bit_in_the_order_of_a_segment(rows in rows()) {
        let mut directory = Directory::new(1);
        directory.flush(&rows);
        prop_assert_eq!(directory.rows(), sorted(&directory.catalog, &rows));
        let meta = directory.segments()[0].meta().clone();
        prop_assert_eq!(meta.rows, rows.len() as u64);
        prop_assert_eq!(Some(meta.time_min.nanos()), rows.iter().map(|row| row.time).min());
        prop_assert_eq!(Some(meta.time_max.nanos()), rows.iter().map(|row| row.time).max());
        let late = rows.iter().filter(|row| row.flags & 1 == 1);
        prop_assert_eq!(meta.late_rows, late.clone().count() as u64);
        for row in late {
            let hour = crate::LateHours::hour_of(EventTime::new(row.time));
            prop_assert!(meta.late_hours.contains(hour));
        }
    }
}

#[test]
fn a_predicate_prunes_row_groups_and_loses_no_row() {
    let mut directory = Directory::new(2);
    directory.catalog = catalog_of(400);
    let rows = rows_of(0..400, 0..700);
    directory.flush(&rows);
    let segment = &directory.segments()[0];
    let reader = segment.reader().unwrap();
    assert!(reader.groups().len() >= 3, "280,000 rows take several groups");
    for group in reader.groups() {
        assert!(group.rows <= GROUP_ROWS_MAX as u64 && group.rows >= GROUP_ROWS_MIN as u64);
    }
    let all: BTreeSet<MetricName> = reader.groups().iter().map(|g| g.first.clone()).collect();
    assert_eq!(all.len(), reader.groups().len(), "a group begins with a metric of its own");
    for series in [0, 17, 399] {
        let key = directory.catalog.get(tidewatch_metrics::SeriesRef(series)).unwrap().key();
        let name = MetricName { db: key.db().to_owned(), metric: key.metric().to_owned() };
        let predicate = Predicate { metrics: Some([name].into()), ..Predicate::all() };
        let groups = reader.row_groups(&predicate);
        assert_eq!(groups.len(), 1, "a metric of 7,000 rows lies in one group");
        let mut columns = SegmentColumns::default();
        reader.read(groups[0], Projection::ALL, &mut columns).unwrap();
        let found = columns.series_ref.unwrap().values().iter().filter(|s| **s == series).count();
        assert_eq!(found, 700);
    }
    let late = Predicate {
        times: EventTime::new(700_000_000_000)..=EventTime::new(i64::MAX),
        ..Predicate::all()
    };
    assert_eq!(reader.row_groups(&late), [0_usize; 0]);
    assert_eq!(reader.row_groups(&Predicate::all()).len(), reader.groups().len());
    assert_eq!(rows_in(segment), sorted(&directory.catalog, &rows));
}

#[test]
fn a_series_larger_than_a_row_group_is_cut_and_stays_whole() {
    let mut directory = Directory::new(3);
    let rows = rows_of(3..5, 0..100_000);
    directory.flush(&rows);
    assert_eq!(directory.rows(), sorted(&directory.catalog, &rows));
    let segment = &directory.segments()[0];
    let reader = segment.reader().unwrap();
    assert!(reader.groups().iter().all(|group| group.first <= group.last));
    let rows: u64 = reader.groups().iter().map(|group| group.rows).sum();
    assert_eq!(rows, 200_000);
}

#[test]
fn only_the_columns_asked_for_are_decoded() {
    let mut directory = Directory::new(4);
    directory.flush(&rows_of(0..3, 0..4));
    let reader = directory.segments()[0].reader().unwrap();
    let mut columns = SegmentColumns::default();
    let none =
        Projection { series: false, time: false, value: false, severity: false, flags: false };
    reader.read(0, Projection { value: true, ..none }, &mut columns).unwrap();
    assert!(columns.value.is_some() && columns.time.is_none() && columns.series_ref.is_none());
    reader.read(0, none, &mut columns).unwrap();
    assert_eq!(columns.rows, 12);
    let missing = reader.read(1, none, &mut columns).unwrap_err();
    assert!(missing.is_corrupt(), "{missing}");
}

#[test]
fn a_row_with_neither_value_nor_digits_is_damage() {
    let plain: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
    let digits: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![None, Some(7)]));
    let scales = |scale| -> ArrayRef { Arc::new(Float64Array::from(vec![None, scale])) };
    let good = super::values(&plain, &digits, &scales(Some(2.0))).unwrap();
    assert_eq!(good.values().to_vec(), [1.5, 3.5]);
    assert!(super::values(&plain, &digits, &scales(None)).is_none());
}

#[test]
fn the_coarsest_exact_unit_of_time_is_stored() {
    for (time, unit) in [
        (3_000_000_000, TimeUnit::Millisecond),
        (3_000_001_000, TimeUnit::Microsecond),
        (3_000_000_001, TimeUnit::Nanosecond),
    ] {
        let mut directory = Directory::new(5);
        directory.flush(&[Row::new(1, 0, 1.0), Row::new(1, time, 1.0)]);
        let reader = directory.segments()[0].reader().unwrap();
        let field = reader.footer.arrow.schema().field_with_name("time").unwrap().clone();
        assert_eq!(*field.data_type(), DataType::Timestamp(unit, Some(UTC.into())), "{time}");
        assert_eq!(directory.rows()[1].time, time);
    }
}
