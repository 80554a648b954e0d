//! The detectors that keep thousands of bytes: novelty, deviation, both together, and published ones.
//!
//! ```text
//! version    u8 = 5
//! model      u8: 1 novelty, 2 deviation, 3 auto, 4 mad, 5 holt_winters, 6 half_space_trees, 7 anomstack
//! onset      hold u16 in steps of severity, age u8
//! shape      since version 4: begun u32; samples, anomalies, changes, usual, peak u16; calm, marks u8
//! lacks      u8: 1 = the series had rows before that it has not learnt, `primed.rs`; 0
//! begun      u8: 0 no sample yet, and nothing follows; 1
//! published  where the model is 4 or more, and nothing follows: the file of the model in `published`
//! counter    last f64, stage u8: 0 open, 1 gauge, 2 counter without a rate, 3 counter; samples u8, rises u8, resets u8
//! pace       last time i64; interval, step, stretch, seen, quiet seconds, f32; quiet samples u8, gaps u8
//! episode    seconds f32, departure f32, samples u16, calm u8, settling u8
//! calibration  one of the extremes below, seconds f32
//! baseline   first f64, mean f64, profile f32 x 24, spread f32 x 24, typical spread f32, samples u32,
//!            counts u8 x 24, hour u8, all visited u8
//! novelty    where the model has it:
//!            3 sets: 2 times count u8 and values, ascending, of the first set f32, of the others the upper half of one;
//!            resolution f32, samples u16
//!            3 extremes: 2 times count u16, kept u8 and distances u16, the upper half of an f32, descending;
//!            waiting distance u16
//!            residuals f32 x 6, next u8, all u8, met u8: 0; 1, then least f32 x 3, greatest f32 x 3
//! deviation  where the model has it: quick f64, steady f64, errors f32 x 4, week u16 x 168,
//!            mean f64, variance f64, extremes as above
//! ```
//!
//! Version 4 had floats of 32 bits for all values, and version 3 no shape either.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{AnomalyKind, Channel, EventTime, Flags, Severity};

use crate::baseline::{Baseline, View};
use crate::calibration::Calibration;
use crate::counter::{Counter, Seen};
use crate::deviation::Deviation;
use crate::episode::Episode;
use crate::light::{Expectation, Verdict};
use crate::limits::ALLOCATION_BYTES;
use crate::model::Model;
use crate::novelty::{Novelty, SCORED_MIN};
use crate::numeric::smaller;
use crate::onset::Onset;
use crate::pace::{Beat, Pace};
use crate::published::Published;
use crate::series_detector::Judgement;
use crate::series_kind::SeriesKind;
use crate::shape::{KIND_MIN, Shape, Sight};
use crate::tail::SEVERITY_MAX;
use crate::time_zone::LocalTime;

/// Version of the bytes.
const FORMAT: u8 = 5;
/// The oldest version that is read, the first one with a shape, and the first one whose residuals have 16 bits.
const FORMAT_MIN: u8 = 3;
const FORMAT_WITH_SHAPE: u8 = 4;
const FORMAT_WITH_LANES: u8 = 5;
/// Shares of the two in their sum.
///
/// Neither alone is good at both corpora. On NAB .8 and .2 to .35 give the same within its noise of two points, on
/// KPI more of deviation is better, slowly. The sum beats the greater of the two (the reference) by a point of
/// NAB and .015 of KPI event-F1: what both find unusual is more unusual. With .8 levels nearly keep their
/// meaning: a sample that is news to novelty alone needs a quarter more.
const NOVELTY_SHARE: f32 = 0.8;
const DEVIATION_SHARE: f32 = 0.3;

/// Novelty, deviation, or `.8 novelty + .3 deviation` for one series; or a published model.
///
/// The channel is the greater part of the sum. Expectation and band are deviation's where there is one. What is put out
/// is the model's severity as far as the series bears it out (`calibration.rs`), at most 100; 0 behind a pause
/// (`pace.rs`) and while a new level is learnt (`episode.rs`, which also says what a sample teaches). Of a counter all this is
/// said of its rate (`counter.rs`), in the unit of its values; a sample without one has 0. Published models are
/// as their sources have them. State: at most 2.4 kB, of published models more, see [`FullDetector::bytes`]; it begins
/// with the first sample.
#[derive(Clone, Debug)]
pub struct FullDetector {
    model: Model,
    onset: Onset,
    shape: Shape,
    /// The series had rows before, which it has not learnt.
    lacks_history: bool,
    begun: Option<Begun>,
}

