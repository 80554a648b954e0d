//! What the severity of a model is worth on a series.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::extremes::Extremes;
use crate::numeric::{bounded, larger, smaller};
use crate::pace::STRETCH_SECONDS;

/// A model is believed up to here: just below the fleets' level. What dashboards and the corpora are
/// judged by lies below.
const BELIEVED: f32 = 5.9;
/// What the series' own tail says may promise twice too much: .01 false alarms per series and week at five
/// minutes are 5 in a million, of which this leaves more than half to tails that are not exponential.
/// Without it one of 20 outages in a weekly season does not pass 6, with .5 heavy noise does half as often again.
const LEAD: f32 = 0.3;
/// The mean excess is at least this, in units of severity.
///
/// What a series has brought in its best weeks is small and alike, and says that nothing lies beyond; what is rare comes
/// from elsewhere. With a twentieth of the least extreme one in its place a healthy series at five minutes has .04 to .1 alerts a week in its third and
/// fourth month, with this .02, and with novelty's floor of now .014. With .8 it is a third more, with 1 a quarter less; but then the
/// outages of a steep season's fourth week do not all pass 6.
const EXCESS_MIN: f32 = 0.9;
/// What is learnt of a sum, at most: an anomaly is no sample of what is healthy.
const LEARNT_MAX: f32 = 10.0;
/// How many powers of ten a promise may be beyond the stretches that were seen: then 1,000 are for 6, after three and a half days.
const BEYOND: f32 = 3.0;
/// What counts of a promise beyond that, of its natural logarithm: the farther, the less. With half of what is beyond in its place a budget of
/// 2 over 100,000 healthy series lets through 72 alerts in their first week and 19 in the third, with this 2 and 3.
const FURTHER_SHARE: f32 = 0.4;
const SEEN_SECONDS: f32 = 1_000.0 * STRETCH_SECONDS;

/// What remains of a model's severity once the series' own are known.
///
/// With severity `s` of the model and `c` of `s` among the greatest of each five minutes ([`Extremes`]), for
/// which `s` is held to 10, and `t` seconds seen:
///
/// ```text
/// v = s                                where s <= 5.9
///     max(5.9, min(s, c + .3))         else
/// l = 3 + log10(t / 300 s)
/// b(x) = x where x <= l, else l (1 + .4 ln(x / l))
/// severity = max(min(v, l), b(light))  while t < 3.5 days
///            max(b(v), light)          from then on, with its runs of still samples
/// ```
///
/// The sum of a model's parts orders well and promises too much: parts are not independent, a record is
/// further from all before it than they were from each other, and each kind of noise has its own excess. How often a
/// series passes a high level only the series can tell. Below 5.9 nothing changes, because there a level is
/// chosen for all series, and the model's own order is the better one (NAB and KPI are the same with and without).
/// `l` is the rule of succession with three decades of credit: nobody knows after an hour what happens once in a million samples,
/// nor after a week what happens once in a hundred million, as tails are heavier than they seem. And the first days of a season are all news.
/// The light detector looks at the last minutes only, is soon sure of them, and is heard meanwhile.
///
/// The tail [renews](Extremes::renew) itself: once a series and its weeks are known, their first days hide nothing any more.
///
/// Severity: from 6 on about -log10 of a chance per five minutes. Weak where a series has had several
/// anomalies that were not alike: then 6 is harder to pass.
/// State: 148 bytes. Time: O(1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Calibration {
    tail: Extremes<0>,
    /// Seen so far.
    seconds: f32,
}

impl Calibration {
    pub(crate) const NEW: Self = Self { tail: Extremes::NEW, seconds: 0.0 };

    /// Whether all of the light detector is heard.
    pub(crate) fn is_young(&self) -> bool {
        self.seconds < SEEN_SECONDS
    }

    /// What remains of a model's severity, and whether that is the light detector's; `light` is 0 where it is not heard.
    pub(crate) fn severity(&self, of_model: f32, light: f32) -> (f32, bool) {
        let own = self.tail.severity_with(of_model, EXCESS_MIN) + LEAD;
        let severity =
            if of_model <= BELIEVED { of_model } else { larger(BELIEVED, smaller(of_model, own)) };
        let stretches = larger(self.seconds / STRETCH_SECONDS, 1.0);
        let limit = BEYOND + libm::log10f(stretches);
        let (severity, light) = if self.is_young() {
            (smaller(severity, limit), borne_out(light, limit))
        } else {
            (borne_out(severity, limit), light)
        };
        (larger(severity, light), light > severity)
    }

    /// So many seconds more were seen.
    pub(crate) fn pass(&mut self, seconds: f32) {
        self.seconds += seconds;
    }

    /// Learns a model's severity: the greatest of each stretch.
    pub(crate) fn learn(&mut self, of_model: f32, ends_stretch: bool) {
        self.tail.learn(smaller(of_model, LEARNT_MAX), ends_stretch);
        if ends_stretch {
            self.tail.renew();
        }
    }

    /// Takes nothing of the stretch so far.
    pub(crate) fn forget(&mut self) {
        self.tail.forget();
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        self.tail.encode(out);
        out.f32(self.seconds);
    }

    /// What [`Calibration::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let tail = Extremes::decode(fields)?;
        let seconds = bounded(fields.f32()?).filter(|seconds| *seconds >= 0.0)?;
        Some(Self { tail, seconds })
    }
}

/// `b` of the formula.
#[inline]
fn borne_out(severity: f32, limit: f32) -> f32 {
    if severity <= limit {
        return severity;
    }
    limit * (1.0 + FURTHER_SHARE * libm::logf(severity / limit))
}

#[cfg(test)]
#[path = "calibration_tests.rs"]
mod tests;
