use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use tidewatch_env::{Disk, OpenMode, Rng};
use tidewatch_metrics::{EventTime, Flags, SeriesRef};

use super::*;
use crate::file_meta::FileMeta;
use crate::fixtures::{Directory, Row, rows_in};
use crate::merge::{Erase, Merge, Merged, merge};
use crate::rollup::RollupCheck;
use crate::segment::Segment;
use crate::{MetricName, Projection, SegmentColumns};

const HOUR: i64 = 3_600_000_000_000;

/// Erases the hours from 5 to 6 of every series.
#[derive(Debug)]
struct SomeHours;

impl Erase for SomeHours {
    fn times(&self, _input: usize, _series: SeriesRef) -> Vec<RangeInclusive<EventTime>> {
        vec![EventTime::new(5 * HOUR)..=EventTime::new(7 * HOUR - 1)]
    }
}

/// Merges all segments, and names the file as the manifest would.
fn merged(directory: &Directory) -> Segment {
    let inputs: Vec<_> = directory.segments().into_iter().map(Arc::new).collect();
    let (disk, catalog) = (directory.shared_disk(), &directory.catalog);
    let input = Merge { inputs: &inputs, catalog, erase: &SomeHours, pace: &mut |_rows| true };
    let Merged::Segment { sealed, meta, .. } = merge(&*disk, directory.dir(), input).unwrap()
    else {
        panic!("rows are left");
    };
    let file = "samples-00000000000000000099.parquet".to_owned();
    sealed.rename(&*disk, directory.dir(), &file).unwrap();
    let meta = Arc::new(FileMeta { file, ..*meta });
    Segment::open(disk, directory.dir(), meta)
}

/// Rows of each series every so many seconds, with some gaps, over some hours; a few are late.
fn rows_every(seconds: i64, series: u32, hours: RangeInclusive<i64>, rng: &mut Rng) -> Vec<Row> {
    let mut rows = Vec::new();
    for hour in hours {
        for second in (0..3_600).step_by(usize::try_from(seconds).unwrap()) {
            for series in 0..series {
                if rng.below(10) > 0 {
                    let time = (hour * 3_600 + second) * 1_000_000_000;
                    let value = rng.below(9_000) as f64 / 10.0;
                    let flags = if rng.below(2_000) == 0 { Flags::LATE.bits() } else { 0 };
                    rows.push(Row { flags, ..Row::new(series, time, value) });
                }
            }
        }
    }
    rows
}

fn directory() -> Directory {
    let (mut directory, mut rng) = (Directory::new(1), Rng::from_seed(3));
    directory.flush(&rows_every(30, 31, 0..=3, &mut rng));
    directory.flush(&rows_every(30, 31, 4..=9, &mut rng));
    directory
}

fn path(directory: &Directory, segment: &Segment) -> PathBuf {
    directory.dir().join(&segment.meta().file)
}

#[test]
fn a_merged_segment_has_the_rollup_of_its_rows_beside_them() {
    let directory = directory();
    assert!(directory.segments().iter().all(|flushed| flushed.meta().rollup_rows == 0));
    let segment = merged(&directory);
    let mut expected: BTreeMap<(u32, i64), (i64, f64, bool)> = BTreeMap::new();
    for row in rows_in(&segment) {
        let hour = expected.entry((row.series, row.time.div_euclid(HOUR))).or_default();
        hour.0 += 1;
        hour.1 += f64::from_bits(row.bits);
        hour.2 |= Flags::from_bits(row.flags).is_late();
    }
    assert!(expected.keys().all(|(_, hour)| *hour != 5), "erased rows are in no rollup");
    assert!(expected.values().any(|(.., has_late)| *has_late));
    expected.retain(|_, (.., has_late)| !*has_late);
    let rollup = segment.reader().unwrap().rollup().unwrap().unwrap();
    let mut found = BTreeMap::new();
    for group in 0..rollup.groups().len() {
        let mut rows = RollupColumns::default();
        rollup.read(group, &mut rows).unwrap();
        for row in 0..rows.len() {
            let key = (rows.series[row], rows.first_times[row].div_euclid(HOUR));
            found.insert(key, (rows.rows[row], rows.sums[row], false));
        }
    }
    assert_eq!(found, expected);
    assert_eq!(segment.meta().rollup_rows, expected.len() as u64);
    let all = Predicate::all();
    let other = MetricName { db: "other".to_owned(), metric: "metric".to_owned() };
    let none = Predicate { metrics: Some([other].into()), ..all.clone() };
    assert_eq!((rollup.row_groups(&all).len(), rollup.row_groups(&none).len()), (1, 0));
}

