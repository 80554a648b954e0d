//! The rate of a series: how fast its value grows from one sample to the next.

use tidewatch_metrics::EventTime;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::hash::Digest;
use crate::numeric::nanos_f64;

const NANOS_PER_SECOND: f64 = 1e9;

/// What is kept to tell the rate at the next sample: 24 bytes.
///
/// With the sample `(t, x)` behind `(s, w)`, times in seconds:
///
/// ```text
/// increase = x - w   where x >= w
///            x       where x < w: the counter began anew, at zero
/// rate     = increase / (t - s)
/// ```
///
/// There is none at the first sample, none at the first one of a new time base that goes back, and none
/// that is too large for a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// [`EventTime::MIN`] before the first sample.
    time: EventTime,
    value: f64,
    /// At the last sample; NaN where there was none.
    last: f64,
}

impl Rate {
    /// Before the first sample.
    pub(crate) const NEW: Self = Self { time: EventTime::MIN, value: 0.0, last: f64::NAN };

    /// Takes the next sample in order, with a finite value; gives its rate, NaN where there is none.
    pub(crate) fn observe(&mut self, time: EventTime, value: f64) -> f64 {
        let has_before = self.time != EventTime::MIN && time > self.time;
        let increase = if value < self.value { value } else { value - self.value };
        let nanos = nanos_f64(time.nanos().saturating_sub(self.time.nanos()));
        let rate = increase / (nanos / NANOS_PER_SECOND);
        self.last = if has_before && rate.is_finite() { rate } else { f64::NAN };
        (self.time, self.value) = (time, value);
        self.last
    }

    /// The rate at the last sample; NaN where there was none.
    pub(crate) fn last(&self) -> f64 {
        self.last
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        out.i64(self.time.nanos());
        out.f64(self.value);
        out.f64(self.last);
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.i64(self.time.nanos());
        out.f64(self.value);
        out.f64(self.last);
    }

    /// What [`Rate::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let time = EventTime::new(fields.i64()?);
        Some(Self { time, value: fields.f64()?, last: fields.f64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, seconds as at};

    fn rates(samples: &[(i64, f64)]) -> Vec<f64> {
        let mut rate = Rate::NEW;
        samples.iter().map(|(second, value)| rate.observe(at(*second), *value)).collect()
    }

    #[test]
    fn a_rate_is_the_increase_per_second_since_the_sample_before() {
        let found = rates(&[(0, 5.0), (10, 25.0), (14, 25.0), (15, 25.5)]);
        assert!(found[0].is_nan(), "no rate at the first sample");
        assert_eq!(found[1..], [2.0, 0.0, 0.5]);
    }

    #[test]
    fn a_counter_that_falls_began_at_zero() {
        let found = rates(&[(0, 1_000.0), (10, 30.0), (20, 0.0), (30, 10.0)]);
        assert_eq!(found[1..], [3.0, 0.0, 1.0]);
    }

    #[test]
    fn a_time_base_that_goes_back_begins_anew() {
        let found = rates(&[(1_000, 10.0), (1_010, 20.0), (0, 90.0), (10, 100.0)]);
        assert!(found[2].is_nan());
        assert_eq!((found[1], found[3]), (1.0, 1.0));
    }

    #[test]
    fn what_is_too_large_for_a_number_is_no_rate() {
        let mut rate = Rate::NEW;
        rate.observe(EventTime::new(0), f64::MIN);
        assert!(rate.observe(EventTime::new(1), f64::MAX).is_nan());
        assert!(rate.observe(EventTime::new(2), f64::MAX).abs() <= 0.0, "the next one is one");
        assert!(rate.observe(EventTime::new(i64::MAX), 1.0).is_finite());
    }

    #[test]
    fn the_rates_of_any_counter_add_up_to_what_it_counted() {
        for seed in 1..=20 {
            let mut rng = Rng::new(seed);
            let (mut second, mut counter, mut counted) = (0, 0.0, 0.0);
            let mut samples = vec![(0, 0.0)];
            for _ in 0..500 {
                second += 1 + i64::try_from(rng.below(60)).unwrap();
                if rng.below(20) == 0 {
                    counter = 0.0;
                }
                let more = rng.below(1_000) as f64;
                // A restart is seen only where the counter is below what it was.
                let before = samples.last().map_or(0.0, |(_, value)| *value);
                counted +=
                    if counter + more < before { counter + more } else { counter + more - before };
                counter += more;
                samples.push((second, counter));
            }
            let steps = samples.windows(2).map(|pair| (pair[1].0 - pair[0].0) as f64);
            let total: f64 = rates(&samples)[1..].iter().zip(steps).map(|(r, s)| r * s).sum();
            assert!((total - counted).abs() < 1e-6 * counted, "seed {seed}: {total}, {counted}");
        }
    }
}
