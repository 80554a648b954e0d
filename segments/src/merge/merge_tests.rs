use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewatch_env::{FaultMode, OpenMode, Rng};
use tidewatch_metrics::{Flags, Slot};

use super::*;
use crate::file_meta::MetricName;
use crate::fixtures::{Directory, HARD_VALUES, Row, rows_in, rows_of, sorted};
use crate::late_hours::LateHours;

const LARGE: GroupLimits = GroupLimits { rows_max: GROUP_ROWS_MAX, rows_min: GROUP_ROWS_MIN };

/// Erases the same times of the same series in the inputs that are listed.
#[derive(Clone, Debug, Default)]
struct Erased(BTreeMap<(usize, u32), Vec<(i64, i64)>>);

impl Erase for Erased {
    fn times(&self, input: usize, series: SeriesRef) -> Vec<RangeInclusive<EventTime>> {
        let ranges = self.0.get(&(input, series.0)).into_iter().flatten();
        ranges.map(|(from, to)| EventTime::new(*from)..=EventTime::new(*to)).collect()
    }
}

impl Erased {
    fn hides(&self, input: usize, row: &Row) -> bool {
        let times = self.times(input, SeriesRef(row.series));
        times.iter().any(|range| range.contains(&EventTime::new(row.time)))
    }
}

fn inputs(directory: &Directory) -> Vec<Arc<Segment>> {
    directory.segments().into_iter().map(Arc::new).collect()
}

fn merge_all(
    directory: &Directory,
    erase: &Erased,
    limits: GroupLimits,
) -> Result<Merged, SegmentsError> {
    let inputs = inputs(directory);
    let disk = directory.shared_disk();
    let pace = &mut |_rows| true;
    let merge = Merge { inputs: &inputs, catalog: &directory.catalog, erase, pace };
    merge_in_groups(&*disk, directory.dir(), merge, limits)
}

/// Names the file, as the manifest would.
fn name(directory: &Directory, merged: Merged) -> (Segment, FileMeta, u64) {
    let Merged::Segment { sealed, mut meta, rows_erased } = merged else {
        panic!("rows are left: {merged:?}");
    };
    meta.file = "samples-00000000000000000099.parquet".to_owned();
    sealed.rename(&directory.disk, directory.dir(), &meta.file).unwrap();
    let named = Arc::new((*meta).clone());
    (Segment::open(directory.shared_disk(), directory.dir(), named), *meta, rows_erased)
}

/// The concatenation of the inputs' rows without the erased ones, sorted by plain comparison.
fn expected(directory: &Directory, files: &[Vec<Row>], erase: &Erased) -> Vec<Row> {
    let files = files.iter().enumerate();
    let kept = files.flat_map(|(input, rows)| rows.iter().filter(move |r| !erase.hides(input, r)));
    sorted(&directory.catalog, &kept.copied().collect::<Vec<_>>())
}

fn names(directory: &Directory) -> Vec<String> {
    directory.disk.list(directory.dir()).unwrap()
}

fn assert_meta_tells_of(meta: &FileMeta, rows: &[Row]) {
    assert_eq!(meta.rows, rows.len() as u64);
    assert_eq!(Some(meta.time_min.nanos()), rows.iter().map(|row| row.time).min());
    assert_eq!(Some(meta.time_max.nanos()), rows.iter().map(|row| row.time).max());
    let late = rows.iter().filter(|row| Flags::from_bits(row.flags).is_late());
    assert_eq!(meta.late_rows, late.clone().count() as u64);
    let mut hours = LateHours::NONE;
    late.for_each(|row| hours.insert(EventTime::new(row.time)));
    assert_eq!(meta.late_hours, hours);
}

/// As a reader prunes by them: a row group's names and times must cover its rows, and few others.
fn assert_groups_tell_of(directory: &Directory, segment: &Segment, rows: &[Row]) {
    let name = |row: &Row| {
        let key = directory.catalog.get(SeriesRef(row.series)).unwrap().key();
        MetricName { db: key.db().to_owned(), metric: key.metric().to_owned() }
    };
    let reader = segment.reader().unwrap();
    let mut rest = rows;
    for group in reader.groups() {
        let (of_group, others) = rest.split_at(usize::try_from(group.rows).unwrap());
        assert_eq!(group.first, name(&of_group[0]));
        assert_eq!(group.last, name(of_group.last().unwrap()));
        let times = of_group.iter().map(|row| row.time);
        assert_eq!(Some(group.time_min.nanos()), times.clone().min());
        assert_eq!(Some(group.time_max.nanos()), times.max());
        let late = of_group.iter().filter(|row| Flags::from_bits(row.flags).is_late());
        assert_eq!(group.late_rows, late.count() as u64);
        rest = others;
    }
    assert!(rest.is_empty());
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        1 => proptest::sample::select(HARD_VALUES.to_vec()),
        1 => any::<u64>().prop_map(f64::from_bits),
        4 => (-100_000_i32..100_000).prop_map(|n| f64::from(n) / 10.0),
        4 => (-100_000_i32..100_000).prop_map(|n| f64::from(n) / 10_000.0),
        4 => (0_i32..1_000).prop_map(|n| f64::from(n) * 1024.0),
    ]
}

