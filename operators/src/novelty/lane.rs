//! Where the values of a view lie in words.

use crate::numeric::{coarse, from_coarse, smaller};

/// Which bits of a word are a view's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// All 32: a float.
    Whole,
    /// The upper 16: a number with 8 bits of fraction.
    Upper,
    /// The lower 16, the same.
    Lower,
}

const UPPER: u32 = 0xffff_0000;

impl Lane {
    /// The nearest number that the lane holds; zero without its sign, so that no distance has one.
    pub(super) fn hold(self, value: f32) -> f32 {
        (if self == Self::Whole { value } else { from_coarse(coarse(value)) }) + 0.0
    }

    /// The number in a word.
    #[inline]
    pub(super) fn get(self, word: u32) -> f32 {
        f32::from_bits(match self {
            Self::Whole => word,
            Self::Upper => word & UPPER,
            Self::Lower => word << 16,
        })
    }

    /// Puts a number that the lane [holds](Lane::hold) into a word; what is another lane's stays.
    pub(super) fn put(self, word: &mut u32, value: f32) {
        let bits = value.to_bits();
        *word = match self {
            Self::Whole => bits,
            Self::Upper => *word & !UPPER | bits & UPPER,
            Self::Lower => *word & UPPER | bits >> 16,
        };
    }

    /// The numbers of up to `N` words, and zeros.
    pub(super) fn copy<const N: usize>(self, words: &[u32]) -> [f32; N] {
        let mut values = [0.0; N];
        values.iter_mut().zip(words).for_each(|(value, word)| *value = self.get(*word));
        values
    }

    /// Puts numbers that the lane holds into the first words.
    pub(super) fn put_all(self, words: &mut [u32], values: &[f32]) {
        words.iter_mut().zip(values).for_each(|(word, value)| self.put(word, *value));
    }

    /// The distance of `y` from the nearest of ascending numbers; infinite if there are none.
    #[inline]
    pub(super) fn distance(self, words: &[u32], y: f32) -> f32 {
        // A loop for each lane, so that none of them asks which one it is.
        match self {
            Self::Whole => distance(words, y, |word| Self::Whole.get(word)),
            Self::Upper => distance(words, y, |word| Self::Upper.get(word)),
            Self::Lower => distance(words, y, |word| Self::Lower.get(word)),
        }
    }
}

#[inline]
fn distance(words: &[u32], y: f32, get: impl Fn(u32) -> f32) -> f32 {
    let less = words.iter().map(|word| u32::from(get(*word) < y)).sum::<u32>();
    let place = usize::try_from(less).expect("few values");
    let above = words.get(place).map_or(f32::INFINITY, |word| get(*word) - y);
    let below = place.checked_sub(1).map_or(f32::INFINITY, |place| y - get(words[place]));
    smaller(above, below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_of_a_word_do_not_touch_each_other() {
        let mut word = 0;
        for (upper, lower) in [(1.0, -3.5), (-1e30, 1e-30), (0.0, -0.0), (2.0, 1.0)] {
            let [upper, lower] = [upper, lower].map(|value| Lane::Upper.hold(value));
            Lane::Upper.put(&mut word, upper);
            Lane::Lower.put(&mut word, lower);
            let held = [Lane::Upper.get(word), Lane::Lower.get(word)];
            assert_eq!(held.map(f32::to_bits), [upper, lower].map(f32::to_bits));
        }
        Lane::Whole.put(&mut word, 1.000_000_1);
        assert_eq!(Lane::Whole.get(word).to_bits(), 1.000_000_1_f32.to_bits());
    }

    #[test]
    fn the_nearest_of_all_is_found_in_each_lane() {
        let values = [-2.0, -0.5, 0.0, 3.0];
        for lane in [Lane::Whole, Lane::Upper, Lane::Lower] {
            let mut words = [0x1234_5678; 4];
            lane.put_all(&mut words, &values);
            for (y, apart) in [(-5.0, 3.0), (-0.6, 0.1), (1.0, 1.0), (4.0, 1.0)] {
                assert!((lane.distance(&words, y) - apart).abs() < 1e-6, "{lane:?} {y}");
            }
            assert_eq!(lane.distance(&[], 1.0).to_bits(), f32::INFINITY.to_bits());
            lane.put(&mut words[2], lane.hold(-0.0));
            for zero in [0.0, -0.0] {
                assert_eq!(lane.distance(&words, zero).to_bits(), 0, "{lane:?}: not -0");
            }
        }
    }
}
