use std::path::PathBuf;

use tidewatch_env::{DiskFile, RealDisk, read_file};

use super::*;
use crate::events::tests::{alert, delivery};
use crate::fixtures::{Directory, Row, catalog_of, rows_in, rows_of, sorted};

const EVENTS_FILE: &str = "alerts-00000000000000000001.parquet";

/// Two flushes with all kinds of files and all forms of values.
fn sample() -> Directory {
    let mut directory = Directory::new(1);
    directory.try_flush(&forms(0), &[alert(1)], &[delivery(1)]).unwrap();
    directory.flush(&forms(40));
    directory
}

fn forms(from: i64) -> Vec<Row> {
    let mut rows = rows_of(0..4, from..from + 40);
    for row in rows.iter_mut().filter(|row| row.series == 2) {
        row.bits = (f64::from_bits(row.bits) * 0.123_456_7).to_bits();
    }
    rows[7].flags = Flags::LATE.bits();
    rows[8].severity = 500;
    rows
}

fn open(directory: &Directory, path: &Path) -> Arc<dyn DiskFile> {
    directory.disk.open(path, OpenMode::ReadWrite).unwrap()
}

fn paths(directory: &Directory) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for dir in [directory.dir().to_owned(), directory.dir().join("manifest")] {
        let names = directory.disk.list(&dir).unwrap();
        paths.extend(names.iter().filter(|name| name.contains('.')).map(|name| dir.join(name)));
    }
    paths
}

#[test]
fn what_was_flushed_is_sound() {
    let directory = sample();
    let report = verify(&directory.shared_disk(), directory.dir());
    assert_eq!(report.problems, []);
    assert_eq!((report.ok, report.records, report.last_lsn), (true, 320, 2));
    assert_eq!(list(&directory.disk, directory.dir()).unwrap().len(), 5);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(json, "{\"ok\":true,\"records\":320,\"last_lsn\":2,\"problems\":[]}");
}

#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let directory = sample();
    let disk = directory.shared_disk();
    let paths = paths(&directory);
    assert_eq!(paths.len(), 7, "five files and two deltas");
    for path in &paths {
        let good = read_file(&*disk, path, 1 << 20).unwrap();
        let file = open(&directory, path);
        // Events are under one checksum, so that some of their many bytes speak for all.
        let step = if path.ends_with(EVENTS_FILE) { 11 } else { 1 };
        for at in (0..good.len()).step_by(step) {
            file.write_all_at(&[good[at] ^ 0x20], at as u64).unwrap();
            let report = verify(&disk, directory.dir());
            assert!(!report.ok, "{} byte {at}", path.display());
            file.write_all_at(&good[at..=at], at as u64).unwrap();
        }
        for cut in (0..good.len()).step_by(41) {
            file.set_len(cut as u64).unwrap();
            assert!(!verify(&disk, directory.dir()).ok, "{} cut at {cut}", path.display());
            file.write_all_at(&good, 0).unwrap();
        }
        assert!(verify(&disk, directory.dir()).ok, "{} is as before", path.display());
    }
}

#[test]
fn every_flipped_byte_is_found_by_reading_too() {
    let directory = sample();
    let segment = &directory.segments()[0];
    let path = directory.dir().join(&segment.meta().file);
    let good = read_file(&directory.disk, &path, 1 << 20).unwrap();
    let file = open(&directory, &path);
    let mut columns = SegmentColumns::default();
    for at in 0..good.len() {
        file.write_all_at(&[good[at] ^ 1], at as u64).unwrap();
        let segment = directory.segments().remove(0);
        let read = segment.reader().and_then(|r| r.read(0, Projection::ALL, &mut columns));
        assert!(read.unwrap_err().is_corrupt(), "byte {at}");
        file.write_all_at(&good[at..=at], at as u64).unwrap();
    }
}

#[test]
fn a_missing_file_and_a_missing_series_are_named() {
    let directory = sample();
    let series = directory.manifest.files_of(FileKind::Series).next().unwrap().file.clone();
    directory.disk.remove(&directory.dir().join(&series)).unwrap();
    let report = verify(&directory.shared_disk(), directory.dir());
    assert!(report.problems.iter().any(|p| p.file == series && p.message.contains("open")));
    let unnamed = "a series is in no file of series";
    assert!(report.problems.iter().any(|p| p.message.contains(unnamed)), "{report:?}");
}