fn file() -> impl Strategy<Value = Vec<Row>> {
    // Few series and times, so that inputs overlap in all ways; milliseconds in most files, so that
    // inputs differ in their unit.
    let row = |unit: i64| {
        (0_u32..23, -40_i64..40, values(), 0_u16..5, any::<u8>()).prop_map(
            move |(series, time, value, severity, flags)| Row {
                series,
                time: time * unit,
                bits: value.to_bits(),
                severity,
                flags,
            },
        )
    };
    let unit = prop_oneof![4 => Just(1_000_000), 1 => Just(1_000), 1 => Just(3_600_000_000_001)];
    unit.prop_flat_map(move |unit| proptest::collection::vec(row(unit), 1..120))
}

fn erased() -> impl Strategy<Value = Erased> {
    let range = (-50_i64..50, 0_i64..40).prop_map(|(from, rows)| (from, from + rows));
    let range = range.prop_map(|(from, to)| (from * 1_000_000, to * 1_000_000));
    let one = ((0_usize..5, 0_u32..23), range.prop_map(|range| vec![range]));
    proptest::collection::vec(one, 0..30).prop_map(|all| Erased(all.into_iter().collect()))
}

proptest! {
    #[test]
    fn a_merge_is_the_concatenation_in_the_order_of_a_segment(
        files in proptest::collection::vec(file(), 1..6),
        erase in erased(),
        rows_max in prop_oneof![4_usize..60, Just(GROUP_ROWS_MAX)],
    ) {
        let mut directory = Directory::new(1);
        files.iter().for_each(|rows| directory.flush(rows));
        let limits = GroupLimits { rows_max, rows_min: rows_max / 4 };
        let merged = merge_all(&directory, &erase, limits).unwrap();
        let expected = expected(&directory, &files, &erase);
        let all: usize = files.iter().map(Vec::len).sum();
        let erased = (all - expected.len()) as u64;
        if expected.is_empty() {
            let Merged::Empty { rows_erased } = merged else { panic!("no row is left: {merged:?}") };
            prop_assert_eq!(rows_erased, erased);
            return Ok(());
        }
        let (segment, meta, rows_erased) = name(&directory, merged);
        assert_eq!(rows_in(&segment), expected);
        prop_assert_eq!(rows_erased, erased);
        prop_assert_eq!(meta.first_lsn, Lsn::new(1));
        prop_assert_eq!(meta.last_lsn, Lsn::new(files.len() as u64));
        assert_meta_tells_of(&meta, &expected);
        assert_groups_tell_of(&directory, &segment, &expected);
    }
}

/// Rows of many series over several full row groups, in three files that overlap a little.
fn large_files() -> Vec<Vec<Row>> {
    let mut rng = Rng::from_seed(7);
    let mut files = Vec::new();
    for file in 0..3_i64 {
        let mut rows = rows_of(0..60, file * 1_500..(file + 1) * 1_500);
        rows.extend(rows_of(60..61, file * 90_000..(file + 1) * 90_000));
        for row in rows.iter_mut().filter(|_| rng.below(500) == 0) {
            row.time -= 2_000_000_000_000;
            row.flags = Flags::LATE.bits();
        }
        files.push(rows);
    }
    files
}

#[test]
fn row_groups_are_filled_and_cut_at_metrics_as_a_flush_cuts_them() {
    let mut directory = Directory::new(2);
    let files = large_files();
    files.iter().for_each(|rows| directory.flush(rows));
    let expected = expected(&directory, &files, &Erased::default());
    let merged = merge_all(&directory, &Erased::default(), LARGE).unwrap();
    let (segment, ..) = name(&directory, merged);
    assert_eq!(rows_in(&segment), expected);
    assert_groups_tell_of(&directory, &segment, &expected);
    let mut whole = Directory::new(2);
    whole.flush(&files.concat());
    let by_flush = whole.segments()[0].reader().unwrap();
    let cuts = |groups: &[crate::RowGroupMeta]| -> Vec<_> {
        groups.iter().map(|group| (group.rows, group.first.clone(), group.last.clone())).collect()
    };
    assert!(by_flush.groups().len() > 4, "several groups");
    assert_eq!(cuts(segment.reader().unwrap().groups()), cuts(by_flush.groups()));
}

#[test]
fn slots_and_log_range_are_those_of_all_inputs() {
    let mut directory = Directory::new(3);
    (0..3).for_each(|file| directory.flush(&rows_of(0..5, file * 10..file * 10 + 10)));
    let set = |slots: &[u8]| slots.iter().copied().map(Slot).collect::<SlotSet>();
    let slots = [set(&[1, 200]), set(&[3]), set(&[1, 7])];
    let all = directory.segments();
    let change = |(segment, slots): (&Segment, &SlotSet)| {
        let mut meta = segment.meta().clone();
        meta.slots = *slots;
        let dir = directory.dir();
        Arc::new(Segment::open(directory.shared_disk(), dir, Arc::new(meta)))
    };
    let changed: Vec<_> = all.iter().zip(&slots).map(change).collect();
    let info = info(&changed);
    assert_eq!(info.slots, set(&[1, 3, 7, 200]));
    assert_eq!((info.first_lsn, info.last_lsn), (Lsn::new(1), Lsn::new(3)));
}