/// What there is from the first sample on.
#[derive(Clone, Debug)]
enum Begun {
    Views(Box<Views>),
    Published(Published),
}

/// The state of novelty, deviation and both.
#[derive(Clone, Debug)]
struct Views {
    counter: Counter,
    pace: Pace,
    episode: Episode,
    calibration: Calibration,
    baseline: Baseline,
    novelty: Option<Novelty>,
    deviation: Option<Box<Deviation>>,
}

/// What a detector hears of the light one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    Nothing,
    /// What it says of runs of still samples: within the noise they are no news to the others.
    Runs,
    /// Everything, in the first three and a half days.
    All,
}

/// What the light detector says of a sample, where it is heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) severity: f32,
    pub(crate) expectation: Expectation,
    /// The sample is one of a run of equal values that is longer than any before.
    pub(crate) is_still: bool,
}

impl Heard {
    /// It is not heard.
    pub(crate) const NOTHING: Self =
        Self { severity: 0.0, expectation: Expectation::NONE, is_still: false };
}

/// What of a sample is looked at, once its time was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) seen: Seen,
    /// It may be a counter that was reset: the light detector, which sees its value so far, is not heard.
    pub(crate) is_doubtful: bool,
    time: EventTime,
    beat: Beat,
}

/// What is said of one sample.
#[derive(Clone, Copy, Debug)]
struct Scored {
    severity: Severity,
    channel: Channel,
    expectation: Expectation,
    /// An anomaly that the light detector tells: what it expected is told too.
    of_light: bool,
    /// It is one of those for which an onset holds back lesser ones: the end of a step, and no part of an episode.
    ages: bool,
}

impl Scored {
    /// Of a sample without a rate.
    fn nothing(ages: bool) -> Self {
        let (severity, expectation) = (Severity::ZERO, Expectation::NONE);
        Self { severity, channel: Channel::None, expectation, of_light: false, ages }
    }
}

impl FullDetector {
    /// A detector that has seen nothing. `None` for the light model, which is another one.
    #[must_use]
    pub fn new(model: Model) -> Option<Self> {
        let (onset, shape) = (Onset::default(), Shape::default());
        let (lacks_history, begun) = (false, None);
        (model != Model::Light).then_some(Self { model, onset, shape, lacks_history, begun })
    }

    /// Which model it is.
    #[must_use]
    pub fn model(&self) -> Model {
        self.model
    }

    /// Whether the series had rows before its first one that it has not learnt.
    pub(crate) fn lacks_history(&self) -> bool {
        self.lacks_history
    }

    /// Notes whether the series had rows before that it has not learnt.
    pub(crate) fn set_lacks_history(&mut self, lacks_history: bool) {
        self.lacks_history = lacks_history;
    }

    /// What it hears of the light detector: auto alone does.
    #[inline]
    pub(crate) fn hears(&self) -> Hears {
        match &self.begun {
            _ if self.model != Model::Auto => Hears::Nothing,
            Some(Begun::Views(views)) if !views.calibration.is_young() => Hears::Runs,
            _ => Hears::All,
        }
    }

    /// Scores a finite value that is later than the one before, and learns it; without the light detector.
    pub fn judge(&mut self, time: EventTime, value: f64) -> Judgement {
        let measure = self.measure(time, value, SeriesKind::Auto);
        let local = LocalTime::utc(time);
        Judgement::of(self.judge_with(local, &measure, &Heard::NOTHING, |severity, _| severity))
    }

    /// Takes time and value of the next sample, and says what of it is looked at. Where that is something else than
    /// before, what was learnt is forgotten.
    #[inline]
    pub(crate) fn measure(&mut self, time: EventTime, value: f64, kind: SeriesKind) -> Measure {
        let model = self.model;
        match self.begun.get_or_insert_with(|| Begun::new(model, value)) {
            Begun::Views(views) => views.measure(time, value, kind),
            Begun::Published(_) => {
                let (seen, beat) = (Seen::value(value), Beat::FIRST);
                Measure { seen, is_doubtful: false, time, beat }
            }
        }
    }

