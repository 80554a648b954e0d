//! What is looked at of a value: the value itself, or of a counter its rate.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::light::Expectation;
use crate::numeric::narrow;
use crate::series_kind::SeriesKind;

/// Samples that tell a counter: nothing was scored before sample 80, so that a change of mind takes nothing back.
const EVIDENCE: u8 = 64;
/// How many of them must rise: a counter at a second may stand still in most of them. What rises less often is as good as constant.
const RISES_MIN: u8 = EVIDENCE / 8;
/// Each reset among them asks for so many that rise: noise that is often 0 falls as often as it rises.
const RISES_PER_RESET: u8 = 8;
/// A fall to less than this share of the value before is a reset. Prometheus asks for no share; at .5 a heap that
/// is collected is a counter.
const RESET_SHARE: f64 = 0.125;
/// So is one to what grows from 0 in the time since at so many times the usual rate: a process that restarts again and again
/// has its counter at no more than a few increases.
const RESET_RATES: f64 = 4.0;
/// Standard deviations of what is counted, if it comes independently, that are noise to the light detector.
const COUNT_DEVIATIONS: f64 = 3.0;

/// Turns the values of a counter into rates, and tells counters from gauges.
///
/// With value `x`, the one before `l`, and `dt` seconds between them:
///
/// ```text
/// gauge:    x
/// counter:  (x - l) / dt       none for the first one, behind a reset and behind a pause
/// reset:    x < l, of what only was recognised as a counter x >= 0, and x < l / 8 or x / dt <= 4 times the usual rate
/// counter:  64 samples, none below 0, 8 at least above the one before, 8 for each reset, and no other fall;
///           until one falls and is no reset
/// ```
///
/// What was once taken for a gauge is never looked at again. Put out is `l + rate dt`: what is expected keeps the unit of the
/// values.
///
/// Source: `rate` of Prometheus, which takes each fall for a reset, and what stands there for the increase since. Deviation: that
/// increase is only what is left of one, so that a restart would be an anomaly of the rate; it is not looked at here.
/// Rates are rounded to 24 bits, or the last bits of sums that grow would be news, and held within ±1e30. State: 16 bytes. Time: O(1). Weak where a counter hardly ever rises, and where several are
/// summed, of which one restarts: then it must be said that it is a counter. A level that rises smoothly is a counter
/// until it falls, and begins anew there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counter {
    /// The last value; of a gauge it means nothing.
    last: f64,
    stage: Stage,
    /// Of the evidence.
    samples: u8,
    rises: u8,
    resets: u8,
}

/// What is known of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is taken for a gauge, and may be a counter.
    Open = 0,
    Gauge = 1,
    /// A counter that had no rate yet.
    Counter = 2,
    /// A counter.
    Rated = 3,
}

/// What is looked at of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    /// The value, or the rate; none where a counter has none.
    pub(crate) number: Option<f64>,
    /// The first one of its kind: what was learnt before is of another.
    pub(crate) begins: bool,
    /// What leads from rates to values; none where it is the value that is looked at.
    pub(crate) growth: Option<Growth>,
}

/// What leads from a counter's rate to its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    from: f64,
    seconds: f64,
}

impl Growth {
    /// What is expected of the value where this is expected of the rate.
    pub(crate) fn expectation(self, rate: &Expectation) -> Expectation {
        let value = |rate: f64| self.from + rate * self.seconds;
        let Expectation { expected, lower, upper } = *rate;
        Expectation { expected: value(expected), lower: value(lower), upper: value(upper) }
    }

    /// Whether a whole value, of whose rate this was expected, is no further from that than what counts single events may
    /// be by chance.
    pub(crate) fn is_chance(self, value: f64, rate: f64) -> bool {
        let (count, expected) = (value - self.from, rate * self.seconds);
        let deviation = if expected > 1.0 { expected.sqrt() } else { 1.0 };
        value.fract() == 0.0 && (count - expected).abs() <= COUNT_DEVIATIONS * deviation
    }
}

impl Seen {
    /// A value that is looked at as it is.
    pub(crate) const fn value(value: f64) -> Self {
        Self { number: Some(value), begins: false, growth: None }
    }

    const NO_RATE: Self = Self { number: None, begins: false, growth: None };
}

impl Counter {
    pub(crate) const NEW: Self =
        Self { last: 0.0, stage: Stage::Open, samples: 0, rises: 0, resets: 0 };

