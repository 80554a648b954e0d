use arrow::array::TimestampNanosecondArray;

use super::*;

fn points(measure: Measure) -> Points {
    Points { measure, curve: Curve::default() }
}

fn batch(rows: &[(Option<i64>, Option<f64>)]) -> [ArrayRef; 2] {
    let times: TimestampNanosecondArray = rows.iter().map(|(time, _)| *time).collect();
    let values: Float64Array = rows.iter().map(|(_, value)| *value).collect();
    [Arc::new(values), Arc::new(times)]
}

#[test]
fn parts_whose_times_overlap_come_to_what_all_rows_come_to() {
    let rows: Vec<_> = (0..500_i64)
        .map(|i| {
            let time = i * 7 % 500 * 1_000_000_000;
            (Some(time), Some(f64::from(u8::try_from(i * 31 % 97).unwrap())))
        })
        .collect();
    for measure in [Measure::Increase, Measure::Rate, Measure::Integral] {
        let mut whole = points(measure);
        whole.update_batch(&batch(&rows)).unwrap();
        let expected = whole.evaluate().unwrap();
        for parts in [1, 2, 3, 7] {
            let mut merged = points(measure);
            for part in 0..parts {
                let mut one = points(measure);
                let of_part: Vec<_> = rows.iter().copied().skip(part).step_by(parts).collect();
                for rows in of_part.chunks(11) {
                    one.update_batch(&batch(rows)).unwrap();
                }
                // Twice: a state that is handed on leaves nothing out and counts nothing twice.
                for _ in 0..2 {
                    let state = one.state().unwrap();
                    let state: Vec<_> = state.iter().map(|s| s.to_array().unwrap()).collect();
                    merged.merge_batch(&state).unwrap();
                }
            }
            assert_eq!(merged.evaluate().unwrap(), expected, "{measure:?} in {parts} parts");
        }
    }
}

#[test]
fn rows_without_value_or_time_are_passed_over() {
    let mut some = points(Measure::Increase);
    let rows = [(Some(1), None), (None, Some(9.0)), (Some(2), Some(f64::NAN))];
    some.update_batch(&batch(&rows)).unwrap();
    assert_eq!(some.evaluate().unwrap(), ScalarValue::Float64(None));
    some.update_batch(&batch(&[(Some(3), Some(1.0)), (Some(4), Some(3.0))])).unwrap();
    assert_eq!(some.evaluate().unwrap(), ScalarValue::Float64(Some(2.0)));
}

#[test]
fn the_memory_of_all_points_is_told() {
    let mut some = points(Measure::Rate);
    let rows: Vec<_> = (0..10_000).map(|time| (Some(time), Some(1.0))).collect();
    some.update_batch(&batch(&rows)).unwrap();
    assert!(some.size() >= 160_000, "{}", some.size());
}