    /// Scores what was measured at `time` by the clocks of the series, with the light detector where it is heard, and with what
    /// `temper` makes of severity and expectation in place of the severity. While there is no expectation, and of an anomaly that
    /// it tells, the light detector's counts.
    #[inline]
    pub(crate) fn judge_with(
        &mut self,
        time: LocalTime,
        measure: &Measure,
        heard: &Heard,
        temper: impl FnOnce(Severity, &Expectation) -> Severity,
    ) -> Verdict {
        let Scored { severity, channel, expectation, of_light, ages } =
            self.score(time, measure, heard.severity);
        let of_light = of_light && !heard.expectation.expected.is_nan();
        let expectation =
            if of_light || expectation.expected.is_nan() { heard.expectation } else { expectation };
        let growth = measure.seen.growth;
        let told = growth.map_or(expectation, |growth| growth.expectation(&expectation));
        let severity = temper(severity, &told);
        let value = measure.seen.number.unwrap_or(f64::NAN);
        let Expectation { expected, .. } = expectation;
        let (time, is_still) = (measure.time, heard.is_still);
        let sight = Sight { time, value, expected, is_still };
        let kind = self.shape(severity, &sight);
        let flags = self.emit_aged(severity, channel, ages).with_kind(kind);
        Verdict { expectation: Some(told), severity, flags }
    }

    /// What the anomaly looks like, with a sample of this severity.
    #[inline]
    fn shape(&mut self, severity: Severity, sight: &Sight) -> AnomalyKind {
        let Self { shape, begun, .. } = self;
        shape.observe(severity, sight, || match begun {
            Some(Begun::Views(views)) => views.baseline.has_hour_with(sight.value),
            Some(Begun::Published(_)) | None => false,
        })
    }

    /// The last value of what is taken for a counter, of which the light detector does not see the values.
    pub(crate) fn last_of_counter(&self) -> Option<f64> {
        match &self.begun {
            Some(Begun::Views(views)) => views.counter.last(),
            _ => None,
        }
    }

    /// What would be expected of a sample at `time`, which is `local` by the clocks of the series, whatever its value. Of a
    /// counter nothing at a time that is not later than its last one, or behind a pause.
    pub(crate) fn expect(&self, time: EventTime, local: LocalTime) -> Expectation {
        match &self.begun {
            None => Expectation::NONE,
            Some(Begun::Views(views)) => views.clone().expect(time, local),
            Some(Begun::Published(published)) => published.expect(local),
        }
    }

    /// The flags of a severity: its channel, and whether it is an onset.
    pub(crate) fn emit(&mut self, severity: Severity, channel: Channel) -> Flags {
        self.emit_aged(severity, channel, true)
    }

    fn emit_aged(&mut self, severity: Severity, channel: Channel, ages: bool) -> Flags {
        let channel = if severity == Severity::ZERO { Channel::None } else { channel };
        let onset = if self.onset.observe(severity, ages) { Flags::ONSET } else { Flags::NONE };
        onset.with_channel(channel)
    }

    fn score(&mut self, time: LocalTime, measure: &Measure, light: f32) -> Scored {
        let begun = self.begun.as_mut().expect("it was measured");
        match (begun, measure.seen.number) {
            (Begun::Views(views), Some(number)) => {
                views.observe(time, number, &measure.beat, light)
            }
            (Begun::Views(views), None) => views.pass(time, &measure.beat),
            (Begun::Published(_), None) => Scored::nothing(true),
            (Begun::Published(published), Some(value)) => {
                let (severity, channel, expectation) = published.score(time, value);
                let severity = Severity::from_f32(smaller(severity, SEVERITY_MAX));
                Scored { severity, channel, expectation, of_light: false, ages: true }
            }
        }
    }

    /// Bytes of the state, with the heap's.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.begun.as_ref().map_or(0, Begun::heap_bytes)
    }

    /// Bytes on the heap that a model takes at most, with what the allocator takes beside them.
    pub(crate) fn heap_bytes_max(model: Model) -> usize {
        if let Some(bytes) = Published::heap_bytes_max(model) {
            return bytes;
        }
        let has = |other| model == other || model == Model::Auto;
        let part = |is: bool, bytes: usize| if is { bytes + ALLOCATION_BYTES } else { 0 };
        part(model != Model::Light, size_of::<Views>())
            + part(has(Model::Novelty), Novelty::HEAP_BYTES_MAX)
            + part(has(Model::Deviation), size_of::<Deviation>())
    }

    /// Appends the state.
    pub fn encode(&self, out: &mut FieldWriter) {
        out.u8(FORMAT);
        out.u8(self.model.code());
        self.onset.encode(out);
        self.shape.encode(out);
        out.u8(u8::from(self.lacks_history));
        out.u8(u8::from(self.begun.is_some()));
        match &self.begun {
            None => {}
            Some(Begun::Views(views)) => views.encode(out),
            Some(Begun::Published(published)) => published.encode(out),
        }
    }

    /// Whether state of a version is not read any more.
    pub(crate) fn is_outdated(version: u8) -> bool {
        version < FORMAT_MIN
    }

    /// What [`FullDetector::encode`] wrote; `None` where it cannot have written it, another version included.
    #[deny(clippy::indexing_slicing)]
    pub fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let version = fields.u8()?;
        if !(FORMAT_MIN..=FORMAT).contains(&version) {
            return None;
        }
        let mut read = Self::new(Model::from_code(fields.u8()?)?)?;
        read.onset = Onset::decode(fields)?;
        if version >= FORMAT_WITH_SHAPE {
            read.shape = Shape::decode(fields)?;
        }
        read.lacks_history = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        match fields.u8()? {
            0 => return Some(read),
            1 => {}
            _ => return None,
        }
        read.begun = Some(match Published::decode(read.model, fields) {
            Some(published) => Begun::Published(published?),
            None => Begun::Views(Box::new(Views::decode(read.model, fields, version)?)),
        });
        Some(read)
    }
}

