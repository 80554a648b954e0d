//! What was seen of one view of a series.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::lane::Lane;
use crate::extremes::GENERATION;
use crate::numeric::{bounded, coarse, from_coarse, larger, smaller};

/// Values of the current generation.
///
/// With 256 and 128 NAB and KPI are the same within half a point, with 56 and 48 NAB of both falls by 1 and 3.
pub(super) const VALUES_MAX: usize = 64;
/// Values of the earlier one, which nothing joins any more. All 64
/// make no difference, 32 cost novelty .03 of KPI event-F1.
const EARLIER_MAX: usize = 40;
/// By what the resolution grows when there are too many values. The reference has 1.5, which leaves a third
/// of the room empty; with 64 values the finer steps keep what 128 have otherwise.
const RESOLUTION_GROWTH: f32 = 1.2;
/// Values that the first allocation has room for; the second one is the last. One that doubled left holes between
/// what lives on, of more bytes than it saved.
const VALUES_FIRST: usize = 8;
/// Views of a series, each with a set: its value as a float, its residuals in 16 bits.
///
/// Residuals lie about 0, where 8 bits of fraction tell more apart than 64 values do. With 16 bits NAB of auto is 1.4 points better
/// and KPI event-F1 .001 worse, which is nothing either way. Values lie anywhere: far from the first one, 8 bits would tell
/// nothing apart.
pub(super) const VIEWS: usize = 3;
const LANES: [Lane; VIEWS] = [Lane::Whole, Lane::Upper, Lane::Lower];
/// Values of each view side by side: one word for the first one, one for the other two.
const WORDS: usize = 2;

/// Values of two generations of 8,000 samples, no closer to each other than a resolution that is learnt.
///
/// ```text
/// d = least distance of y to a value of either generation; 0 where there is none
/// y joins the current generation where it is empty, or y, and what the set's bits hold of y, is further than eps from
///   all of its values
/// thin: eps = max(1.2 eps, the least gap); in order, a value stays if it is further than eps from the
///       last one that stayed; the greatest always stays, and the one before it goes
/// more than 64: thin the current generation
/// after 8,000 steps: the current generation becomes the earlier one, thinned to 40 with an eps of its own; eps = eps / 2
/// ```
///
/// Source: nearest-neighbour distance as a score (Ramaswamy, Rastogi, Shim 2000) over an epsilon-net; the
/// reference detector's step 5. Deviations: 64 and 40 values instead of 256; `eps` is at least the least gap,
/// so that thinning always removes something, also where `eps` is subnormal. Weak against values that come
/// back after 8,000 to 16,000 samples: they are news again. State: 8 bytes, and the values, which are in
/// [`Room`]. Time: O(64) comparisons without a branch, which beat a search when the values are not in the cache.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Set {
    resolution: f32,
    samples: u16,
    current: u8,
    earlier: u8,
}

/// Room for the values of all sets in one piece, ascending: words for the first set and then words for the other two, each
/// with the current generation before the earlier one.
///
/// One piece, because a series that is not in the cache costs a wait for each place where its state lies: with
/// six pieces a random order of 100,000 series is a third slower. All sets have as much room as the one that needs
/// most: a constant series has 128 bytes, and one with more than 8 values in a view 840.
#[derive(Clone, Debug)]
pub(super) struct Room {
    words: Vec<u32>,
    /// Values of a current generation that there is room for.
    most: usize,
}

impl Room {
    /// Bytes on the heap, at most.
    pub(super) const BYTES_MAX: usize = WORDS * (VALUES_MAX + 1 + EARLIER_MAX) * size_of::<u32>();

    /// No room.
    pub(super) fn new() -> Self {
        Self { words: Vec::new(), most: 0 }
    }

