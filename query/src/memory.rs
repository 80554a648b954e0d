//! The memory of one query, within that of all queries.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryLimit, MemoryPool, MemoryReservation,
};

/// A pool that takes from its own limit and from the pool of all queries at the same time.
#[derive(Debug)]
pub(crate) struct QueryPool {
    own: GreedyMemoryPool,
    all: Arc<dyn MemoryPool>,
}

impl QueryPool {
    pub(crate) fn new(bytes_max: usize, all: Arc<dyn MemoryPool>) -> Self {
        Self { own: GreedyMemoryPool::new(bytes_max), all }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query({}) of {}", self.own, self.all)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        self.all
            .try_grow(reservation, additional)
            .inspect_err(|_full| self.own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::*;

    #[test]
    fn both_limits_hold_and_both_pools_get_back_what_they_gave() {
        let all: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(150));
        let pool = |max| -> Arc<dyn MemoryPool> { Arc::new(QueryPool::new(max, Arc::clone(&all))) };
        let (one, two) = (pool(100), pool(100));
        let of_one = MemoryConsumer::new("one").register(&one);
        let of_two = MemoryConsumer::new("two").register(&two);
        assert!(of_one.try_grow(101).is_err(), "beyond its own limit");
        of_one.try_grow(100).unwrap();
        assert!(of_two.try_grow(51).is_err(), "beyond that of all");
        assert_eq!((two.reserved(), all.reserved()), (0, 100));
        of_two.try_grow(50).unwrap();
        drop(of_one);
        assert_eq!((one.reserved(), two.reserved(), all.reserved()), (0, 50, 50));
    }
}
