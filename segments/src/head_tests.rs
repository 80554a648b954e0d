use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidewatch_env::Rng;

use super::*;
use crate::chunk::HeadColumns;
use crate::fixtures::{Row, append, rows_of};
use crate::limits::MARKS_KEPT;
use crate::view::HeadView;

fn rows_seen(view: &HeadView) -> Vec<Row> {
    let mut out = HeadColumns::default();
    view.chunks().iter().for_each(|chunk| chunk.copy(0..chunk.rows(), &mut out));
    let row = |i: usize| Row {
        series: out.series[i],
        time: out.times[i],
        bits: out.values[i].to_bits(),
        severity: out.severities[i],
        flags: out.flags[i],
    };
    (0..out.len()).map(row).collect()
}

#[test]
fn a_view_has_exactly_the_rows_of_records_up_to_its_fence() {
    let mut rng = Rng::from_seed(11);
    let (mut head, shared) = Head::new();
    let mut all = Vec::new();
    let mut upto = vec![0];
    for lsn in 1..=300_u64 {
        let count = usize::try_from(rng.below(2_000)).unwrap() * usize::from(lsn % 3 != 0);
        let mut rows = rows_of(0..1, 0..i64::try_from(count).unwrap());
        for row in &mut rows {
            row.bits = rng.next_u64();
            row.severity = u16::try_from(rng.below(65_536)).unwrap();
            row.flags = u8::try_from(rng.below(256)).unwrap();
        }
        append(&mut head, &rows);
        assert_eq!(shared.view(Lsn::new(lsn)).unwrap().rows(), all.len(), "not yet published");
        head.publish(Lsn::new(lsn));
        all.extend(rows);
        upto.push(all.len());
    }
    assert!(all.len() > 2 * CHUNK_ROWS, "several chunks are crossed");
    for (lsn, rows) in (0..).zip(&upto) {
        assert_eq!(shared.view(Lsn::new(lsn)).unwrap().rows(), *rows, "at {lsn}");
    }
    assert_eq!(rows_seen(&shared.view(Lsn::new(150)).unwrap()), all[..upto[150]]);
    assert_eq!(rows_seen(&shared.view(Lsn::new(9_999)).unwrap()), all);
}

#[test]
fn marks_above_the_durable_position_are_kept_and_earlier_fences_are_refused() {
    let (mut head, shared) = Head::new();
    let last = u64::try_from(3 * MARKS_KEPT).unwrap();
    for lsn in 1..=last {
        append(&mut head, &rows_of(0..1, 0..1));
        head.publish(Lsn::new(lsn));
    }
    assert_eq!(shared.view(Lsn::ZERO).unwrap().rows(), 0, "nothing was forgotten");
    let durable = u64::try_from(MARKS_KEPT / 2).unwrap();
    head.forget_marks_below(Lsn::new(durable));
    assert!(shared.view(Lsn::new(durable - 1)).is_none());
    for lsn in [durable, durable + 1, last] {
        assert_eq!(shared.view(Lsn::new(lsn)).unwrap().rows() as u64, lsn);
    }
    assert_eq!(shared.least_fence(), Lsn::new(durable));
    head.forget_marks_below(Lsn::new(last));
    let kept = last + 1 - u64::try_from(MARKS_KEPT).unwrap();
    assert!(shared.view(Lsn::new(kept)).is_some(), "some marks are kept in any case");
    assert!(shared.view(Lsn::new(kept - 1)).is_none());
}

#[test]
fn frozen_rows_stay_readable_and_the_head_starts_empty() {
    let (mut head, shared) = Head::new();
    head.publish(Lsn::new(4));
    assert!(head.freeze().is_none(), "no rows");
    append(&mut head, &rows_of(0..3, 0..2));
    head.publish(Lsn::new(5));
    head.publish(Lsn::new(7));
    let frozen = head.freeze().unwrap();
    assert_eq!((frozen.rows, frozen.first_lsn, frozen.last_lsn), (6, Lsn::new(5), Lsn::new(7)));
    assert_eq!((head.rows(), head.bytes()), (0, 0));
    append(&mut head, &rows_of(3..4, 0..1));
    head.publish(Lsn::new(8));
    assert_eq!(rows_seen(&frozen.view()), rows_of(0..3, 0..2));
    assert_eq!(shared.view(Lsn::new(9)).unwrap().rows(), 6, "the old view's owner sees no others");
    assert_eq!(frozen.view_of(3, Lsn::new(4)).unwrap().rows(), 0);
    assert_eq!(head.shared().view(Lsn::new(8)).unwrap().rows(), 1);
}

#[test]
fn chunks_tell_their_times_and_heads_their_late_hours() {
    let (mut head, shared) = Head::new();
    let mut rows = rows_of(0..1, 3_600..3_610);
    append(&mut head, &rows);
    head.publish(Lsn::new(1));
    let view = shared.view(Lsn::new(1)).unwrap();
    assert!(!view.has_late() && !view.chunks()[0].has_late());
    rows.truncate(1);
    rows[0].flags = Flags::LATE.bits();
    rows[0].time = -1;
    append(&mut head, &rows);
    head.publish(Lsn::new(2));
    let view = shared.view(Lsn::new(2)).unwrap();
    assert!(view.has_late() && view.chunks()[0].has_late());
    assert!(view.late_hours().contains(-1) && !view.late_hours().contains(1));
    assert_eq!(view.chunks()[0].time_min(), EventTime::new(-1));
    assert_eq!(view.chunks()[0].time_max(), EventTime::new(3_609_000_000_000));
}

/// Row `n` is a function of `n`, so that a reader knows what it must find.
#[test]
fn readers_beside_the_writer_see_whole_rows_of_whole_records() {
    const ROWS_PER_RECORD: u64 = 97;
    const RECORDS: u64 = 4_000;
    let (mut head, shared) = Head::new();
    let published = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut out = HeadColumns::default();
                let mut views = 0_u64;
                while !done.load(Ordering::Acquire) || views == 0 {
                    let lsn = published.load(Ordering::Acquire);
                    let view = shared.view(Lsn::new(lsn)).unwrap();
                    assert_eq!(view.rows() as u64, lsn * ROWS_PER_RECORD);
                    out.clear();
                    for chunk in view.chunks().iter().rev().take(1) {
                        chunk.copy(0..chunk.rows(), &mut out);
                    }
                    for i in 0..out.len() {
                        let n = u64::from(out.series[i]);
                        assert_eq!(out.times[i].unsigned_abs(), n * 3, "row {n} is torn");
                        assert_eq!(out.values[i].to_bits(), n * 5, "row {n} is torn");
                        assert_eq!(u64::from(out.severities[i]), n % 60_000, "row {n} is torn");
                    }
                    views += 1;
                }
            });
        }
        for lsn in 1..=RECORDS {
            let numbers = (lsn - 1) * ROWS_PER_RECORD..lsn * ROWS_PER_RECORD;
            let row = |n: u64| Row {
                series: u32::try_from(n).unwrap(),
                time: i64::try_from(n * 3).unwrap(),
                bits: n * 5,
                severity: u16::try_from(n % 60_000).unwrap(),
                flags: 0,
            };
            append(&mut head, &numbers.map(row).collect::<Vec<_>>());
            head.publish(Lsn::new(lsn));
            published.store(lsn, Ordering::Release);
        }
        done.store(true, Ordering::Release);
    });
}
