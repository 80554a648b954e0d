//! What is kept of one series: two cache lines.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, SeriesId, Slot};

use crate::hash::{Digest, seed};
use crate::profile::{Neighbours, SLOT_NANOS};
use crate::tail::Tail;

/// The series' order has an entry beside its state: refused rows, or an older, greater time.
pub(crate) const TROUBLED: u8 = 1;
/// A rule matches the series.
pub(crate) const WATCHED: u8 = 2;
/// The first hour, which began before the first sample, is not over.
pub(crate) const FIRST_HOUR: u8 = 4;
/// The daily profile is complete.
pub(crate) const SEASONAL: u8 = 8;
/// Percentiles match the series. Follows from the rules, so that it is neither stored nor hashed.
pub(crate) const COUNTED: u8 = 32;
/// A `[[detect]]` matches the series. Follows from the rules, so that it is neither stored nor hashed.
pub(crate) const TUNED: u8 = 64;
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
    /// The last finite value in order that the detector took.
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
    /// The hour since the epoch, and in the low 8 bits the series' slot.
    hour_and_slot: i32,
    /// Samples that the detector, light or not, has taken.
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
/// The hours of all event times leave room for the slot.
const HOUR_MIN: i64 = i64::MIN.div_euclid(SLOT_NANOS);
const HOUR_MAX: i64 = i64::MAX.div_euclid(SLOT_NANOS);
const _: () = assert!(HOUR_MIN >= -(1 << 23) && HOUR_MAX < 1 << 23);

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
            hour_and_slot: i32::from(id.slot().0),
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

    /// The state of a detector that begins behind the rows so far; the rest stays.
    pub(crate) fn begin_anew(&mut self) {
        let Self { last_time, seed, .. } = *self;
        let marks = self.marks & !(FIRST_HOUR | SEASONAL);
        let hour_and_slot = i32::from(self.slot().0);
        *self = Self { last_time, seed, marks, hour_and_slot, ..Self::new(SeriesId::new(0)) };
    }

    /// Takes what the detector has learnt from `other`, a state of the same series without marks of its order and its rules.
    ///
    /// What the order knows stays, and so does the last value where the detector has taken one.
    pub(crate) fn take_detector(&mut self, other: &Self) {
        let last_value = if self.samples > 0 { self.last_value } else { other.last_value };
        let marks = self.marks & !(FIRST_HOUR | SEASONAL) | other.marks;
        let (last_time, profile) = (self.last_time, self.profile);
        *self = Self { last_time, last_value, marks, profile, ..other.clone() };
    }

    pub(crate) fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    /// The hour since the epoch.
    pub(crate) fn hour(&self) -> i32 {
        self.hour_and_slot >> 8
    }

    /// Enters an hour, which is one of an event time.
    pub(crate) fn set_hour(&mut self, hour: i32) {
        self.hour_and_slot = (hour << 8) | i32::from(self.slot().0);
    }

    /// The series' slot.
    pub(crate) fn slot(&self) -> Slot {
        Slot(self.hour_and_slot.to_le_bytes()[0])
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
        out.i64(i64::from(self.hour()));
        out.i64(i64::from(self.outliers));
        out.i64(i64::from(self.burst));
        for value in [self.samples, self.moves] {
            out.u64(u64::from(value));
        }
        for value in [self.hour_samples, self.far_samples, self.run, self.run_longest, self.hold] {
            out.u64(u64::from(value));
        }
        for value in
            [self.hold_age, self.calm, self.quiet, self.marks & !(WATCHED | COUNTED | TUNED)]
        {
            out.u64(u64::from(value));
        }
    }

    /// Appends what does not follow from the identity; `marks` and the index of the profile are left out.
    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.i64(self.last_time.nanos());
        for value in [self.last_value, self.quick, self.slow, self.hour_mean] {
            out.f64(value);
        }
        self.near.encode(out);
        self.far.encode(out);
        for value in [self.drift, self.interval, self.heat] {
            out.f32(value);
        }
        self.season.encode(out);
        out.i32(self.hour());
        for value in [self.samples, self.moves] {
            out.u32(value);
        }
        for value in [self.hour_samples, self.far_samples, self.run, self.run_longest, self.hold] {
            out.u16(value);
        }
        for value in [self.hold_age, self.calm, self.quiet] {
            out.u8(value);
        }
        out.i8(self.outliers);
        out.i8(self.burst);
    }

    /// What [`SeriesState::encode`] wrote, for a series without marks and profile.
    pub(crate) fn decode(id: SeriesId, fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut state = Self::new(id);
        state.last_time = EventTime::new(fields.i64()?);
        state.last_value = fields.f64()?;
        state.quick = fields.f64()?;
        state.slow = fields.f64()?;
        state.hour_mean = fields.f64()?;
        state.near = Tail::decode(fields)?;
        state.far = Tail::decode(fields)?;
        state.drift = fields.f32()?;
        state.interval = fields.f32()?;
        state.heat = fields.f32()?;
        state.season = Neighbours::decode(fields)?;
        let hour = fields.i32()?;
        if !(HOUR_MIN..=HOUR_MAX).contains(&i64::from(hour)) {
            return None;
        }
        state.set_hour(hour);
        state.samples = fields.u32()?;
        state.moves = fields.u32()?;
        state.hour_samples = fields.u16()?;
        state.far_samples = fields.u16()?;
        state.run = fields.u16()?;
        state.run_longest = fields.u16()?;
        state.hold = fields.u16()?;
        state.hold_age = fields.u8()?;
        state.calm = fields.u8()?;
        state.quiet = fields.u8()?;
        state.outliers = fields.i8()?;
        state.burst = fields.i8()?;
        Some(state)
    }
}
