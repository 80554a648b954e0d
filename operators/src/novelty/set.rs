//! What was seen of one view of a series.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::extremes::GENERATION;
use crate::numeric::{bounded, larger, smaller};

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
/// Values that the first allocation has room for; it doubles from there.
const VALUES_FIRST: usize = 8;

/// Values of two generations of 8,000 samples, no closer to each other than a resolution that is learnt.
///
/// ```text
/// d = least distance of y to a value of either generation; 0 where there is none
/// y joins the current generation where it is empty, or y is further than eps from all of its values
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

/// Room for the values of several sets in one piece, ascending: for each set the current generation, then
/// the earlier one.
///
/// One piece, because a series that is not in the cache costs a wait for each place where its state lies: with
/// six pieces a random order of 100,000 series is a third slower. All sets have as much room as the one that needs
/// most, which doubles from 8 values on: a constant series has 192 bytes, any other up to 1,260.
#[derive(Clone, Debug)]
pub(super) struct Room<const SETS: usize> {
    values: Vec<f32>,
    /// Values of a current generation that there is room for.
    most: usize,
}

impl<const SETS: usize> Room<SETS> {
    /// Bytes on the heap, at most.
    pub(super) const BYTES_MAX: usize = SETS * (VALUES_MAX + 1 + EARLIER_MAX) * size_of::<f32>();