    /// The values of one set.
    pub(super) fn of(&self, index: usize) -> Seen<'_> {
        let start = self.start(index);
        let (current, earlier) = self.words[start..start + self.each()].split_at(self.most);
        Seen { current, earlier, lane: LANES[index] }
    }

    /// The values of one set, after it was made sure that it may take one more.
    pub(super) fn room(&mut self, sets: &[Set; VIEWS], index: usize) -> Values<'_> {
        if usize::from(sets[index].current) == self.most {
            self.grow();
        }
        self.split(index)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u32>()
    }

    /// Words of one generation and the other.
    fn each(&self) -> usize {
        self.most + earlier_room(self.most)
    }

    fn start(&self, index: usize) -> usize {
        if LANES[index] == Lane::Whole { 0 } else { self.each() }
    }

    fn split(&mut self, index: usize) -> Values<'_> {
        let (start, each) = (self.start(index), self.each());
        let (current, earlier) = self.words[start..start + each].split_at_mut(self.most);
        Values { current, earlier, lane: LANES[index] }
    }

    /// Room for more values, at last with one place beyond the most, which is taken until they are thinned.
    fn grow(&mut self) {
        let most = if self.most == 0 { VALUES_FIRST } else { VALUES_MAX + 1 };
        let words = vec![0; WORDS * (most + earlier_room(most))];
        let old = std::mem::replace(self, Self { words, most });
        for word in 0..WORDS {
            let (from, to) = (word * old.each(), word * self.each());
            let (current, earlier) = old.words[from..from + old.each()].split_at(old.most);
            self.words[to..to + current.len()].copy_from_slice(current);
            self.words[to + most..to + most + earlier.len()].copy_from_slice(earlier);
        }
    }

    /// Appends the state of sets and their values.
    pub(super) fn encode(&self, sets: &[Set; VIEWS], out: &mut FieldWriter) {
        for (index, set) in sets.iter().enumerate() {
            let Seen { current, earlier, lane } = self.of(index);
            for (words, count) in [(current, set.current), (earlier, set.earlier)] {
                out.u8(count);
                for word in &words[..usize::from(count)] {
                    match lane {
                        Lane::Whole => out.f32(lane.get(*word)),
                        Lane::Upper | Lane::Lower => out.u16(coarse(lane.get(*word))),
                    }
                }
            }
            out.f32(set.resolution);
            out.u16(set.samples);
        }
    }

    /// What [`Room::encode`] wrote, or an earlier version that had floats of 32 bits for all of them; `None` where it cannot have
    /// written it.
    #[deny(clippy::indexing_slicing)]
    pub(super) fn decode(
        fields: &mut FieldReader<'_>,
        is_wide: bool,
    ) -> Option<(Self, [Set; VIEWS])> {
        let (mut room, mut sets) = (Self::new(), [Set::default(); VIEWS]);
        for (index, (set, lane)) in sets.iter_mut().zip(LANES).enumerate() {
            let (mut current, mut earlier) = ([0.0; VALUES_MAX], [0.0; EARLIER_MAX]);
            let current = decode_values(fields, &mut current, (lane, is_wide))?;
            let earlier = decode_values(fields, &mut earlier, (lane, is_wide))?;
            while room.most < current.len().max(earlier.len()) {
                room.grow();
            }
            let places = room.split(index);
            lane.put_all(places.current, current);
            lane.put_all(places.earlier, earlier);
            *set = Set {
                current: u8::try_from(current.len()).ok()?,
                earlier: u8::try_from(earlier.len()).ok()?,
                resolution: bounded(fields.f32()?).filter(|resolution| *resolution >= 0.0)?,
                samples: fields.u16().filter(|samples| *samples < GENERATION)?,
            };
        }
        Some((room, sets))
    }
}

/// A value among what was seen before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(super) y: f32,
    /// From the nearest value of both generations; 0 where there is none.
    pub(super) distance: f32,
    /// The current generation has nothing within the resolution.
    is_news: bool,
}

/// The values of one set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    current: &'a [u32],
    earlier: &'a [u32],
    lane: Lane,
}

/// Places for the values of one set.
#[derive(Debug)]
pub(super) struct Values<'a> {
    current: &'a mut [u32],
    earlier: &'a mut [u32],
    lane: Lane,
}

