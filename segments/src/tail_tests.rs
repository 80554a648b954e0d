use std::sync::Arc;

use super::*;
use crate::chunk::HeadColumns;
use crate::fixtures::{Directory, append, rows_of};
use crate::head::Head;
use crate::limits::CHUNK_ROWS;
use crate::snapshot::Published;
use crate::view::FrozenHead;

/// The seconds of the rows, in their order.
fn seconds(rows: &TailRows) -> Vec<i64> {
    let mut out = HeadColumns::default();
    for (view, from) in &rows.heads {
        let mut at = 0;
        for chunk in view.chunks() {
            let fresh = from.saturating_sub(at).min(chunk.rows());
            chunk.copy(fresh..chunk.rows(), &mut out);
            at += chunk.rows();
        }
    }
    assert_eq!(out.len(), rows.len());
    out.times.iter().map(|time| time / 1_000_000_000).collect()
}

fn write(head: &mut Head, seconds: std::ops::Range<i64>, lsn: u64) {
    append(head, &rows_of(0..1, seconds));
    head.publish(Lsn::new(lsn));
}

fn flush_all(directory: &Directory, all: &Published, frozen: &[Arc<FrozenHead>]) {
    all.commit_flush(0, frozen, directory.flush_frozen(frozen, &all.manifest()));
}

#[test]
fn every_row_is_seen_once_up_to_the_fence_across_freezes_and_flushes() {
    let directory = Directory::new(1);
    let (mut head, shared) = Head::new();
    let all = directory.published(vec![shared]);
    let mut place = TailPlace::default();
    let mut tail = |lsn: u64| {
        let rows = all.tail(&mut place, Lsn::new(lsn)).unwrap();
        (seconds(&rows), rows.is_torn)
    };
    write(&mut head, 0..3, 1);
    assert_eq!(tail(1), (vec![], false), "what was there before is not fresh");
    write(&mut head, 3..5, 2);
    write(&mut head, 5..6, 3);
    assert_eq!(tail(2), (vec![3, 4], false), "the third record is behind the fence");
    let first = all.freeze(0, &mut head).unwrap();
    write(&mut head, 6..7, 4);
    assert_eq!(tail(4), (vec![5, 6], false));
    assert_eq!(tail(4), (vec![], false));
    flush_all(&directory, &all, &[first]);
    write(&mut head, 7..8, 5);
    assert_eq!(tail(5), (vec![7], false), "a flush of seen rows tears nothing");
}

#[test]
fn rows_that_went_to_files_unseen_are_missing_and_that_is_told() {
    let directory = Directory::new(1);
    let (mut head, shared) = Head::new();
    let all = directory.published(vec![shared]);
    let mut place = TailPlace::default();
    write(&mut head, 0..1, 1);
    all.tail(&mut place, Lsn::new(1)).unwrap();
    write(&mut head, 1..4, 2);
    let frozen = all.freeze(0, &mut head).unwrap();
    flush_all(&directory, &all, &[frozen]);
    write(&mut head, 4..6, 3);
    let rows = all.tail(&mut place, Lsn::new(3)).unwrap();
    assert_eq!((seconds(&rows), rows.is_torn), (vec![4, 5], true));
    let rows = all.tail(&mut place, Lsn::new(3)).unwrap();
    assert_eq!((seconds(&rows), rows.is_torn), (vec![], false));
}

#[test]
fn a_place_holds_no_rows() {
    let directory = Directory::new(1);
    let (mut head, shared) = Head::new();
    let weak = Arc::downgrade(&shared);
    let all = directory.published(vec![shared]);
    let mut place = TailPlace::default();
    let many = i64::try_from(CHUNK_ROWS).unwrap() + 10;
    write(&mut head, 0..many, 1);
    all.tail(&mut place, Lsn::new(1)).unwrap();
    let frozen = all.freeze(0, &mut head).unwrap();
    flush_all(&directory, &all, &[frozen]);
    assert_eq!(weak.strong_count(), 0, "the head is gone although it is followed");
}
