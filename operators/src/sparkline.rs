//! The last values of a series as a small picture in text.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::hash::Digest;

/// Values that are shown.
pub(crate) const VALUES_MAX: usize = 24;
/// More values than any series has. A stored count beyond it is refused, so that counting never overflows.
const PUSHED_MAX: u64 = 1 << 56;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last finite values of a series, up to 24.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sparkline {
    values: [f64; VALUES_MAX],
    /// Values ever pushed; the next one goes to this place modulo the length.
    pushed: usize,
}

impl Sparkline {
    pub(crate) fn push(&mut self, value: f64) {
        self.values[self.pushed % VALUES_MAX] = value;
        self.pushed += 1;
    }

    /// The last value, if there is one.
    pub(crate) fn last(&self) -> Option<f64> {
        Some(self.values[self.pushed.checked_sub(1)? % VALUES_MAX])
    }

    /// One character per value, oldest first, from the least value (▁) to the greatest (█).
    pub(crate) fn draw(&self) -> String {
        let values = || self.oldest_first();
        // Halves, because the difference of two finite values may be infinite.
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values() {
            least = if value < least { value } else { least };
            greatest = if value > greatest { value } else { greatest };
        }
        let range = greatest / 2.0 - least / 2.0;
        values().map(|value| LEVELS[level(value / 2.0 - least / 2.0, range)]).collect()
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        out.u64(self.pushed as u64);
        for value in self.oldest_first() {
            out.f64(value);
        }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.u64(self.pushed as u64);
        for value in self.oldest_first() {
            out.f64(value);
        }
    }

    /// What [`Sparkline::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let pushed = fields.u64()?;
        if pushed > PUSHED_MAX {
            return None;
        }
        let pushed = usize::try_from(pushed).ok()?;
        let mut values = [0.0; VALUES_MAX];
        for place in pushed.saturating_sub(VALUES_MAX)..pushed {
            *values.get_mut(place % VALUES_MAX)? = fields.f64()?;
        }
        Some(Self { values, pushed })
    }

    fn oldest_first(&self) -> impl Iterator<Item = f64> {
        let first = self.pushed.saturating_sub(VALUES_MAX);
        (first..self.pushed).map(|place| self.values[place % VALUES_MAX])
    }
}

/// The level of a height within a range; 0 where the range is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, and a height is not negative"
)]
fn level(height: f64, range: f64) -> usize {
    if range > 0.0 { ((height / range * 8.0) as usize).min(LEVELS.len() - 1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(values: &[f64]) -> String {
        let mut sparkline = Sparkline::default();
        values.iter().for_each(|value| sparkline.push(*value));
        sparkline.draw()
    }

    #[test]
    fn levels_span_the_values_that_are_shown() {
        assert_eq!(draw(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), "▁▂▃▄▅▆▇█");
        assert_eq!(draw(&[5.0, 5.0, 5.0]), "▁▁▁");
        assert_eq!(draw(&[]), "");
        assert_eq!(draw(&[f64::MIN, 0.0, f64::MAX]), "▁▅█");
    }

    #[test]
    fn only_the_last_24_values_are_shown() {
        let mut values = vec![1e9; 40];
        values.extend((0..24).map(f64::from));
        let picture = draw(&values);
        assert_eq!(picture.chars().count(), 24);
        assert!(picture.starts_with("▁▁") && picture.ends_with("██"), "{picture}");
    }
}
