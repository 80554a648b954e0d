//! What a series does at which hour of the week.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::baseline::WEEK_SLOTS;
use crate::numeric::{bounded, coarse, from_coarse};

/// By how much of the distance a sample moves its hour: an hour ends near its last samples.
const RATE: f32 = 0.3;
/// An hour that was not seen yet: no finite number has these bits.
const EMPTY: u16 = 0x7fc0;

/// Departures from the slow mean by hour of the week.
///
/// `W' = W + .3 (dev - W)`, and `W = dev` for the first sample of an hour. Source: the reference detector's
/// step 8, whose rate is 1/n for the first three samples. State: 336 bytes, numbers of 16 bits with one
/// part in 256. Time: O(1).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Week([u16; WEEK_SLOTS]);

impl Week {
    pub(super) fn new() -> Self {
        Self([EMPTY; WEEK_SLOTS])
    }

    /// What is known of an hour.
    pub(super) fn get(&self, slot: usize) -> Option<f32> {
        let known = self.0[slot];
        (known != EMPTY).then(|| from_coarse(known))
    }

    pub(super) fn learn(&mut self, slot: usize, departure: f32) {
        let moved = self.get(slot).map_or(departure, |known| known + RATE * (departure - known));
        self.0[slot] = coarse(moved);
    }

    pub(super) fn encode(&self, out: &mut FieldWriter) {
        out.column(self.0.iter().map(|bits| bits.to_le_bytes()));
    }

    /// What [`Week::encode`] wrote; `None` where it cannot have written it.
    pub(super) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::new();
        for (known, bytes) in read.0.iter_mut().zip(fields.column::<2>(WEEK_SLOTS)?) {
            *known = u16::from_le_bytes(bytes);
            if *known != EMPTY {
                bounded(from_coarse(*known))?;
            }
        }
        Some(read)
    }
}
