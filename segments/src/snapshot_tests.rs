use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::chunk::HeadColumns;
use crate::compact::Why;
use crate::fixtures::{Directory, append, rows_in, rows_of};

/// The seconds of all rows that a snapshot shows, sorted.
fn seconds(snapshot: &Snapshot) -> Vec<i64> {
    let mut out = HeadColumns::default();
    for view in &snapshot.heads {
        view.chunks().iter().for_each(|chunk| chunk.copy(0..chunk.rows(), &mut out));
    }
    let mut times = out.times;
    for segment in &snapshot.segments {
        times.extend(rows_in(segment).iter().map(|row| row.time));
    }
    times.sort_unstable();
    times.iter().map(|time| time / 1_000_000_000).collect()
}

#[test]
fn a_snapshot_shows_frozen_before_live_rows_and_keeps_what_it_showed() {
    let directory = Directory::new(1);
    let (mut head, shared) = Head::new();
    let all = directory.published(vec![shared]);
    append(&mut head, &rows_of(0..1, 0..3));
    head.publish(Lsn::new(1));
    let frozen = all.freeze(0, &mut head).unwrap();
    append(&mut head, &rows_of(0..1, 3..5));
    head.publish(Lsn::new(2));
    let before = all.snapshot(Lsn::new(2)).unwrap();
    assert_eq!(before.heads.iter().map(HeadView::rows).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(seconds(&all.snapshot(Lsn::new(1)).unwrap()), [0, 1, 2]);
    assert_eq!(all.frozen(0).len(), 1);
    let manifest = directory.flush_frozen(&[Arc::clone(&frozen)], &all.manifest());
    all.commit_flush(0, &[frozen], manifest);
    let after = all.snapshot(Lsn::new(2)).unwrap();
    assert_eq!((after.segments.len(), after.heads.len()), (1, 1));
    assert_eq!(seconds(&after), seconds(&before));
    assert_eq!(all.manifest().number(), 1);
    assert!(all.freeze(0, &mut Head::new().0).is_none(), "nothing to freeze");
}

#[test]
fn a_fence_older_than_the_segments_is_refused() {
    let directory = Directory::new(2);
    let (mut head, shared) = Head::new();
    let (_other, other_shared) = Head::new();
    let all = directory.published(vec![shared, other_shared]);
    assert_eq!(all.least_fence(), Lsn::ZERO);
    append(&mut head, &rows_of(0..1, 0..3));
    head.publish(Lsn::new(7));
    let frozen = all.freeze(0, &mut head).unwrap();
    let manifest = directory.flush_frozen(&[Arc::clone(&frozen)], &all.manifest());
    assert_eq!(seconds(&all.snapshot(Lsn::new(6)).unwrap()), [0_i64; 0]);
    all.commit_flush(0, &[frozen], manifest);
    assert_eq!(all.least_fence(), Lsn::new(7));
    assert!(all.snapshot(Lsn::new(6)).is_none());
    assert_eq!(seconds(&all.snapshot(Lsn::new(7)).unwrap()), [0, 1, 2]);
}

#[test]
fn segments_are_in_the_order_of_the_log_for_every_series_after_slots_moved() {
    let mut directory = Directory::new(3);
    let mut manifest = directory.manifest.clone();
    // Two shards, one of which is ahead, have a series each; then one shard takes all from 51 on.
    for (last, series, time) in
        [(59_u64, 0..1, 0_i64), (100, 0..1, 1), (50, 1..2, 2), (200, 0..2, 3)]
    {
        append(&mut directory.head, &rows_of(series, time..time + 1));
        let (mut head, _) = Head::new();
        std::mem::swap(&mut head, &mut directory.head);
        head.publish(Lsn::new(last));
        manifest = directory.flush_frozen(&[head.freeze().unwrap()], &manifest);
    }
    directory.manifest = manifest;
    let all = directory.published(Vec::new());
    let order = all.snapshot(Lsn::new(200)).unwrap().segments;
    let order: Vec<u64> = order.iter().map(|segment| segment.meta().last_lsn.get()).collect();
    assert_eq!(order, [59, 100, 50, 200], "of each series in the order of the log");
}

/// Record `n` holds the row at second `n - 1`, so a snapshot at fence `n` shows seconds `0..n`.
#[test]
fn while_heads_are_frozen_and_flushed_each_row_is_seen_once() {
    const RECORDS: i64 = 400;
    let directory = Directory::new(4);
    let (mut head, shared) = Head::new();
    let all = directory.published(vec![shared]);
    let applied = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) || seen == 0 {
                    let fence = applied.load(Ordering::Acquire);
                    // A flush may overtake the fence; then a later one must do.
                    if let Some(snapshot) = all.snapshot(Lsn::new(fence)) {
                        let expected = 0..i64::try_from(fence).unwrap();
                        assert!(seconds(&snapshot).into_iter().eq(expected), "fence {fence}");
                        seen += 1;
                    }
                }
            });
        }
        for second in 0..RECORDS {
            append(&mut head, &rows_of(0..1, second..second + 1));
            head.publish(Lsn::new(second.unsigned_abs() + 1));
            applied.store(second.unsigned_abs() + 1, Ordering::Release);
            if second % 40 == 13 {
                all.freeze(0, &mut head).unwrap();
            }
            if second % 80 == 79 {
                let frozen = all.frozen(0);
                let manifest = directory.flush_frozen(&frozen, &all.manifest());
                all.commit_flush(0, &frozen, manifest);
            }
        }
        done.store(true, Ordering::Release);
    });
    let last = all.snapshot(Lsn::new(RECORDS.unsigned_abs())).unwrap();
    assert_eq!(last.segments.len(), 5);
    assert!(seconds(&last).into_iter().eq(0..RECORDS));
}

