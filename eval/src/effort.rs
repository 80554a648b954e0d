//! What a detector costs.

use std::time::Duration;

use tidewatch_operators::{Judgement, Model, SeriesDetector};

use crate::scored::score_series;
use crate::series::Series;

/// A series is run again until so much time was spent on it: a clock's steps and a cold cache tell little.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// A run that took so long is not repeated: what is cold at its begin is nothing beside it.
const LONG: Duration = Duration::from_secs(1);
/// Runs of one series at most.
const RUNS_MAX: u32 = 100;

/// Samples, the time that they took, and the state that was left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effort {
    samples: u64,
    time: Duration,
    series: u32,
    bytes: u64,
}

impl Effort {
    /// Runs a model over a series and replaces `rows` by what it says; `clock` is the time that this thread has run.
    pub(crate) fn run(
        &mut self,
        model: Model,
        series: &Series,
        clock: &dyn Fn() -> Duration,
        rows: &mut Vec<Judgement>,
    ) {
        // The room is made before the clock is looked at: later runs find it warm.
        let begin = clock();
        let mut detector = self.run_once(model, series, clock, rows);
        let mut runs = 1;
        let is_long = clock().saturating_sub(begin) >= LONG;
        let begin = clock();
        while !is_long && runs < RUNS_MAX && clock().saturating_sub(begin) < LOOK_MIN {
            detector = self.run_once(model, series, clock, rows);
            runs += 1;
        }
        self.series += 1;
        self.bytes += u64::try_from(detector.state_bytes()).unwrap_or(u64::MAX);
    }

    fn run_once(
        &mut self,
        model: Model,
        series: &Series,
        clock: &dyn Fn() -> Duration,
        rows: &mut Vec<Judgement>,
    ) -> SeriesDetector {
        let mut detector = SeriesDetector::new(model);
        let begin = clock();
        score_series(&mut detector, series, rows);
        self.time += clock().saturating_sub(begin);
        self.samples += u64::try_from(series.len()).unwrap_or(u64::MAX);
        detector
    }

    /// Samples per second of one core; none where no time has passed.
    pub(crate) fn samples_per_second(&self) -> Option<f64> {
        let seconds = self.time.as_secs_f64();
        (seconds > 0.0).then(|| self.samples as f64 / seconds)
    }

    /// Bytes of state at the end of a series, on average; none where there was no series.
    pub(crate) fn bytes_per_series(&self) -> Option<f64> {
        (self.series > 0).then(|| self.bytes as f64 / f64::from(self.series))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tidewatch_metrics::EventTime;

    use super::*;

    #[test]
    fn samples_are_counted_as_often_as_they_were_run() {
        let mut series = Series::default();
        for minute in 0..300_i64 {
            series.push(EventTime::new(minute * 60_000_000_000), 1.0, "");
        }
        // Every look at the clock takes a millisecond: a run has two of them, and a look for the next one.
        let now = Cell::new(0_u64);
        let clock = || {
            now.set(now.get() + 1);
            Duration::from_millis(now.get())
        };
        let (mut effort, mut rows) = (Effort::default(), Vec::new());
        effort.run(Model::Light, &series, &clock, &mut rows);
        assert_eq!(rows.len(), 300);
        assert_eq!(effort.samples_per_second(), Some(300_000.0));
        assert_eq!(effort.bytes_per_series(), Some(248.0));
        assert!(effort.samples > 300 && effort.samples < 300 * 12, "{}", effort.samples);
        assert_eq!(Effort::default().samples_per_second(), None);
        assert_eq!(Effort::default().bytes_per_series(), None);
    }
}
