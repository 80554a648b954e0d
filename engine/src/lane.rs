//! What requests work with, one at a time; as many as there are processors for.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tidewatch_connectors::decode::{LineBatch, SeriesBatch};
use tidewatch_metrics::SeriesCatalog;

use crate::cardinality::Refusals;
use crate::limits::LANE_SAMPLES_KEPT_MAX;
use crate::line_cache::{LineCache, Target};

/// What one request at a time works with; kept from request to request.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) lines: LineBatch,
    pub(crate) series: SeriesBatch,
    pub(crate) cache: LineCache,
    pub(crate) targets: Vec<Target>,
    pub(crate) refusals: Refusals,
    /// The numbers of lines, or of items, whose series were refused.
    pub(crate) refused: Vec<u32>,
}

/// Hands lanes out. Requests beyond their number wait: more at a time would not be faster, and each
/// lane has its own memory of series.
#[derive(Debug)]
pub(crate) struct Lanes {
    catalog: Arc<SeriesCatalog>,
    lanes_max: usize,
    cache_bytes_max: usize,
    pool: Mutex<Pool>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Lane>,
    /// Lanes that there are, in use or not.
    made: usize,
}

/// A lane in use; it goes back when dropped.
#[derive(Debug)]
pub(crate) struct LaneInUse<'a> {
    lanes: &'a Lanes,
    /// Always there but while it is dropped.
    lane: Option<Lane>,
}

impl Lanes {
    /// At most `lanes_max` lanes, at least 1, whose caches take `cache_bytes_max` together.
    pub(crate) fn new(
        catalog: Arc<SeriesCatalog>,
        lanes_max: usize,
        cache_bytes_max: usize,
    ) -> Self {
        let lanes_max = lanes_max.max(1);
        Self {
            catalog,
            lanes_max,
            cache_bytes_max: cache_bytes_max / lanes_max,
            pool: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// A lane, as soon as one is free.
    pub(crate) fn take(&self) -> LaneInUse<'_> {
        let full = |pool: &mut Pool| pool.idle.is_empty() && pool.made >= self.lanes_max;
        let pool = self.freed.wait_while(self.lock(), full);
        let mut pool = pool.unwrap_or_else(PoisonError::into_inner);
        let idle = pool.idle.pop();
        pool.made += usize::from(idle.is_none());
        drop(pool);
        let lane = idle.unwrap_or_else(|| Lane {
            lines: LineBatch::new(),
            series: SeriesBatch::new(),
            cache: LineCache::new(Arc::clone(&self.catalog), self.cache_bytes_max),
            targets: Vec::new(),
            refusals: Refusals::default(),
            refused: Vec::new(),
        });
        LaneInUse { lanes: self, lane: Some(lane) }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LaneInUse<'_> {
    fn drop(&mut self) {
        let Some(mut lane) = self.lane.take() else { return };
        if lane.lines.samples() > LANE_SAMPLES_KEPT_MAX {
            // Few bodies are so large, and the memory would stay with the lane for good.
            lane.lines = LineBatch::new();
        }
        // Lists grow by doubling.
        if lane.series.capacity() > 2 * LANE_SAMPLES_KEPT_MAX {
            lane.series = SeriesBatch::new();
        }
        lane.refusals = Refusals::default();
        lane.refused = Vec::new();
        let mut pool = self.lanes.lock();
        if std::thread::panicking() {
            // Nobody knows what it has been left with.
            pool.made -= 1;
        } else {
            pool.idle.push(lane);
        }
        drop(pool);
        self.lanes.freed.notify_one();
    }
}

impl Deref for LaneInUse<'_> {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        self.lane.as_ref().expect("a lane in use is there")
    }
}

impl DerefMut for LaneInUse<'_> {
    fn deref_mut(&mut self) -> &mut Lane {
        self.lane.as_mut().expect("a lane in use is there")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn there_are_never_more_lanes_than_allowed_and_all_requests_get_one() {
        let lanes = Lanes::new(Arc::new(SeriesCatalog::new(1)), 2, 1 << 20);
        let (in_use, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lane = lanes.take();
                        assert!(in_use.fetch_add(1, Ordering::SeqCst) < 2);
                        std::thread::yield_now();
                        in_use.fetch_sub(1, Ordering::SeqCst);
                        served.fetch_add(1, Ordering::SeqCst);
                        drop(lane);
                    }
                });
            }
        });
        assert_eq!(served.into_inner(), 1_600);
        assert!(lanes.lock().made <= 2);
    }

    #[test]
    fn a_lane_that_is_lost_to_a_panic_makes_room_for_another() {
        let lanes = Lanes::new(Arc::new(SeriesCatalog::new(1)), 1, 1 << 20);
        std::thread::scope(|scope| {
            let lost = scope.spawn(|| {
                let _lane = lanes.take();
                panic!("a planted bug");
            });
            assert!(lost.join().is_err());
        });
        drop(lanes.take());
        assert_eq!(lanes.lock().made, 1);
    }
}