#[test]
fn whoever_gives_up_leaves_no_file_and_all_rows_are_told() {
    let mut directory = Directory::new(4);
    let files = large_files();
    files.iter().for_each(|rows| directory.flush(rows));
    let before = names(&directory);
    let inputs = inputs(&directory);
    let mut calls = 0_u32;
    let mut told = 0;
    for calls_max in [0, 1, 7, u32::MAX] {
        (calls, told) = (0, 0);
        let pace = &mut |rows| {
            told += rows;
            calls += 1;
            calls <= calls_max
        };
        let erase = &Erased::default();
        let merge = Merge { inputs: &inputs, catalog: &directory.catalog, erase, pace };
        let disk = directory.shared_disk();
        let merged = merge_in_groups(&*disk, directory.dir(), merge, LARGE).unwrap();
        assert_eq!(matches!(merged, Merged::GivenUp), calls_max < u32::MAX, "{merged:?}");
        match merged {
            Merged::Segment { sealed, .. } => sealed.discard(&directory.disk).unwrap(),
            Merged::GivenUp | Merged::Empty { .. } => {}
        }
        assert_eq!(names(&directory), before);
    }
    assert_eq!(told, files.iter().map(|rows| rows.len() as u64).sum::<u64>());
    assert!(calls > 8, "{calls} calls");
}

#[test]
fn a_failing_disk_leaves_the_inputs_alone_and_no_name() {
    let mut directory = Directory::new(5);
    let files = [rows_of(0..9, 0..300), rows_of(3..12, 250..600)];
    files.iter().for_each(|rows| directory.flush(rows));
    let before = (names(&directory), directory.rows());
    let limits = GroupLimits { rows_max: 500, rows_min: 100 };
    let mut failures = 0;
    for op in 1.. {
        let fault = directory.disk.ops() + op;
        directory.disk.fail_op(fault, io::ErrorKind::StorageFull, FaultMode::Once);
        let outcome = merge_all(&directory, &Erased::default(), limits);
        // What is left of a failure never has a name that counts, and the next attempt replaces it.
        let left: Vec<_> = names(&directory).into_iter().filter(|n| !n.ends_with(".tmp")).collect();
        assert_eq!((left, directory.rows()), before, "op {op}");
        match outcome {
            Ok(merged) => {
                let next = directory.disk.sync_dir(directory.dir());
                next.expect_err("every operation of the merge was refused once");
                let (segment, ..) = name(&directory, merged);
                assert_eq!(rows_in(&segment), expected(&directory, &files, &Erased::default()));
                break;
            }
            Err(SegmentsError::Io { source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::StorageFull, "op {op}");
                assert_eq!(names(&directory), before.0, "op {op}: nothing is left");
                failures += 1;
            }
            Err(other) => panic!("op {op}: {other}"),
        }
    }
    assert!(failures > 8, "{failures} steps were refused");
}

#[test]
fn a_sealed_file_survives_a_crash_and_has_no_name_that_counts() {
    let mut directory = Directory::new(6);
    let files = [rows_of(0..9, 0..30), rows_of(3..12, 25..60)];
    files.iter().for_each(|rows| directory.flush(rows));
    let merged = merge_all(&directory, &Erased::default(), LARGE).unwrap();
    let (segment, meta, _) = name(&directory, merged);
    directory.disk.sync_dir(directory.dir()).unwrap();
    for seed in 0..10 {
        let disk: Arc<dyn Disk> = Arc::new(directory.disk.reboot(seed));
        let after = Segment::open(disk, directory.dir(), Arc::new(meta.clone()));
        assert_eq!(rows_in(&after), rows_in(&segment), "seed {seed}");
    }
}

#[test]
fn unknown_series_another_order_and_damage_are_refused() {
    let mut directory = Directory::new(7);
    directory.flush(&rows_of(0..12, 0..30));
    directory.flush(&rows_of(0..12, 30..60));
    let known = std::mem::replace(&mut directory.catalog, crate::fixtures::catalog_of(10));
    let refused = merge_all(&directory, &Erased::default(), LARGE).unwrap_err();
    assert!(matches!(refused, SegmentsError::UnknownSeries { .. }), "{refused}");
    // The same references with other names are in another order.
    directory.catalog = crate::fixtures::catalog_of(200);
    let refused = merge_all(&directory, &Erased::default(), LARGE).unwrap_err();
    assert!(refused.is_corrupt(), "{refused}");
    directory.catalog = known;
    let path = directory.dir().join(&directory.segments()[1].meta().file);
    let file = directory.disk.open(&path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 200).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 200).unwrap();
    let refused = merge_all(&directory, &Erased::default(), LARGE).unwrap_err();
    assert!(refused.is_corrupt(), "{refused}");
    assert!(!names(&directory).iter().any(|name| name.ends_with(".tmp")));
}
