//! What is kept of one series: two cache lines.

use tidewatch_metrics::{EventTime, SeriesId};

use crate::hash::{Digest, seed};
use crate::profile::Neighbours;
use crate::tail::Tail;

/// The series' order has an entry beside its state: refused rows, or an older, greater time.
pub(crate) const TROUBLED: u8 = 1;
/// A rule matches the series.
pub(crate) const WATCHED: u8 = 2;
/// The first hour, which began before the first sample, is not over.
pub(crate) const FIRST_HOUR: u8 = 4;
/// The daily profile is complete.
pub(crate) const SEASONAL: u8 = 8;
/// No profile, no watch.
pub(crate) const NONE: u32 = u32::MAX;

/// Order and light detector of one series; the operators say what each number means to them.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct SeriesState {
    /// The time of the last row in order.
    pub(crate) last_time: EventTime,
    /// The series' part of the output hash.
    pub(crate) seed: u64,
    /// The last finite value in order.
    pub(crate) last_value: f64,
    /// Quick level.
    pub(crate) quick: f64,
    /// Slow level.
    pub(crate) slow: f64,
    /// Mean of the hour so far.
    pub(crate) hour_mean: f64,
    /// Distances from the quick level.
    pub(crate) near: Tail,
    /// Distances of the drift.
    pub(crate) far: Tail,
    /// Smoothed distance, with its sign, from slow level and profile.
    pub(crate) drift: f32,
    /// Learnt seconds between samples.
    pub(crate) interval: f32,
    /// Seconds of anomaly in the open episode; 0 = none open.
    pub(crate) heat: f32,
    /// The profile about the hour.
    pub(crate) season: Neighbours,
    /// The hour since the epoch.
    pub(crate) hour: i32,
    /// Scored samples.
    pub(crate) samples: u32,
    /// Samples that were not still.
    pub(crate) moves: u32,
    /// Index of the profile, or [`NONE`].
    pub(crate) profile: u32,
    /// Samples in `hour_mean`.
    pub(crate) hour_samples: u16,
    /// Samples of the drift since its scale began.
    pub(crate) far_samples: u16,
    /// Still samples in a row.
    pub(crate) run: u16,
    /// The most still samples in a row.
    pub(crate) run_longest: u16,
    /// Severity steps that an onset must exceed.
    pub(crate) hold: u16,
    /// Samples since the last onset.
    pub(crate) hold_age: u8,
    /// Samples since the episode's last anomaly.
    pub(crate) calm: u8,
    /// Far samples in a row on one side; negative below.
    pub(crate) outliers: i8,
    /// Samples that are learnt from but not scored.
    pub(crate) quiet: u8,
    /// Severity of the exceedances shortly before, in sixteenths; negative below the expectation.
    pub(crate) burst: i8,
    /// [`TROUBLED`] and the others.
    pub(crate) marks: u8,
}

const _: () = assert!(size_of::<SeriesState>() == 128);

impl SeriesState {
    pub(crate) fn new(id: SeriesId) -> Self {
        Self {
            last_time: EventTime::MIN,
            seed: seed(id),
            last_value: 0.0,
            quick: 0.0,
            slow: 0.0,
            hour_mean: 0.0,
            near: Tail::NEW,
            far: Tail::NEW,
            drift: 0.0,
            interval: 0.0,
            heat: 0.0,
            season: Neighbours::default(),
            hour: 0,
            samples: 0,
            moves: 0,
            profile: NONE,
            hour_samples: 0,
            far_samples: 0,
            run: 0,
            run_longest: 0,
            hold: 0,
            hold_age: 0,
            calm: 0,
            outliers: 0,
            quiet: 0,
            burst: 0,
            marks: 0,
        }
    }

    pub(crate) fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    /// All bits but the indices, which depend on how series are spread over pipelines, and
    /// [`WATCHED`], which depends on rules alone.
    pub(crate) fn digest(&self, out: &mut Digest) {
        out.i64(self.last_time.nanos());
        for value in [self.last_value, self.quick, self.slow, self.hour_mean] {
            out.f64(value);
        }
        self.near.digest(out);
        self.far.digest(out);
        for value in [self.drift, self.interval, self.heat] {
            out.f32(value);
        }
        for value in [self.season.before, self.season.here, self.season.after] {
            out.f32(value);
        }
        out.i64(i64::from(self.hour));
        out.i64(i64::from(self.outliers));
        out.i64(i64::from(self.burst));
        for value in [self.samples, self.moves] {
            out.u64(u64::from(value));
        }
        for value in [self.hour_samples, self.far_samples, self.run, self.run_longest, self.hold] {
            out.u64(u64::from(value));
        }
        for value in [self.hold_age, self.calm, self.quiet, self.marks & !WATCHED] {
            out.u64(u64::from(value));
        }
    }
}