    /// Whether it fell as counters do, and may yet turn out to be one.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.stage == Stage::Open && self.resets > 0
    }

    /// The last value of a counter.
    pub(crate) fn last(&self) -> Option<f64> {
        matches!(self.stage, Stage::Counter | Stage::Rated).then_some(self.last)
    }

    /// What leads from the rate of a sample to come to its value; none where there will be no rate, or none is known.
    pub(crate) fn growth(&self, seconds: Option<f64>) -> Option<Growth> {
        let seconds = seconds.filter(|_| self.stage == Stage::Rated)?;
        Some(Growth { from: self.last, seconds })
    }

    /// Whether it is a gauge, of which nothing is observed unless it is said to be a counter.
    pub(crate) fn is_gauge(&self) -> bool {
        self.stage == Stage::Gauge
    }

    /// Takes a finite value, `seconds` after the one before; none behind a pause. `usual` is the usual rate of a counter.
    pub(crate) fn observe(
        &mut self,
        kind: SeriesKind,
        value: f64,
        seconds: Option<f64>,
        usual: f64,
    ) -> Seen {
        if self.is_gauge() && kind != SeriesKind::Counter {
            return Seen::value(value);
        }
        let is_counter = self.last().is_some();
        match kind {
            SeriesKind::Gauge => return self.end(value),
            SeriesKind::Counter if !is_counter => {
                (self.stage, self.last) = (Stage::Counter, value);
                return Seen::NO_RATE;
            }
            SeriesKind::Auto if !is_counter => {
                self.weigh(value);
                if self.stage != Stage::Counter {
                    self.last = value;
                    return Seen::value(value);
                }
            }
            SeriesKind::Auto | SeriesKind::Counter => {}
        }
        let last = std::mem::replace(&mut self.last, value);
        let falls = value < last;
        let is_small = seconds.is_some_and(|seconds| value <= RESET_RATES * usual * seconds);
        let is_known = self.stage == Stage::Rated && is_small;
        let is_reset = value >= 0.0 && (value < RESET_SHARE * last || is_known);
        if falls && kind == SeriesKind::Auto && is_counter && !is_reset {
            return self.end(value);
        }
        let Some(seconds) = seconds.filter(|_| !falls) else { return Seen::NO_RATE };
        let begins = std::mem::replace(&mut self.stage, Stage::Rated) != Stage::Rated;
        let rate = f64::from(narrow((value - last) / seconds));
        Seen { number: Some(rate), begins, growth: Some(Growth { from: last, seconds }) }
    }

    /// It is a gauge for good.
    fn end(&mut self, value: f64) -> Seen {
        let begins = self.stage == Stage::Rated;
        *self = Self { stage: Stage::Gauge, ..Self::NEW };
        Seen { begins, ..Seen::value(value) }
    }

    /// Takes a value for evidence; decides as soon as it can.
    fn weigh(&mut self, value: f64) {
        if self.samples > 0 {
            self.rises += u8::from(value > self.last);
            self.resets += u8::from(value < self.last);
        }
        let falls = self.samples > 0 && value < self.last && value >= RESET_SHARE * self.last;
        self.samples += 1;
        let left = EVIDENCE - self.samples;
        let due = RISES_MIN.max(RISES_PER_RESET * self.resets);
        if value < 0.0 || falls || self.rises + left < due {
            *self = Self { stage: Stage::Gauge, ..Self::NEW };
        } else if left == 0 {
            self.stage = Stage::Counter;
        }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f64(self.last);
        out.u8(self.stage as u8);
        out.u8(self.samples);
        out.u8(self.rises);
        out.u8(self.resets);
    }

    /// What [`Counter::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let last = fields.f64().filter(|last| last.is_finite())?;
        let stage = match fields.u8()? {
            0 => Stage::Open,
            1 => Stage::Gauge,
            2 => Stage::Counter,
            3 => Stage::Rated,
            _ => return None,
        };
        let samples = fields.u8().filter(|samples| *samples <= EVIDENCE)?;
        let rises = fields.u8().filter(|rises| *rises <= samples)?;
        let resets = fields.u8().filter(|resets| *resets <= EVIDENCE / RISES_PER_RESET)?;
        let is_open = stage == Stage::Open;
        // An open one has room for further evidence: what counts it does not overflow.
        (!is_open || samples < EVIDENCE).then_some(Self { last, stage, samples, rises, resets })
    }
}

#[cfg(test)]
#[path = "counter_tests.rs"]
mod tests;