#[test]
fn rows_out_of_order_are_found_although_all_checksums_match() {
    // Files whose order was made with another catalog: sound by themselves, wrong together.
    let mut directory = Directory::new(2);
    directory.flush(&rows_of(0..100, 0..2));
    let (mut wrong, names) = (Directory::new(2), catalog_of(60));
    wrong.catalog = names;
    wrong.flush(&rows_of(0..60, 0..2));
    let of = |d: &Directory, kind| Arc::clone(d.manifest.files_of(kind).next().unwrap());
    let segment = of(&wrong, FileKind::Samples);
    let path = directory.dir().join(&segment.file);
    let bytes = read_file(&wrong.disk, &path, 1 << 20).unwrap();
    let file = open(&directory, &path);
    file.set_len(bytes.len() as u64).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let disk = directory.shared_disk();
    let mut verifier = Verifier {
        disk: &disk,
        dir: directory.dir(),
        report: VerifyReport { ok: true, records: 0, last_lsn: 0, problems: Vec::new() },
    };
    let ranks = verifier.ranks(&directory.manifest);
    let found = verifier.samples(&segment, &path, &ranks).unwrap_err();
    assert!(found.to_string().contains("rows are out of order"), "{found}");
}

/// Two hours of a row every minute in a merged segment.
fn merged() -> Directory {
    let mut directory = Directory::new(3);
    for hour in [0, 1] {
        let mut rows = rows_of(0..3, hour * 60..(hour + 1) * 60);
        rows.iter_mut().for_each(|row| row.time *= 60);
        directory.flush(&rows);
    }
    directory.compact();
    directory
}

#[test]
fn a_rollup_that_is_not_what_the_rows_come_to_is_found_although_all_checksums_match() {
    let directory = merged();
    let disk = directory.shared_disk();
    let mut verifier = Verifier {
        disk: &disk,
        dir: directory.dir(),
        report: VerifyReport { ok: true, records: 0, last_lsn: 0, problems: Vec::new() },
    };
    let ranks = verifier.ranks(&directory.manifest);
    let segment = directory.manifest.files_of(FileKind::Samples).next().unwrap();
    let path = directory.dir().join(&segment.file);
    assert_eq!(segment.rollup_rows, 6);
    verifier.samples(segment, &path, &ranks).unwrap();
    let other = Arc::new(FileMeta { rollup_rows: 5, ..FileMeta::clone(segment) });
    let found = verifier.samples(&other, &path, &ranks).unwrap_err();
    assert!(found.to_string().contains("its rollup is not"), "{found}");
}

#[test]
fn rollups_of_format_1_are_read_for_ever() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/rollups-v1");
    if let Ok(dir) = std::env::var("TIDEWATCH_WRITE_ROLLUPS_FIXTURE") {
        write_files(&merged(), Path::new(&dir));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let report = verify(&disk, &fixture);
    assert_eq!((report.problems, report.records), (Vec::new(), 360));
    let rows: u64 = list(&*disk, &fixture).unwrap().iter().map(|meta| meta.rollup_rows).sum();
    assert_eq!(rows, 6);
}

/// Where the files written by format 1 stay for ever.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/segments-v1")
}

fn write_files(directory: &Directory, dir: &Path) {
    RealDisk.create_dir_all(&dir.join("manifest")).unwrap();
    for path in paths(directory) {
        let bytes = read_file(&directory.disk, &path, 1 << 20).unwrap();
        let target = dir.join(path.strip_prefix(directory.dir()).unwrap());
        RealDisk.open(&target, OpenMode::CreateNew).unwrap().write_all_at(&bytes, 0).unwrap();
    }
}

#[test]
fn files_of_format_1_are_read_for_ever() {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    // A new format gets a directory of its own, made by this test with the variable set.
    if let Ok(dir) = std::env::var("TIDEWATCH_WRITE_SEGMENTS_FIXTURE") {
        write_files(&sample(), Path::new(&dir));
    }
    let report = verify(&disk, &fixture());
    assert_eq!(report.problems, []);
    assert_eq!((report.records, report.last_lsn), (320, 2));
    let catalog = catalog_of(100);
    let rows = list(&*disk, &fixture()).unwrap().into_iter().filter_map(|meta| {
        let is_segment = meta.kind == FileKind::Samples;
        is_segment.then(|| rows_in(&Segment::open(Arc::clone(&disk), &fixture(), meta)))
    });
    let expected = [sorted(&catalog, &forms(0)), sorted(&catalog, &forms(40))];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}

/// What a file of the manifest says, but for lengths and checksums, which change with the version
/// of the compression library, and the time, which format 1 does not tell.
fn promises(meta: &FileMeta) -> FileMeta {
    let written = tidewatch_metrics::UnixNanos::default();
    FileMeta { bytes: 0, crc32c: 0, footer_offset: 0, footer_crc32c: 0, written, ..meta.clone() }
}

#[test]
fn the_manifest_of_format_1_says_what_is_written_now() {
    let directory = sample();
    let kept = list(&RealDisk, &fixture()).unwrap();
    let by_name = |files: &[Arc<FileMeta>]| -> BTreeMap<String, FileMeta> {
        files.iter().map(|meta| (meta.file.clone(), promises(meta))).collect()
    };
    assert_eq!(by_name(directory.manifest.files()), by_name(&kept));
}
