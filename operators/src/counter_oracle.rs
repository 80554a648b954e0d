//! Counters told again from all values of a series.

use tidewatch_metrics::EventTime;

use super::{Oracle, Told, hold};

/// All values, and whether it is a gauge for good, or a counter that had a rate.
#[derive(Default)]
pub(super) struct Counted {
    values: Vec<f64>,
    is_gauge: bool,
    is_rated: bool,
}

impl Oracle {
    /// Takes the next sample.
    pub(crate) fn observe(&mut self, time: EventTime, value: f64) -> Told {
        let before = self.times.last;
        let beat = self.times.observe(time);
        self.counted.values.push(value);
        if self.counted.is_gauge || !begins_as_counter(&self.counted.values) {
            return self.observe_number(time, value, beat);
        }
        let before = before.expect("a counter has 64 samples");
        let last = self.counted.values[self.counted.values.len() - 2];
        let seconds = (time.nanos() - before.nanos()) as f64 * 1e-9;
        let usual = self.first.expect("a counter has 64 samples") + self.mean;
        let is_small = self.counted.is_rated && !beat.resumes && value <= 4.0 * usual * seconds;
        let is_reset = value >= 0.0 && (value < last / 8.0 || is_small);
        if value < last && !is_reset && self.counted.values.len() > 64 {
            if self.counted.is_rated {
                self.forget();
            }
            self.counted.is_gauge = true;
            return self.observe_number(time, value, beat);
        }
        if value < last || beat.resumes {
            if beat.resumes {
                let season = self.moment(time, 0.0).season;
                self.quick = self.mean + f64::from(season);
            }
            if self.age < 300_000.0 {
                self.age += beat.seconds;
            }
            return Told { severity: 0.0, forecast: f64::NAN };
        }
        if !self.counted.is_rated {
            self.forget();
            self.counted.is_rated = true;
        }
        let Told { severity, forecast } =
            self.observe_number(time, f64::from(hold((value - last) / seconds)), beat);
        Told { severity, forecast: last + forecast * seconds }
    }

    /// Begins anew with times and values as they are.
    fn forget(&mut self) {
        let old = std::mem::replace(self, Self::new(self.model));
        let Self { times, counted, ended, shifted, .. } = old;
        let fresh = Self::new(self.model);
        *self = Self { times, counted, ended, shifted, ..fresh };
    }
}

/// Whether the first 64 values are those of a counter.
fn begins_as_counter(values: &[f64]) -> bool {
    let Some(first) = values.get(..64) else { return false };
    let count = |of: fn(f64, f64) -> bool| first.windows(2).filter(|w| of(w[0], w[1])).count();
    let (rises, falls) = (count(|a, b| b > a), count(|a, b| b < a));
    let is_sum = first.iter().all(|value| *value >= 0.0);
    is_sum && falls == count(|a, b| b < a / 8.0) && rises >= 8.max(8 * falls)
}
