//! From a reference to the place of its series in a table.

use std::ops::RangeInclusive;

use tidewatch_metrics::SeriesRef;

/// The place of a series that is not asked for.
pub(crate) const NO_SERIES: u32 = u32::MAX;

/// A dense array may have this many cells per series before it gives way to a search.
const SPREAD_MAX: usize = 16;

/// The places of the series that a scan asks for.
#[derive(Clone, Debug)]
pub(crate) enum SeriesIndex {
    /// `places[reference - base]`.
    Dense { base: u32, places: Vec<u32> },
    /// `(reference, place)` in ascending order.
    Sorted(Vec<(u32, u32)>),
}

impl SeriesIndex {
    /// The index of `(reference, place)` pairs in any order.
    pub(crate) fn new(mut pairs: Vec<(SeriesRef, u32)>) -> Self {
        pairs.sort_unstable();
        let (Some(first), Some(last)) = (pairs.first(), pairs.last()) else {
            return Self::Sorted(Vec::new());
        };
        let base = first.0.0;
        let span = (last.0.0 - base) as usize + 1;
        if span / SPREAD_MAX > pairs.len() {
            return Self::Sorted(pairs.into_iter().map(|(series, at)| (series.0, at)).collect());
        }
        let mut places = vec![NO_SERIES; span];
        for (series, place) in pairs {
            if let Some(cell) = places.get_mut((series.0 - base) as usize) {
                *cell = place;
            }
        }
        Self::Dense { base, places }
    }

    /// The place of a series, or [`NO_SERIES`].
    #[inline]
    pub(crate) fn place(&self, series: u32) -> u32 {
        match self {
            Self::Dense { base, places } => {
                let cell = series.wrapping_sub(*base) as usize;
                places.get(cell).copied().unwrap_or(NO_SERIES)
            }
            Self::Sorted(pairs) => match pairs.binary_search_by_key(&series, |pair| pair.0) {
                Ok(at) => pairs.get(at).map_or(NO_SERIES, |pair| pair.1),
                Err(_) => NO_SERIES,
            },
        }
    }

    /// The series that are asked for.
    pub(crate) fn references(&self) -> impl Iterator<Item = SeriesRef> {
        let (dense, base, sorted) = match self {
            Self::Dense { base, places } => (&places[..], *base, &[][..]),
            Self::Sorted(pairs) => (&[][..], 0, &pairs[..]),
        };
        let dense = dense.iter().zip(base..).filter(|(place, _)| **place != NO_SERIES);
        let dense = dense.map(|(_, reference)| SeriesRef(reference));
        dense.chain(sorted.iter().map(|pair| SeriesRef(pair.0)))
    }

    /// The places of the series whose references lie in a range.
    pub(crate) fn places(&self, references: RangeInclusive<u32>) -> impl Iterator<Item = u32> {
        let (first, last) = references.into_inner();
        let (dense, sorted) = match self {
            Self::Dense { base, places } => {
                let cell = |reference: u32| reference.saturating_sub(*base) as usize;
                let end = if last < *base { 0 } else { places.len().min(cell(last) + 1) };
                (places.get(cell(first)..end).unwrap_or_default(), &[][..])
            }
            Self::Sorted(pairs) => {
                let start = pairs.partition_point(|pair| pair.0 < first);
                let end = pairs.partition_point(|pair| pair.0 <= last);
                (&[][..], pairs.get(start..end).unwrap_or_default())
            }
        };
        let sorted = sorted.iter().map(|pair: &(u32, u32)| pair.1);
        dense.iter().copied().filter(|place| *place != NO_SERIES).chain(sorted)
    }

    /// Whether any series is asked for whose reference may lie in a range, which may be unknown.
    pub(crate) fn asks(&self, references: Option<RangeInclusive<u32>>) -> bool {
        references.is_none_or(|references| self.places(references).next().is_some())
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Dense { places, .. } => places.len() * 4,
            Self::Sorted(pairs) => pairs.len() * 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far_references_are_found_and_others_are_not() {
        for gap in [1, 3, 1_000] {
            let pairs = (0..50).map(|i| (SeriesRef(7 + i * gap), i)).collect();
            let index = SeriesIndex::new(pairs);
            assert_eq!(matches!(index, SeriesIndex::Dense { .. }), gap < 17, "gap {gap}");
            for i in 0..50 {
                assert_eq!(index.place(7 + i * gap), i);
            }
            for series in [0, 6, 8 + 49 * gap, u32::MAX] {
                assert_eq!(index.place(series), NO_SERIES, "{series} at gap {gap}");
            }
            let ends = [0, 6, 7, 8, 7 + 3 * gap, 7 + 49 * gap, 8 + 49 * gap, u32::MAX];
            for (first, last) in ends.iter().flat_map(|first| ends.map(|last| (*first, last))) {
                let within = (0..50).filter(|i| (first..=last).contains(&(7 + i * gap)));
                assert!(index.places(first..=last).eq(within.clone()), "{first}..={last} at {gap}");
                assert_eq!(index.asks(Some(first..=last)), within.count() > 0, "{first}..={last}");
            }
        }
        let none = SeriesIndex::new(Vec::new());
        assert_eq!(none.place(0), NO_SERIES);
        assert!(!none.asks(Some(0..=u32::MAX)) && none.asks(None));
    }
}
