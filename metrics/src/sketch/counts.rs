//! The sketch: buckets and how many values are in each.

use crate::sketch::bucket::Bucket;

/// How many values there were, by magnitude.
///
/// A quantile is that of the nearest rank: with `n` values in ascending order `x[1]`, ..., `x[n]`,
///
/// ```text
/// quantile(q) = x[max(1, ceil(q n))]        0 <= q <= 1, the product in f64
/// ```
///
/// Source: Hyndman and Fan, "Sample quantiles in statistical packages" (1996), definition 1. The smallest and the
/// greatest value are told exactly, the others within [`RELATIVE_ERROR_MAX`](crate::sketch::RELATIVE_ERROR_MAX)
/// of the value that has the rank, for values of every sign and size.
///
/// NaN and infinities are counted apart and have no rank. Sketches add up: counts are integers, so the sum
/// has the same bits in whatever order parts were added. Counts stop at 2^64 - 1.
///
/// Invariant: buckets ascend, and none is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    pub(crate) buckets: Vec<(Bucket, u64)>,
    pub(crate) count: u64,
    pub(crate) excluded: u64,
    /// 0 where there is no value.
    pub(crate) min: f64,
    /// As `min`.
    pub(crate) max: f64,
}

impl Sketch {
    /// Counts one value.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.excluded = self.excluded.saturating_add(1);
            return;
        }
        // Adding 0 turns -0 into 0.
        let value = value + 0.0;
        self.extend_range(value, value);
        let bucket = Bucket::of(value);
        match self.buckets.binary_search_by(|(known, _)| known.cmp(&bucket)) {
            Ok(place) => self.buckets[place].1 = self.buckets[place].1.saturating_add(1),
            Err(place) => self.buckets.insert(place, (bucket, 1)),
        }
        self.count = self.count.saturating_add(1);
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.excluded = self.excluded.saturating_add(other.excluded);
        if other.count == 0 {
            return;
        }
        self.extend_range(other.min, other.max);
        self.count = self.count.saturating_add(other.count);
        let mut merged = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        let mut mine = std::mem::take(&mut self.buckets).into_iter().peekable();
        for &(bucket, count) in &other.buckets {
            while let Some(before) = mine.next_if(|(known, _)| *known < bucket) {
                merged.push(before);
            }
            let known = mine.next_if(|(known, _)| *known == bucket).map_or(0, |(_, known)| known);
            merged.push((bucket, known.saturating_add(count)));
        }
        merged.extend(mine);
        merged.shrink_to_fit();
        self.buckets = merged;
    }

    /// The value at quantile `q`; `None` where there is no value, or `q` is not from 0 to 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = rank(q, self.count);
        if rank == 1 {
            return Some(self.min);
        }
        let mut reached = 0_u64;
        for (bucket, count) in &self.buckets {
            reached = reached.saturating_add(*count);
            if reached >= rank && rank < self.count {
                return Some(bucket.value().clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// What stands for the values, in ascending order, each with how many values it stands for: the
    /// smallest and the greatest are exact.
    pub fn counts(&self) -> impl Iterator<Item = (f64, u64)> {
        let ends = [(self.min, u64::from(self.count > 0)), (self.max, u64::from(self.count > 1))];
        let last = self.buckets.len().saturating_sub(1);
        let middle = self.buckets.iter().enumerate().map(move |(place, (bucket, count))| {
            let at_ends = u64::from(place == 0) + u64::from(place == last && self.count > 1);
            (bucket.value().clamp(self.min, self.max), count.saturating_sub(at_ends))
        });
        let all = ends.into_iter().take(1).chain(middle).chain(ends.into_iter().skip(1));
        all.filter(|(_, count)| *count > 0)
    }

    /// Values counted, without those that have no rank.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// NaN and infinities.
    #[must_use]
    pub fn excluded(&self) -> u64 {
        self.excluded
    }

    /// Whether nothing was counted, not even what has no rank.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.excluded == 0
    }

    /// Buckets in use.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Bytes that it takes at most, a function of what was counted alone.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Lists grow by doubling.
        size_of::<Self>() + 2 * self.buckets.len().max(4) * size_of::<(Bucket, u64)>()
    }

    fn extend_range(&mut self, min: f64, max: f64) {
        if self.count == 0 {
            (self.min, self.max) = (min, max);
            return;
        }
        if min < self.min {
            self.min = min;
        }
        if max > self.max {
            self.max = max;
        }
    }
}

/// The rank of a quantile among `count` values, from 1 to `count`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of f64 to u64 saturates, and the rank is then bounded"
)]
fn rank(q: f64, count: u64) -> u64 {
    let rank = (q * count as f64).ceil() as u64;
    rank.clamp(1, count)
}
