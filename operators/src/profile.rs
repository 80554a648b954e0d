//! What a series does at which hour of the day.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::hash::Digest;
use crate::numeric::{larger, narrow, smaller};

/// Hours of the day.
pub(crate) const SLOTS: usize = 24;
/// Nanoseconds of one slot.
pub(crate) const SLOT_NANOS: i64 = 3_600_000_000_000;

const ALL_VISITED: u32 = (1 << SLOTS) - 1;
/// A day's hour moves what is known of that hour by at least this share.
const RATE_MIN: f32 = 0.25;
/// The share while an anomaly is on.
const RATE_FROZEN: f32 = 0.05;
/// Days are counted this far.
const DAYS_MAX: u32 = 1_000;

/// Mean departure from the slow level for each hour of the day.
///
/// The first day is kept as hourly means about an anchor. Once every hour was visited and the first
/// one has come again, with a change `D` over that day, hour `j` of 24 (0 = the first) becomes
///
/// ```text
/// P[j] = mean[j] + D (24 - j) / 24       (so that a trend is not taken for a season)
/// mu   = mean of P,  P[j] -= mu
/// ```
///
/// and from then on each hour with mean `h` gives `P += a (h - mu - P)`, `a = max(1 / (days + 1), 1/4)`.
///
/// Source: additive Holt-Winters (Winters 1960) with the season as a table. Deviations: one update per
/// hour instead of per sample, and the trend is taken out of the first day only. Weak where a week has
/// other hours than a day. State: 120 bytes, made after a series' first full hour. Time: O(1) per hour.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    anchor: f64,
    slots: [f32; SLOTS],
    visited: u32,
    first: usize,
    days: u32,
}

/// Departures in the hour before, in this one and in the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Neighbours {
    pub(crate) before: f32,
    pub(crate) here: f32,
    pub(crate) after: f32,
}

/// Whether another hour has such a departure, where the hours' differ by more than twice the slack.
pub(crate) fn another_has(hours: &[f32; SLOTS], departure: f32, slack: f32) -> bool {
    let least = hours.iter().copied().fold(f32::INFINITY, smaller);
    let greatest = hours.iter().copied().fold(f32::NEG_INFINITY, larger);
    let differ = greatest - least > 2.0 * slack;
    differ && departure >= least - slack && departure <= greatest + slack
}

impl Profile {
    pub(crate) fn new() -> Self {
        Self { anchor: 0.0, slots: [0.0; SLOTS], visited: 0, first: 0, days: 0 }
    }

    /// Whether a whole day was seen.
    pub(crate) fn is_ready(&self) -> bool {
        self.days > 0
    }

    /// Takes the mean of an hour; returns the slow level if this completed the first day.
    pub(crate) fn fold(&mut self, slot: usize, mean: f64, level: f64, frozen: bool) -> Option<f64> {
        if self.is_ready() {
            let rate = if frozen { RATE_FROZEN } else { larger(1.0 / self.weight(), RATE_MIN) };
            self.slots[slot] += rate * (narrow(mean - level) - self.slots[slot]);
            self.days += u32::from(slot == self.first && self.days < DAYS_MAX);
            return None;
        }
        if self.visited == 0 {
            self.anchor = mean;
            self.first = slot;
        }
        let value = narrow(mean - self.anchor);
        if slot == self.first && self.visited == ALL_VISITED {
            return Some(self.complete(value));
        }
        self.slots[slot] = value;
        self.visited |= 1 << slot;
        None
    }

    /// Whether another hour has such a departure, see [`another_has`].
    pub(crate) fn another_has(&self, departure: f32, slack: f32) -> bool {
        self.is_ready() && another_has(&self.slots, departure, slack)
    }

    /// The departures about `slot`.
    pub(crate) fn about(&self, slot: usize) -> Neighbours {
        Neighbours {
            before: self.slots[(slot + SLOTS - 1) % SLOTS],
            here: self.slots[slot],
            after: self.slots[(slot + 1) % SLOTS],
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "at most 1,000 days")]
    fn weight(&self) -> f32 {
        (self.days + 1) as f32
    }

    fn complete(&mut self, again: f32) -> f64 {
        let change = (again - self.slots[self.first]) / 24.0;
        let mut left = 24.0;
        let mut sum = 0.0;
        for hour in 0..SLOTS {
            let slot = (self.first + hour) % SLOTS;
            self.slots[slot] += change * left;
            sum += self.slots[slot];
            left -= 1.0;
        }
        let mean = sum / 24.0;
        for slot in &mut self.slots {
            *slot -= mean;
        }
        self.days = 1;
        self.anchor + f64::from(mean)
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        out.f64(self.anchor);
        for slot in &self.slots {
            out.f32(*slot);
        }
        out.u64(u64::from(self.visited));
        out.u64(self.first as u64);
        out.u64(u64::from(self.days));
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f64(self.anchor);
        for slot in self.slots {
            out.f32(slot);
        }
        out.u32(self.visited);
        out.u8(u8::try_from(self.first).expect("an hour of the day"));
        out.u32(self.days);
    }

    /// What [`Profile::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let anchor = fields.f64()?;
        let mut slots = [0.0; SLOTS];
        for slot in &mut slots {
            *slot = fields.f32()?;
        }
        let visited = fields.u32()?;
        let first = usize::from(fields.u8()?);
        let days = fields.u32()?;
        let good = visited <= ALL_VISITED && first < SLOTS && days <= DAYS_MAX;
        good.then_some(Self { anchor, slots, visited, first, days })
    }
}

impl Neighbours {
    pub(crate) fn encode(self, out: &mut FieldWriter) {
        out.f32(self.before);
        out.f32(self.here);
        out.f32(self.after);
    }

    /// What [`Neighbours::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self { before: fields.f32()?, here: fields.f32()?, after: fields.f32()? })
    }
}
