use super::*;
use crate::file_meta::MetricName;
use crate::fixtures::{Directory, Row, rows_in, rows_of};

/// Three segments with the rows of the records 10, 20 and 30.
fn three_files() -> Directory {
    let mut directory = Directory::new(1);
    for file in 0..3_i64 {
        directory.lsn = Lsn::new(file.unsigned_abs() * 10 + 9);
        directory.flush(&rows_of(0..4, file * 10..file * 10 + 10));
    }
    directory
}

fn files(directory: &Directory) -> Vec<Arc<FileMeta>> {
    directory.manifest.files_of(FileKind::Samples).cloned().collect()
}

/// A delete of all rows of series 0's metric.
fn delete(directory: &Directory, lsn: u64) -> Delete {
    let key = directory.catalog.get(SeriesRef(0)).unwrap().key();
    let metric = MetricName { db: key.db().to_owned(), metric: key.metric().to_owned() };
    Delete { lsn: Lsn::new(lsn), metric, from: EventTime::MIN, to: EventTime::new(i64::MAX) }
}

fn commit(directory: &Directory, prepared: Prepared, pending: &[Lsn]) -> Option<Manifest> {
    let place = (&directory.shared_disk(), directory.dir());
    prepared.commit(place, &directory.manifest, pending).unwrap()
}

/// Names a delete, as a request does while a merge runs.
fn name(directory: &mut Directory, delete: Delete) {
    let place = (&directory.shared_disk(), directory.dir());
    let next = commit_deletes(place, &directory.manifest, &[delete], None).unwrap();
    directory.manifest = next.unwrap();
}

/// The rows that queries would see.
fn shown(directory: &Directory) -> Vec<Row> {
    let mut rows = Vec::new();
    for segment in directory.segments() {
        let hides = directory.manifest.deletes().iter().filter(|d| d.applies_to(segment.meta()));
        let hides: Vec<_> = hides.collect();
        let is_shown = |row: &Row| {
            let entry = directory.catalog.get(SeriesRef(row.series)).unwrap();
            !hides.iter().any(|delete| delete.metric.metric == entry.key().metric())
        };
        rows.extend(rows_in(&segment).into_iter().filter(is_shown));
    }
    rows.sort_unstable();
    rows
}

fn names(directory: &Directory) -> Vec<String> {
    directory.disk.list(directory.dir()).unwrap()
}

#[test]
fn a_merge_is_overtaken_when_an_input_has_gone_meanwhile() {
    for why in [Why::Disk, Why::Age] {
        let mut directory = three_files();
        let inputs = files(&directory);
        let prepared = directory.prepare(&directory.manifest, &inputs, Why::Merge(1));
        let dropped = directory.prepare(&directory.manifest, &inputs[..1], why);
        directory.manifest = commit(&directory, dropped, &[]).unwrap();
        let (before, number) = (directory.rows(), directory.manifest.number());
        assert_eq!(before.len(), 80);
        assert!(commit(&directory, prepared, &[]).is_none(), "{why:?}: rows would come back");
        let reopened = Manifest::open(&directory.disk, directory.dir()).unwrap();
        assert_eq!((directory.rows(), reopened.number()), (before, number));
    }
}

#[test]
fn a_merge_is_overtaken_when_an_input_was_set_aside_or_written_anew() {
    let mut directory = three_files();
    let inputs = files(&directory);
    let merged = directory.prepare(&directory.manifest, &inputs, Why::Merge(1));
    let place = (&directory.shared_disk(), directory.dir());
    directory.disk.remove(&directory.dir().join(&inputs[0].file)).unwrap();
    let aside = quarantine(place, &directory.manifest, &inputs[0].file).unwrap().unwrap();
    directory.manifest = aside;
    assert!(commit(&directory, merged, &[]).is_none(), "its rows are told to be missing");
    let other = directory.prepare(&directory.manifest, &inputs[1..], Why::Merge(1));
    directory.manifest = commit(&directory, other, &[]).unwrap();
    assert_eq!((directory.segments().len(), directory.rows().len()), (1, 80));
    let again = directory.prepare(&directory.manifest, &inputs[1..2], Why::Disk);
    assert!(commit(&directory, again, &[]).is_none(), "a file is dropped once");
}

#[test]
fn a_merge_is_overtaken_by_a_delete_of_some_of_its_rows_and_by_no_other() {
    // The first file ends with record 10, the last one with 30.
    for (lsn, is_overtaken) in [
        (5, false),
        (9, false),
        (10, true),
        (19, true),
        (20, true),
        (29, true),
        (30, false),
        (99, false),
    ] {
        for is_named in [true, false] {
            let at = format!("a delete of record {lsn}, named {is_named}");
            let mut directory = three_files();
            let mut pending = Vec::new();
            let prepared =
                directory.prepare(&directory.manifest, &files(&directory), Why::Merge(1));
            let delete = delete(&directory, lsn);
            if is_named {
                name(&mut directory, delete.clone());
            } else {
                pending.push(delete.lsn);
            }
            let before = shown(&directory);
            match commit(&directory, prepared, &pending) {
                None => assert!(is_overtaken, "{at}"),
                Some(next) => {
                    assert!(!is_overtaken, "{at}");
                    directory.manifest = next;
                }
            }
            if !is_named {
                assert_eq!(directory.rows().len(), 120, "{at}");
                let mut other = three_files();
                name(&mut other, delete.clone());
                name(&mut directory, delete);
                assert_eq!(shown(&directory), shown(&other), "{at}");
            } else {
                assert_eq!(shown(&directory), before, "{at}");
            }
        }
    }
}

#[test]
fn a_delete_that_the_merge_has_heeded_does_not_overtake_it() {
    let mut directory = three_files();
    let delete = delete(&directory, 20);
    name(&mut directory, delete.clone());
    let before = shown(&directory);
    assert!(before.len() < 120, "something is hidden");
    let prepared = directory.prepare(&directory.manifest, &files(&directory), Why::Merge(1));
    assert_eq!(prepared.rows_erased, 120 - before.len() as u64);
    directory.manifest = commit(&directory, prepared, &[delete.lsn]).unwrap();
    assert_eq!((shown(&directory), directory.rows().len()), (before.clone(), before.len()));
}

#[test]
fn an_overtaken_merge_leaves_no_file() {
    let mut directory = three_files();
    let inputs = files(&directory);
    let prepared = directory.prepare(&directory.manifest, &inputs, Why::Merge(1));
    let dropped = directory.prepare(&directory.manifest, &inputs[..1], Why::Disk);
    directory.manifest = commit(&directory, dropped, &[]).unwrap();
    assert!(names(&directory).iter().any(|name| name.ends_with(".tmp")));
    assert!(commit(&directory, prepared, &[]).is_none());
    assert!(!names(&directory).iter().any(|name| name.ends_with(".tmp")));
}