impl Begun {
    fn new(model: Model, first: f64) -> Self {
        let published = Published::new(model, first).map(Self::Published);
        published.unwrap_or_else(|| Self::Views(Box::new(Views::new(model, first))))
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Views(views) => views.bytes(),
            Self::Published(published) => published.heap_bytes(),
        }
    }
}

impl Views {
    fn new(model: Model, first: f64) -> Self {
        let has = |other| model == other || model == Model::Auto;
        Self {
            counter: Counter::NEW,
            pace: Pace::new(),
            episode: Episode::default(),
            calibration: Calibration::NEW,
            baseline: Baseline::new(first),
            novelty: has(Model::Novelty).then(Novelty::new),
            deviation: has(Model::Deviation).then(|| Box::new(Deviation::new())),
        }
    }

    /// What of a sample is looked at.
    #[inline]
    fn measure(&mut self, time: EventTime, value: f64, kind: SeriesKind) -> Measure {
        if self.counter.is_gauge() && kind != SeriesKind::Counter {
            let beat = self.pace.observe(time);
            return Measure { seen: Seen::value(value), is_doubtful: false, time, beat };
        }
        self.measure_growth(time, value, kind)
    }

    /// What of a sample is looked at where it is not known to be a gauge's.
    fn measure_growth(&mut self, time: EventTime, value: f64, kind: SeriesKind) -> Measure {
        let seconds = self.pace.since(time);
        let beat = self.pace.observe(time);
        let seconds = (!beat.resumes).then_some(seconds);
        let seen = self.counter.observe(kind, value, seconds, self.baseline.usual());
        if let Some(number) = seen.number.filter(|_| seen.begins) {
            self.begin_anew(number);
        }
        Measure { seen, is_doubtful: self.counter.is_doubtful(), time, beat }
    }

    /// Forgets what was seen but when; `first` comes next.
    #[cold]
    fn begin_anew(&mut self, first: f64) {
        self.episode = Episode::default();
        self.calibration = Calibration::NEW;
        self.baseline = Baseline::new(first);
        if let Some(novelty) = &mut self.novelty {
            *novelty = Novelty::new();
        }
        if let Some(deviation) = &mut self.deviation {
            **deviation = Deviation::new();
        }
    }

    /// Takes a sample that has no rate: it is neither scored nor learnt.
    fn pass(&mut self, time: LocalTime, beat: &Beat) -> Scored {
        if let Some(deviation) = self.deviation.as_mut().filter(|_| beat.resumes) {
            deviation.resume(&self.baseline.look(time, self.baseline.first()));
        }
        self.calibration.pass(beat.seconds);
        Scored::nothing(beat.ends_step && !self.episode.is_on())
    }

    /// What is expected of a sample at `time`.
    fn expect(mut self, time: EventTime, local: LocalTime) -> Expectation {
        let seconds = self.pace.since(time);
        let beat = self.pace.observe(time);
        let growth = self.counter.growth((!beat.resumes).then_some(seconds));
        if growth.is_none() && self.counter.last().is_some() {
            return Expectation::NONE;
        }
        let expectation = self.observe(local, self.baseline.first(), &beat, 0.0).expectation;
        growth.map_or(expectation, |growth| growth.expectation(&expectation))
    }

