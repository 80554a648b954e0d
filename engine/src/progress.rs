//! How far the log is durable and applied, and waiting for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tidewatch_metrics::{Lsn, UnixNanos};

/// Syncs whose times are kept for the `durable` times of alerts.
const SYNC_TIMES_KEPT: usize = 4_096;

/// How far the log is durable and applied. One per engine, written by the committer and the shards.
#[derive(Debug)]
pub struct Progress {
    durable: AtomicU64,
    /// Samples in the log, for whoever measures by it.
    rows: AtomicU64,
    /// The log's time: that of its last tick.
    log_time: AtomicI64,
    /// Whether windows of percentiles are counted, and when one closes if no row comes: log time, or the end of time.
    counting: AtomicBool,
    closes_at: AtomicI64,
    /// Per shard, when a tick has a silence to look at: log time, or the end of time.
    deadlines: Vec<AtomicI64>,
    /// Whether there is no room for the log's next file.
    full: AtomicBool,
    applied: Vec<AtomicU64>,
    /// Shown to those who wait: no more progress will come.
    closed: AtomicBool,
    waiters: AtomicUsize,
    sync_times: Mutex<VecDeque<(Lsn, UnixNanos)>>,
    changed: Condvar,
}

impl Progress {
    /// Nothing durable, nothing applied, for `shards` shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            durable: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            log_time: AtomicI64::new(0),
            counting: AtomicBool::new(false),
            closes_at: AtomicI64::new(i64::MAX),
            deadlines: (0..shards).map(|_| AtomicI64::new(i64::MAX)).collect(),
            full: AtomicBool::new(false),
            applied: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            closed: AtomicBool::new(false),
            waiters: AtomicUsize::new(0),
            sync_times: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The last durable record.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        // ATOMICS: sequentially consistent throughout, so that a waiter that counts itself and then
        // looks cannot miss a change whose maker looks for waiters afterwards.
        Lsn::new(self.durable.load(Ordering::SeqCst))
    }

    /// Samples in the log.
    #[must_use]
    pub fn rows(&self) -> u64 {
        // ATOMICS: a number on its own guards no other memory, hence relaxed.
        self.rows.load(Ordering::Relaxed)
    }

    /// The committer: the log holds so many samples.
    pub fn set_rows(&self, rows: u64) {
        self.rows.store(rows, Ordering::Relaxed);
    }

    /// The log's time.
    #[must_use]
    pub fn log_time(&self) -> UnixNanos {
        UnixNanos::new(self.log_time.load(Ordering::Relaxed))
    }

    /// The committer: the log has come to `time`.
    pub fn set_log_time(&self, time: UnixNanos) {
        self.log_time.store(time.nanos(), Ordering::Relaxed);
    }

    /// Whether rows are counted for percentiles, so that a tick is due behind them.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Relaxed)
    }

    /// A shard: whether rows are counted for percentiles.
    pub fn set_counting(&self, counting: bool) {
        self.counting.store(counting, Ordering::Relaxed);
    }

    /// The log time at which a window closes if no row comes; none where no window is open.
    #[must_use]
    pub fn closes_at(&self) -> Option<UnixNanos> {
        let time = self.closes_at.load(Ordering::Relaxed);
        (time < i64::MAX).then(|| UnixNanos::new(time))
    }

    /// A shard: the log time at which a window closes if no row comes.
    pub fn set_closes_at(&self, time: Option<UnixNanos>) {
        self.closes_at.store(time.map_or(i64::MAX, UnixNanos::nanos), Ordering::Relaxed);
    }

    /// The log time from which on a tick has a silence to look at; none where no series is awaited.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixNanos> {
        let times = self.deadlines.iter().map(|time| time.load(Ordering::Relaxed));
        times.min().filter(|time| *time < i64::MAX).map(UnixNanos::new)
    }

    /// A shard: the log time from which on a tick has a silence to look at.
    pub fn set_deadline(&self, shard: usize, time: Option<UnixNanos>) {
        if let Some(deadline) = self.deadlines.get(shard) {
            deadline.store(time.map_or(i64::MAX, UnixNanos::nanos), Ordering::Relaxed);
        }
    }

    /// Whether there is no room for the log's next file.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whoever readies the log's files: whether there is no room for the next one.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// The last record that all shards have applied.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        let least = self.applied.iter().map(|lsn| lsn.load(Ordering::SeqCst)).min();
        Lsn::new(least.unwrap_or(0))
    }

    /// The committer: everything up to `lsn` is durable since `time`.
    pub fn set_durable(&self, lsn: Lsn, time: UnixNanos) {
        let mut times = self.lock();
        if times.len() == SYNC_TIMES_KEPT {
            times.pop_front();
        }
        times.push_back((lsn, time));
        drop(times);
        self.durable.store(lsn.get(), Ordering::SeqCst);
        self.wake();
    }

    /// A shard: everything up to `lsn` is applied.
    pub fn set_applied(&self, shard: usize, lsn: Lsn) {
        if let Some(applied) = self.applied.get(shard) {
            applied.store(lsn.get(), Ordering::SeqCst);
            self.wake();
        }
    }

    /// No more progress will come: whoever waits is let go.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let held = self.lock();
        self.changed.notify_all();
        drop(held);
    }

    /// Whether no more progress will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// When the record became durable; the oldest time kept where that is longer ago.
    #[must_use]
    pub fn durable_time(&self, lsn: Lsn) -> Option<UnixNanos> {
        let times = self.lock();
        let at = times.partition_point(|(synced, _)| *synced < lsn);
        times.get(at).map(|(_, time)| *time)
    }

    /// Waits until all shards have applied `fence` and it is durable; `false` when the time is over
    /// or the engine has closed.
    #[must_use]
    pub fn wait_visible(&self, fence: Lsn, timeout: Duration) -> bool {
        self.wait(timeout, || self.applied() >= fence && self.durable() >= fence)
    }

    /// Waits until `lsn` is durable; `false` when the time is over or the engine has closed.
    #[must_use]
    pub fn wait_durable(&self, lsn: Lsn, timeout: Duration) -> bool {
        self.wait(timeout, || self.durable() >= lsn)
    }

    /// Waits until all shards have applied `lsn`, however long it takes, or the engine closes.
    pub fn wait_applied(&self, lsn: Lsn) {
        while !self.wait(Duration::from_secs(1), || self.applied() >= lsn) {
            if self.is_closed() {
                return;
            }
        }
    }

    fn wait(&self, timeout: Duration, reached: impl Fn() -> bool) -> bool {
        if reached() {
            return true;
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let guard = self.lock();
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, timeout, |_| {
                !reached() && !self.closed.load(Ordering::SeqCst)
            })
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(guard);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        reached()
    }

    fn wake(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            // Under the lock, so that the signal cannot fall between a waiter's look and its wait.
            let held = self.lock();
            self.changed.notify_all();
            drop(held);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Lsn, UnixNanos)>> {
        self.sync_times.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_reached_when_it_is_durable_and_applied_by_all() {
        let progress = Progress::new(2);
        let fence = Lsn::new(5);
        let seen = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| progress.wait_visible(fence, Duration::from_secs(60)));
            progress.set_applied(0, fence);
            progress.set_durable(fence, UnixNanos::new(77));
            progress.set_applied(1, fence);
            waiter.join().expect("the waiter does not panic")
        });
        assert!(seen);
        assert_eq!(progress.durable_time(Lsn::new(3)), Some(UnixNanos::new(77)));
        assert!(!progress.wait_visible(Lsn::new(6), Duration::ZERO));
    }

    #[test]
    fn closing_lets_waiters_go() {
        let progress = Progress::new(1);
        let seen = std::thread::scope(|scope| {
            let waiter =
                scope.spawn(|| progress.wait_durable(Lsn::new(1), Duration::from_secs(60)));
            progress.close();
            waiter.join().expect("the waiter does not panic")
        });
        assert!(!seen);
    }
}