#[test]
fn a_rollup_that_would_not_pay_is_left_out() {
    let mut rng = Rng::from_seed(4);
    let mut directory = Directory::new(1);
    directory.flush(&rows_every(600, 31, 0..=40, &mut rng));
    directory.flush(&rows_every(600, 31, 41..=50, &mut rng));
    let segment = merged(&directory);
    assert_eq!(segment.meta().rollup_rows, 0);
    assert!(segment.reader().unwrap().rollup().unwrap().is_none());
}

#[test]
fn a_damaged_rollup_is_told_once_and_the_rows_stay_readable() {
    let directory = directory();
    let segment = merged(&directory);
    let (rows, path) = (rows_in(&segment), path(&directory, &segment));
    let info = {
        let reader = segment.reader().unwrap();
        let rollup = reader.rollup().unwrap().unwrap();
        rollup.footer.rollup.as_ref().unwrap().info.clone()
    };
    let file = directory.disk.open(&path, OpenMode::ReadWrite).unwrap();
    for at in (0..info.bytes).step_by(701).chain([info.bytes - 1]) {
        let place = info.offset + at;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 1], place).unwrap();
        let meta = Arc::new(segment.meta().clone());
        let damaged = Segment::open(directory.shared_disk(), directory.dir(), meta);
        let reader = damaged.reader().unwrap();
        let read = reader.rollup().and_then(|rollup| {
            let rollup = rollup.unwrap();
            let mut rows = RollupColumns::default();
            (0..rollup.groups().len()).try_for_each(|group| rollup.read(group, &mut rows).map(drop))
        });
        assert!(read.unwrap_err().is_corrupt(), "byte {at} of the rollup");
        assert!(reader.rollup().unwrap().is_none(), "it is not tried again");
        assert_eq!(rows_in(&damaged), rows);
        file.write_all_at(&byte, place).unwrap();
    }
}

#[test]
fn a_rollup_of_other_rows_is_found_out() {
    let directory = directory();
    let segment = merged(&directory);
    let reader = segment.reader().unwrap();
    let metrics = reader.rollup().unwrap().unwrap().groups()[0].clone();
    let by_rank =
        |rank: usize| Some(if rank == 0 { metrics.first.clone() } else { metrics.last.clone() });
    let check = |change: &dyn Fn(&mut SegmentColumns), rows: u64| {
        let mut check = RollupCheck::new(reader.rollup().unwrap().unwrap());
        for group in 0..reader.groups().len() {
            let mut columns = SegmentColumns::default();
            reader.read(group, Projection::ALL, &mut columns).unwrap();
            change(&mut columns);
            let first = columns.series_ref.as_ref().unwrap().value(0);
            check.add(&columns, |series| usize::from(series != first), by_rank).unwrap();
        }
        check.finish(rows, by_rank).unwrap()
    };
    let rows = segment.meta().rollup_rows;
    assert!(check(&|_| {}, rows));
    assert!(!check(&|_| {}, rows + 1));
    let another = |columns: &mut SegmentColumns| {
        let mut values = columns.value.as_ref().unwrap().values().to_vec();
        values[7] += 1.0;
        columns.value = Some(values.into());
    };
    assert!(!check(&another, rows));
}
