//! What the tests share: seeded noise, series, and rows in one go.

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, Lsn, SeriesCatalog, SeriesKey, UnixNanos};

use crate::{Emitted, Pipeline, Rows, Run};

/// xorshift64*, seeded.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In 0..below.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        (self.next() >> 11) % below
    }

    /// Between 0 and 1, both excluded.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Mean 0, variance 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// Mean 1.
    #[expect(clippy::cast_possible_truncation, reason = "noise")]
    pub(crate) fn exponential(&mut self) -> f32 {
        -libm::log(self.uniform()) as f32
    }
}

/// 2023-11-14T22:13:20Z: mid-hour, so that the first hour is a partial one.
pub(crate) const START_SECONDS: i64 = 1_700_000_000;

pub(crate) fn seconds(seconds: i64) -> EventTime {
    EventTime::new((START_SECONDS + seconds) * NANOS_PER_SECOND)
}

/// A sine of the day with amplitude 10 about 50.
pub(crate) fn season(time: EventTime) -> f64 {
    let day = (time.nanos() / NANOS_PER_SECOND % 86_400) as f64 / 86_400.0;
    50.0 + 10.0 * libm::sin(std::f64::consts::TAU * day)
}

/// The series `default.cpu{host=…}`.
pub(crate) fn entry(host: &str) -> Arc<SeriesEntry> {
    let labels = vec![("host".to_owned(), host.to_owned())];
    let key = SeriesKey::new("default", "cpu", "value", labels).unwrap();
    SeriesCatalog::new(1).register(&key).unwrap().1
}

/// Rows that own their columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) series: Vec<u32>,
    pub(crate) times: Vec<EventTime>,
    pub(crate) values: Vec<f64>,
}

impl Table {
    pub(crate) fn push(&mut self, series: u32, time: EventTime, value: f64) {
        self.series.push(series);
        self.times.push(time);
        self.values.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Applies rows `from..end` as one record received at `received`.
    pub(crate) fn apply(
        &self,
        pipeline: &mut Pipeline,
        range: std::ops::Range<usize>,
        received: UnixNanos,
        out: &mut Emitted,
    ) {
        let rows = Rows {
            series: &self.series[range.clone()],
            times: &self.times[range.clone()],
            values: &self.values[range.clone()],
            runs: &[Run { end: range.len(), lsn: Lsn::new(1), received }],
        };
        pipeline.apply(&rows, out);
    }
}