    /// Scores a sample, and learns of it what the episode lets through.
    fn observe(&mut self, time: LocalTime, value: f64, beat: &Beat, light: f32) -> Scored {
        let view = self.baseline.look(time, value);
        if let Some(deviation) = self.deviation.as_mut().filter(|_| beat.resumes) {
            deviation.resume(&view);
        }
        let novelty = self.novelty.as_ref().map(|novelty| novelty.look(&view));
        let deviation = self.deviation.as_ref();
        let deviation = deviation.map(|deviation| deviation.look(&view, &self.baseline));
        let expectation = match deviation {
            Some((_, expectation, _)) => expectation,
            None => Novelty::expect(&view, &self.baseline),
        };
        let (of_model, channel) = combine(
            novelty.map(|(severity, _)| severity),
            deviation.map(|(severity, ..)| severity),
        );
        self.calibration.pass(beat.seconds);
        let is_scored = !beat.is_quiet && self.episode.is_scored();
        let (severity, is_light) =
            if is_scored { self.calibration.severity(of_model, light) } else { (0.0, false) };
        let channel = if is_light { Channel::Deviation } else { channel };
        let severity = smaller(severity, SEVERITY_MAX);
        let lesson = self.episode.observe(severity, view.residual, beat);
        if lesson.distances && view.samples >= SCORED_MIN {
            self.calibration.learn(of_model, lesson.ends_stretch);
        }
        if lesson.forgets() {
            self.calibration.forget();
        }
        if let (Some(part), Some((_, news))) = (&mut self.novelty, novelty) {
            part.learn(&news, lesson);
        }
        if let (Some(part), Some((_, _, miss))) = (&mut self.deviation, deviation) {
            part.learn(&view, &miss, lesson);
        }
        match (lesson.shifts, lesson.values) {
            (true, _) => self.shift(&view),
            (false, true) if beat.ends_step => self.baseline.learn(&view),
            (false, false) if beat.ends_step => self.baseline.pass(&view),
            (false, _) => {}
        }
        let ages = beat.ends_step && !self.episode.is_on();
        let of_light = is_light && severity >= KIND_MIN;
        let severity = Severity::from_f32(severity);
        Scored { severity, channel, expectation, of_light, ages }
    }

    /// Takes what an episode left for the new normal.
    fn shift(&mut self, view: &View) {
        let departure = self.episode.departure();
        self.baseline.shift(departure);
        if let Some(deviation) = &mut self.deviation {
            deviation.shift(view, departure);
        }
    }

    fn bytes(&self) -> usize {
        let novelty = self.novelty.as_ref().map_or(0, Novelty::heap_bytes);
        let deviation = self.deviation.as_ref().map_or(0, |_| size_of::<Deviation>());
        size_of::<Self>() + novelty + deviation
    }

    fn encode(&self, out: &mut FieldWriter) {
        self.counter.encode(out);
        self.pace.encode(out);
        self.episode.encode(out);
        self.calibration.encode(out);
        self.baseline.encode(out);
        if let Some(novelty) = &self.novelty {
            novelty.encode(out);
        }
        if let Some(deviation) = &self.deviation {
            deviation.encode(out);
        }
    }

    #[deny(clippy::indexing_slicing)]
    fn decode(model: Model, fields: &mut FieldReader<'_>, version: u8) -> Option<Self> {
        let has = |other| model == other || model == Model::Auto;
        let counter = Counter::decode(fields)?;
        let pace = Pace::decode(fields)?;
        let episode = Episode::decode(fields)?;
        let calibration = Calibration::decode(fields)?;
        let baseline = Baseline::decode(fields)?;
        let is_wide = version < FORMAT_WITH_LANES;
        let novelty =
            if has(Model::Novelty) { Some(Novelty::decode(fields, is_wide)?) } else { None };
        let deviation =
            if has(Model::Deviation) { Some(Box::new(Deviation::decode(fields)?)) } else { None };
        Some(Self { counter, pace, episode, calibration, baseline, novelty, deviation })
    }
}

/// The severity of what there is of both, and which gave more of it.
fn combine(novelty: Option<f32>, deviation: Option<f32>) -> (f32, Channel) {
    match (novelty, deviation) {
        (Some(novelty), Some(deviation)) => {
            let (new, far) = (NOVELTY_SHARE * novelty, DEVIATION_SHARE * deviation);
            (new + far, if new >= far { Channel::Novelty } else { Channel::Deviation })
        }
        (Some(novelty), None) => (novelty, Channel::Novelty),
        (None, Some(deviation)) => (deviation, Channel::Deviation),
        (None, None) => (0.0, Channel::None),
    }
}

#[cfg(test)]
#[path = "full_tests.rs"]
pub(crate) mod tests;
