use tidewatch_env::{OpenMode, read_file};

use super::*;
use crate::fixtures::{Directory, Row, rows_of, sorted};

const ASIDE: &str = "/salvage/1/segments";

/// Five flushes; every one brings ten more series.
fn directory() -> Directory {
    let mut directory = Directory::new(3);
    for flush in 0..5_u32 {
        directory.flush(&rows(flush));
    }
    directory
}

fn rows(flush: u32) -> Vec<Row> {
    let second = i64::from(flush) * 10;
    rows_of(0..10 * (flush + 1), second..second + 3)
}

fn flip(directory: &Directory, file: &str, offset: u64) {
    let path = directory.dir().join(file);
    let file = directory.disk.open(&path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    file.sync_data().unwrap();
}

fn delta(number: u64) -> String {
    format!("manifest/{number:020}.json")
}

fn inspect(directory: &Directory) -> SegmentsSalvage {
    let least = directory.manifest.number();
    SegmentsSalvage::inspect(&directory.disk, directory.dir(), least).unwrap()
}

/// Applies a salvage that drops nothing, and opens what it leaves.
fn apply(directory: &mut Directory, names: &SeriesCatalog) -> Salvaged {
    let salvage = inspect(directory);
    assert!(!salvage.is_whole());
    let none = BTreeSet::new();
    salvage.set_aside(&directory.disk, Path::new(ASIDE), &none).unwrap();
    let flushed = Box::new(*salvage.manifest().flushed());
    let keep = Keep { dropped: &none, flushed, names };
    let salvaged = salvage.apply(&directory.disk, keep).unwrap();
    directory.disk = directory.disk.reboot(1);
    directory.manifest = Manifest::open(&directory.disk, directory.dir()).unwrap();
    crate::remove_orphans(&directory.disk, directory.dir(), &directory.manifest).unwrap();
    assert!(inspect(directory).is_whole(), "once is enough");
    salvaged
}

fn nobody() -> SeriesCatalog {
    SeriesCatalog::new(0)
}

fn rows_in(directory: &Directory) -> Vec<Row> {
    let mut rows = directory.rows();
    rows.sort_unstable();
    rows
}

fn expected(directory: &Directory, flushes: &[u32]) -> Vec<Row> {
    let rows: Vec<_> = flushes.iter().flat_map(|flush| rows(*flush)).collect();
    let mut rows = sorted(&directory.catalog, &rows);
    rows.sort_unstable();
    rows
}

#[test]
fn a_whole_directory_and_a_delta_torn_by_a_crash_are_whole() {
    let directory = directory();
    assert!(inspect(&directory).is_whole());
    let torn = directory.dir().join(delta(6));
    directory.disk.open(&torn, OpenMode::CreateNew).unwrap().write_all_at(b"{\"fo", 0).unwrap();
    assert!(inspect(&directory).is_whole());
    let relied_on = SegmentsSalvage::inspect(&directory.disk, directory.dir(), 6).unwrap();
    assert!(!relied_on.is_whole(), "somebody knows that it counted");
}

#[test]
fn behind_a_damaged_delta_the_versions_before_it_are_kept_and_all_files_set_aside() {
    let mut directory = directory();
    let samples = directory.manifest.files_of(FileKind::Samples).map(|file| file.file.clone());
    let samples: Vec<_> = samples.collect();
    flip(&directory, &delta(3), 200);
    let salvage = inspect(&directory);
    assert_eq!((salvage.manifest().number(), salvage.lost_versions()), (2, true));
    let deltas: Vec<_> = salvage.deltas().iter().map(|delta| delta.file.clone()).collect();
    assert_eq!(deltas, [delta(3), delta(4), delta(5)]);
    assert!(samples[2..].iter().all(|file| salvage.unnamed().contains(file)));
    let bytes = read_file(&directory.disk, &directory.dir().join(&samples[4]), 1 << 20).unwrap();
    apply(&mut directory, &nobody());
    assert_eq!(directory.manifest.number(), 6, "no number is used twice");
    assert_eq!(rows_in(&directory), expected(&directory, &[0, 1]));
    let aside = Path::new(ASIDE).join(&samples[4]);
    assert_eq!(read_file(&directory.disk, &aside, 1 << 20).unwrap(), bytes);
    directory.lsn = Lsn::new(20);
    directory.flush(&rows(2));
    assert_eq!(rows_in(&directory), expected(&directory, &[0, 1, 2]));
}

#[test]
fn a_damaged_or_missing_file_of_samples_takes_only_its_own_rows_with_it() {
    for is_missing in [false, true] {
        let mut directory = directory();
        let third = directory.manifest.files_of(FileKind::Samples).nth(2).unwrap().file.clone();
        if is_missing {
            directory.disk.remove(&directory.dir().join(&third)).unwrap();
        } else {
            flip(&directory, &third, 40);
        }
        let salvage = inspect(&directory);
        let damaged: Vec<_> = salvage.data().iter().map(|(meta, _)| meta.file.clone()).collect();
        assert_eq!(damaged, [third]);
        apply(&mut directory, &nobody());
        assert_eq!(rows_in(&directory), expected(&directory, &[0, 1, 3, 4]));
    }
}

#[test]
fn names_of_a_damaged_file_of_series_come_back_where_somebody_knows_them() {
    for (known, found) in [(0, 0), (14, 4), (100, 10)] {
        let mut directory = directory();
        let second = directory.manifest.files_of(FileKind::Series).nth(1).unwrap().file.clone();
        flip(&directory, &second, 100);
        let names = SeriesCatalog::new(100);
        for series in (0..known).map(SeriesRef) {
            names.restore(series, &directory.catalog.get(series).unwrap().key()).unwrap();
        }
        // Names that nobody asked for are stored as well.
        let more = u64::from(known).saturating_sub(50);
        let salvaged = apply(&mut directory, &names);
        let missing = 10 - found;
        assert_eq!(salvaged, Salvaged { series_found: found + more, series_missing: missing });
        assert_eq!(directory.manifest.lacks_series(), missing > 0);
        let catalog = SeriesCatalog::new(100);
        let disk = &directory.disk;
        crate::restore_catalog(disk, directory.dir(), &directory.manifest, &catalog).unwrap();
        let is_known = |series: &u32| catalog.get(SeriesRef(*series)).is_some();
        assert_eq!((0..50).filter(is_known).count() as u64, 40 + found);
        assert_eq!(rows_in(&directory).len(), 450, "rows are not touched");
    }
}

#[test]
fn without_any_full_delta_nothing_is_named_and_everything_is_set_aside() {
    let mut directory = directory();
    flip(&directory, &delta(1), 90);
    let salvage = inspect(&directory);
    assert_eq!((salvage.manifest().files().len(), salvage.deltas().len()), (0, 5));
    assert_eq!(salvage.unnamed().len(), 10);
    apply(&mut directory, &nobody());
    assert_eq!(rows_in(&directory), []);
    assert_eq!(directory.disk.list(Path::new(ASIDE)).unwrap().len(), 11);
}

#[test]
fn a_salvage_that_a_crash_cuts_off_leaves_the_damage_or_the_result() {
    for crash_at in 1.. {
        let mut directory = directory();
        flip(&directory, &delta(5), 90);
        let salvage = inspect(&directory);
        directory.disk.crash_at(directory.disk.ops() + crash_at);
        let (none, names) = (BTreeSet::new(), nobody());
        let flushed = Box::new(*salvage.manifest().flushed());
        let applied =
            salvage.apply(&directory.disk, Keep { dropped: &none, flushed, names: &names });
        directory.disk = directory.disk.reboot(crash_at);
        if inspect(&directory).is_whole() {
            let opened = Manifest::open(&directory.disk, directory.dir()).unwrap();
            assert_eq!(opened.number(), 6);
        } else {
            assert!(applied.is_err(), "done, and not durable, at {crash_at}");
            apply(&mut directory, &names);
        }
        if applied.is_ok() {
            return;
        }
    }
}