    /// No room.
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), most: 0 }
    }

    /// The values of one set.
    pub(super) fn of(&self, index: usize) -> Seen<'_> {
        let each = self.most + earlier_room(self.most);
        let (current, earlier) = self.values[index * each..(index + 1) * each].split_at(self.most);
        Seen { current, earlier }
    }

    /// The values of one set, after it was made sure that it may take one more.
    pub(super) fn room(&mut self, sets: &[Set; SETS], index: usize) -> Values<'_> {
        if usize::from(sets[index].current) == self.most {
            self.grow(sets);
        }
        self.split(index)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f32>()
    }

    fn split(&mut self, index: usize) -> Values<'_> {
        let each = self.most + earlier_room(self.most);
        let values = &mut self.values[index * each..(index + 1) * each];
        let (current, earlier) = values.split_at_mut(self.most);
        Values { current, earlier }
    }

    /// What a set holds: of the current generation, and of the earlier one.
    fn held(&self, set: Set, index: usize) -> [&[f32]; 2] {
        let current = index * (self.most + earlier_room(self.most));
        let earlier = current + self.most;
        [
            &self.values[current..current + usize::from(set.current)],
            &self.values[earlier..earlier + usize::from(set.earlier)],
        ]
    }

    /// Doubles the room, with one place beyond the most values, which is taken until they are thinned.
    fn grow(&mut self, sets: &[Set; SETS]) {
        let most = (2 * self.most).clamp(VALUES_FIRST, VALUES_MAX + 1);
        let values = vec![0.0; SETS * (most + earlier_room(most))];
        let old = std::mem::replace(self, Self { values, most });
        for (index, set) in sets.iter().enumerate() {
            self.put(index, old.held(*set, index));
        }
    }

    fn put(&mut self, index: usize, [current, earlier]: [&[f32]; 2]) {
        let places = self.split(index);
        places.current[..current.len()].copy_from_slice(current);
        places.earlier[..earlier.len()].copy_from_slice(earlier);
    }

    /// Appends the state of sets and their values.
    pub(super) fn encode(&self, sets: &[Set; SETS], out: &mut FieldWriter) {
        for (index, set) in sets.iter().enumerate() {
            for (values, count) in
                self.held(*set, index).into_iter().zip([set.current, set.earlier])
            {
                out.u8(count);
                values.iter().for_each(|value| out.f32(*value));
            }
            out.f32(set.resolution);
            out.u16(set.samples);
        }
    }

    /// What [`Room::encode`] wrote; `None` where it cannot have written it.
    #[deny(clippy::indexing_slicing)]
    pub(super) fn decode(fields: &mut FieldReader<'_>) -> Option<(Self, [Set; SETS])> {
        let (mut room, mut sets) = (Self::new(), [Set::default(); SETS]);
        for index in 0..SETS {
            let (mut current, mut earlier) = ([0.0; VALUES_MAX], [0.0; EARLIER_MAX]);
            let current = decode_values(fields, &mut current)?;
            let earlier = decode_values(fields, &mut earlier)?;
            while room.most < current.len().max(earlier.len()) {
                room.grow(&sets);
            }
            room.put(index, [current, earlier]);
            *sets.get_mut(index)? = Set {
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
    current: &'a [f32],
    earlier: &'a [f32],
}

/// Places for the values of one set.
#[derive(Debug)]
pub(super) struct Values<'a> {
    current: &'a mut [f32],
    earlier: &'a mut [f32],
}

impl Set {
    /// Where a finite value lies among what was seen before it.
    pub(super) fn look(self, y: f32, values: Seen<'_>) -> Look {
        let seen = &values.current[..usize::from(self.current)];
        let apart = distance(seen, place_of(seen, y), y);
        let before = &values.earlier[..usize::from(self.earlier)];
        let least = smaller(apart, distance(before, place_of(before, y), y));
        let is_news = apart > self.resolution;
        Look { y, distance: if least < f32::INFINITY { least } else { 0.0 }, is_news }
    }

    /// Learns a value at which it looked last.
    pub(super) fn learn(&mut self, look: Look, ends_step: bool, values: Values<'_>) {
        let Values { current, earlier } = values;
        if look.is_news {
            self.insert(current, look.y);
        }
        if ends_step {
            self.samples += 1;
            if self.samples == GENERATION {
                self.end_generation(current, earlier);
            }
        }
    }

    fn insert(&mut self, current: &mut [f32], y: f32) {
        let count = usize::from(self.current);
        let place = place_of(&current[..count], y);
        current.copy_within(place..count, place + 1);
        current[place] = y;
        self.current += 1;
        if usize::from(self.current) > VALUES_MAX {
            (self.current, self.resolution) = thin(&mut current[..=count], self.resolution);
        }
    }

    fn end_generation(&mut self, current: &mut [f32], earlier: &mut [f32]) {
        self.samples = 0;
        let mut resolution = self.resolution;
        self.resolution /= 2.0;
        while usize::from(self.current) > EARLIER_MAX {
            let seen = &mut current[..usize::from(self.current)];
            (self.current, resolution) = thin(seen, resolution);
        }
        self.earlier = std::mem::take(&mut self.current);
        let count = usize::from(self.earlier);
        earlier[..count].copy_from_slice(&current[..count]);
    }
}

/// Places for values of the earlier generation beside `most` of the current one.
fn earlier_room(most: usize) -> usize {
    most.min(EARLIER_MAX)
}

/// How many of ascending values are less than `y`.
fn place_of(values: &[f32], y: f32) -> usize {
    let less = values.iter().map(|other| u32::from(*other < y)).sum::<u32>();
    usize::try_from(less).expect("few values")
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

/// The distance of `y` from the nearest of ascending values, `place` of which are less; infinite if there are none.
fn distance(values: &[f32], place: usize, y: f32) -> f32 {
    let above = values.get(place).map_or(f32::INFINITY, |other| other - y);
    let below = place.checked_sub(1).map_or(f32::INFINITY, |place| y - values[place]);
    smaller(above, below)
}

/// Ascending values, into places for the most that there may be.
#[deny(clippy::indexing_slicing)]
fn decode_values<'a>(fields: &mut FieldReader<'_>, places: &'a mut [f32]) -> Option<&'a [f32]> {
    let count = usize::from(fields.u8()?);
    let places = places.get_mut(..count)?;
    let mut last = f32::NEG_INFINITY;
    for place in places.iter_mut() {
        *place = bounded(fields.f32()?).filter(|value| *value > last)?;
        last = *place;
    }
    Some(places)
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
