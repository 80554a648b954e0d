//! From a reference to the place of its series in a table.

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
        }
        assert_eq!(SeriesIndex::new(Vec::new()).place(0), NO_SERIES);
    }
}