/// Three segments of ten rows each, and what shows them.
fn three_segments(seed: u64) -> (Directory, Published) {
    let mut directory = Directory::new(seed);
    (0..3).for_each(|file| directory.flush(&rows_of(0..1, file * 10..file * 10 + 10)));
    let all = directory.published(Vec::new());
    (directory, all)
}

/// Makes one segment of all, as the compactor does.
fn merge_all(directory: &Directory, all: &Published) {
    let manifest = all.manifest();
    let files: Vec<_> = manifest.files_of(FileKind::Samples).cloned().collect();
    let prepared = directory.prepare(&manifest, &files, Why::Merge(1));
    let place = (&directory.shared_disk(), directory.dir());
    all.commit_files(prepared.commit(place, &manifest, &[]).unwrap().unwrap());
}

/// Removes what nobody reads, as the compactor does, and gives its names.
fn remove_unread(directory: &Directory, all: &Published) -> Vec<PathBuf> {
    let unread = all.take_unread();
    unread.iter().for_each(|path| directory.disk.remove(path).unwrap());
    unread
}

#[test]
fn a_retired_file_is_given_once_and_only_when_no_snapshot_that_knew_it_is_held() {
    let (directory, all) = three_segments(5);
    let bytes: u64 = all.manifest().files().iter().map(|file| file.bytes).sum();
    let files: Vec<PathBuf> = all
        .manifest()
        .files_of(FileKind::Samples)
        .map(|file| directory.dir().join(&file.file))
        .collect();
    let fence = Lsn::new(3);
    let before = all.snapshot(fence).unwrap();
    let also = before.clone();
    assert_eq!((all.take_unread(), all.unread_bytes()), (Vec::new(), 0), "all are named");
    merge_all(&directory, &all);
    let after = all.snapshot(fence).unwrap();
    assert_eq!(after.segments.len(), 1);
    assert_eq!(all.take_unread(), Vec::<PathBuf>::new(), "two snapshots know them");
    drop(before);
    assert_eq!(all.take_unread(), Vec::<PathBuf>::new(), "one snapshot knows them");
    let [first, rest @ ..] = also.segments.as_slice() else { panic!("three segments") };
    let rest = rest.to_vec();
    let first = (Arc::clone(first), first.meta().bytes);
    drop(also);
    assert_eq!(all.unread_bytes() + all.manifest().files()[0].bytes, bytes);
    // As a scan does, which has read the others.
    drop(rest);
    assert_eq!(all.take_unread(), files[1..], "one scan knows the first one");
    assert_eq!(all.unread_bytes(), first.1);
    drop(first);
    assert_eq!((all.take_unread(), all.unread_bytes()), (files[..1].to_vec(), 0));
    assert_eq!(all.take_unread(), Vec::<PathBuf>::new(), "each is given once");
    assert_eq!(rows_in(&after.segments[0]).len(), 30);
}

#[test]
fn a_snapshot_that_is_held_across_merges_reads_all_its_rows_from_the_old_files() {
    let (mut directory, all) = three_segments(6);
    let before = all.snapshot(Lsn::new(3)).unwrap();
    merge_all(&directory, &all);
    remove_unread(&directory, &all);
    let between = all.snapshot(Lsn::new(3)).unwrap();
    directory.manifest = Manifest::clone(&all.manifest());
    directory.flush(&rows_of(0..1, 30..40));
    all.commit_files(directory.manifest.clone());
    merge_all(&directory, &all);
    remove_unread(&directory, &all);
    let after = all.snapshot(Lsn::new(4)).unwrap();
    // None of the three has read anything so far.
    for (snapshot, segments, rows) in [(&before, 3, 30), (&between, 1, 30), (&after, 1, 40)] {
        assert_eq!(snapshot.segments.len(), segments);
        assert!(seconds(snapshot).into_iter().eq(0..rows), "{segments} segments, {rows} rows");
    }
    drop(before);
    assert_eq!(remove_unread(&directory, &all).len(), 3);
    assert!(seconds(&between).into_iter().eq(0..30), "its file is another one");
    drop(between);
    assert_eq!(remove_unread(&directory, &all).len(), 1);
    assert!(seconds(&after).into_iter().eq(0..40));
}

/// Tells readers that the writer is at its end, however it ended.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn readers_are_never_disturbed_by_merges_and_removals() {
    const ROUNDS: i64 = 60;
    let (mut directory, all) = three_segments(7);
    let flushed = AtomicU64::new(3);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut is_last = false;
                while !is_last {
                    is_last = done.load(Ordering::Acquire);
                    let fence = flushed.load(Ordering::Acquire);
                    // A flush may overtake the fence; then a later one must do.
                    if let Some(snapshot) = all.snapshot(Lsn::new(fence)) {
                        let expected = 0..i64::try_from(fence).unwrap() * 10;
                        assert!(seconds(&snapshot).into_iter().eq(expected), "fence {fence}");
                    }
                }
            });
        }
        for round in 3..ROUNDS {
            directory.manifest = Manifest::clone(&all.manifest());
            directory.flush(&rows_of(0..1, round * 10..round * 10 + 10));
            all.commit_files(directory.manifest.clone());
            flushed.store(round.unsigned_abs() + 1, Ordering::Release);
            merge_all(&directory, &all);
            remove_unread(&directory, &all);
        }
    });
    remove_unread(&directory, &all);
    let names = directory.disk.list(directory.dir()).unwrap();
    assert_eq!(names.iter().filter(|name| name.starts_with("samples-")).count(), 1, "{names:?}");
}