impl Set {
    /// Where a finite value lies among what was seen before it.
    #[inline]
    pub(super) fn look(self, y: f32, values: Seen<'_>) -> Look {
        let Seen { current, earlier, lane } = values;
        let apart = lane.distance(&current[..usize::from(self.current)], y);
        let least = smaller(apart, lane.distance(&earlier[..usize::from(self.earlier)], y));
        let is_news = apart > self.resolution;
        Look { y, distance: if least < f32::INFINITY { least } else { 0.0 }, is_news }
    }

    /// Learns a value at which it looked last.
    pub(super) fn learn(&mut self, look: Look, ends_step: bool, mut values: Values<'_>) {
        if look.is_news {
            self.insert(&mut values, look.y);
        }
        if ends_step {
            self.samples += 1;
            if self.samples == GENERATION {
                self.end_generation(&mut values);
            }
        }
    }

    /// Takes a value, unless what the lane holds of it is too near to another one.
    fn insert(&mut self, values: &mut Values<'_>, y: f32) {
        let Values { current, lane, .. } = values;
        let count = usize::from(self.current);
        let y = lane.hold(y);
        if lane.distance(&current[..count], y) <= self.resolution {
            return;
        }
        let mut place = count;
        while place > 0 && lane.get(current[place - 1]) > y {
            let before = lane.get(current[place - 1]);
            lane.put(&mut current[place], before);
            place -= 1;
        }
        lane.put(&mut current[place], y);
        self.current += 1;
        if usize::from(self.current) > VALUES_MAX {
            let mut seen = lane.copy::<{ VALUES_MAX + 1 }>(&current[..=count]);
            (self.current, self.resolution) = thin(&mut seen, self.resolution);
            lane.put_all(current, &seen[..usize::from(self.current)]);
        }
    }

    fn end_generation(&mut self, values: &mut Values<'_>) {
        let Values { current, earlier, lane } = values;
        self.samples = 0;
        let mut resolution = self.resolution;
        self.resolution /= 2.0;
        let mut seen = lane.copy::<VALUES_MAX>(&current[..usize::from(self.current)]);
        while usize::from(self.current) > EARLIER_MAX {
            let held = &mut seen[..usize::from(self.current)];
            (self.current, resolution) = thin(held, resolution);
        }
        self.earlier = std::mem::take(&mut self.current);
        lane.put_all(earlier, &seen[..usize::from(self.earlier)]);
    }
}

/// Places for values of the earlier generation beside `most` of the current one.
fn earlier_room(most: usize) -> usize {
    most.min(EARLIER_MAX)
}

/// Removes at least one of several ascending values. How many stay, and the resolution that they have.
#[expect(clippy::cast_possible_truncation, reason = "at most 65")]
fn thin(values: &mut [f32], resolution: f32) -> (u8, f32) {
    let gaps = values.windows(2).map(|pair| pair[1] - pair[0]);
    let resolution = larger(RESOLUTION_GROWTH * resolution, gaps.fold(f32::INFINITY, smaller));
    let greatest = values[values.len() - 1];
    let mut kept = 1;
    for index in 1..values.len() {
        let value = values[index];
        if value - values[kept - 1] > resolution {
            values[kept] = value;
            kept += 1;
        }
    }
    values[kept - 1] = greatest;
    (kept as u8, resolution)
}

/// Ascending values of a lane, into places for the most that there may be. Of wide ones, which are floats in every lane, those
/// stay that the lane tells apart.
#[deny(clippy::indexing_slicing)]
fn decode_values<'a>(
    fields: &mut FieldReader<'_>,
    places: &'a mut [f32],
    (lane, is_wide): (Lane, bool),
) -> Option<&'a [f32]> {
    let count = usize::from(fields.u8()?);
    let places = places.get_mut(..count)?;
    let mut last = f32::NEG_INFINITY;
    let mut kept = 0;
    for _ in 0..count {
        let is_float = is_wide || lane == Lane::Whole;
        let value = if is_float { fields.f32()? } else { from_coarse(fields.u16()?) };
        let held = lane.hold(bounded(value)?);
        if held > last {
            *places.get_mut(kept)? = held;
            kept += 1;
            last = held;
        } else if !is_wide || lane == Lane::Whole {
            return None;
        }
    }
    places.get(..kept)
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
