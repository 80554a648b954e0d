use tidewatch_env::Rng;
use tidewatch_metrics::{EventTime, Lsn};

use super::*;
use crate::file_meta::FileKind;

/// What a flush at `written` leaves: `rows` of the last `span` nanoseconds.
fn flushed(lsn: u64, rows: u64, written: i64, span: i64) -> Arc<FileMeta> {
    Arc::new(FileMeta {
        rows,
        first_lsn: Lsn::new(lsn),
        last_lsn: Lsn::new(lsn),
        written: UnixNanos::new(written),
        time_min: EventTime::new(written - span),
        time_max: EventTime::new(written),
        ..FileMeta::of(FileKind::Samples)
    })
}

/// A store of segments that counts what merges write.
#[derive(Default)]
struct Store {
    files: Vec<Arc<FileMeta>>,
    rows_flushed: u64,
    rows_merged: u64,
}

impl Store {
    fn flush(&mut self, rows: u64, written: i64, span: i64) {
        let lsn = self.files.last().map_or(1, |last| last.last_lsn.get() + 1);
        self.rows_flushed += rows;
        self.files.push(flushed(lsn, rows, written, span));
    }

    fn merge_all(&mut self, now: i64, force: bool) -> usize {
        let mut merges = 0;
        while let Some(due) = due_merge(&self.files, UnixNanos::new(now), force) {
            let inputs: Vec<_> = self.files.drain(due.files.clone()).collect();
            assert!(inputs.len() >= 2 && inputs.len() <= MERGE_INPUTS_MAX);
            let open: u64 = inputs.iter().map(|file| open_rows(file)).sum();
            assert!(open <= OPEN_ROWS_MAX, "{open} rows are decoded at once");
            assert!(inputs.iter().all(|file| file.tier < due.tier), "a tier is merged once");
            let rows = inputs.iter().map(|file| file.rows).sum();
            self.rows_merged += rows;
            let merged = FileMeta {
                rows,
                tier: due.tier,
                first_lsn: inputs[0].first_lsn,
                time_min: inputs.iter().map(|file| file.time_min).min().unwrap(),
                time_max: inputs.iter().map(|file| file.time_max).max().unwrap(),
                ..FileMeta::clone(inputs.last().unwrap())
            };
            self.files.insert(due.files.start, Arc::new(merged));
            merges += 1;
        }
        merges
    }
}

#[test]
fn a_month_of_flushes_becomes_a_file_a_day_and_no_row_is_written_more_than_three_times() {
    let mut store = Store::default();
    let minutes = 60 * SECOND;
    for step in 0..30 * 144_i64 {
        let now = (step + 1) * 10 * minutes;
        for _shard in 0..2 {
            store.flush(60_000, now, 10 * minutes);
        }
        store.merge_all(now, false);
        assert!(store.files.len() < 30 + 2 * 13 + 12, "{} files", store.files.len());
    }
    assert!((30..60).contains(&store.files.len()), "{} files", store.files.len());
    assert!(store.rows_merged <= 2 * store.rows_flushed);
    let days = store.files.iter().filter(|file| file.tier == TIER_LAST).count();
    assert!(days >= 28, "{days} days are complete");
}

#[test]
fn large_flushes_skip_a_tier() {
    let mut store = Store::default();
    for step in 0..128_i64 {
        store.flush(4_000_000, step * SECOND, 6 * 3_600 * SECOND);
        store.merge_all(step * SECOND, false);
    }
    assert!(store.rows_merged <= store.rows_flushed, "each row is merged once");
    assert!(store.files.iter().all(|file| file.rows <= 64 << 20), "within the greatest size");
    assert!(store.files.len() < 45, "{} files", store.files.len());
}

#[test]
fn whatever_flushes_bring_rows_are_written_three_times_at_most_and_force_leaves_little_to_merge() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let mut store = Store::default();
        let mut now = 0;
        for _ in 0..400 {
            now += i64::try_from(rng.below(4_000)).unwrap() * SECOND;
            let magnitude = rng.below(24);
            let rows = 1 + rng.below(1 << magnitude);
            store.flush(rows, now, i64::try_from(rng.below(100_000)).unwrap() * SECOND);
            if rng.below(3) == 0 {
                store.merge_all(now, rng.below(20) == 0);
            }
        }
        store.merge_all(now, true);
        assert!(store.rows_merged <= 2 * store.rows_flushed, "seed {seed}");
        let small = store.files.windows(2).filter(|w| tier_of(&w[0]) == 0 && tier_of(&w[1]) == 0);
        assert_eq!(small.count(), 0, "seed {seed}: neighbours of tier 0 are left");
        assert!(store.files.is_sorted_by_key(|file| file.last_lsn));
        let rows: u64 = store.files.iter().map(|file| file.rows).sum();
        assert_eq!(rows, store.rows_flushed);
    }
}
