//! The light detector: what every series has.

use tidewatch_metrics::{AnomalyKind, Channel, EventTime, Flags, Severity};

use crate::numeric::{larger, nanos_f64, narrow, power_of_two, seconds, smaller};
use crate::onset::Onset;
use crate::profile::{Profile, SLOT_NANOS, SLOTS};
use crate::shape::{KIND_MIN, LASTING_SAMPLES, LASTING_SECONDS, beside};
use crate::state::{FIRST_HOUR, NONE, SEASONAL, SeriesState, WATCHED};
use crate::still_run::{LONGEST_START, count_run, count_severity, is_still, run_severity};
use crate::tail::{SEVERITY_MAX, Tail};
use crate::time_zone::LocalTime;

/// Weight of a sample in the quick level and in the drift: the reference detector's quick forecaster.
const QUICK_RATE: f32 = 0.3;
/// Samples that only teach. Between the reference's 20 and 80: the tail starts from a prior.
const BURN_IN: u32 = 40;
/// Seconds of drift before the slow channel scores: a quarter of the daily season.
const FAR_SECONDS_MIN: f32 = 6.0 * 3_600.0;
/// Time constants of the slow level and of the drift's scale, in seconds.
const SLOW_SECONDS: f32 = 12.0 * 3_600.0;
const FAR_SCALE_SECONDS: f32 = 24.0 * 3_600.0;
/// Seconds of drift that teach its tail as much as one independent sample.
const FAR_TAIL_SECONDS: f32 = 3_600.0;
/// One sample moves the slow level at most this far: a daily series has ten days of memory.
const SLOW_RATE_MAX: f32 = 0.1;
const FAR_SCALE_RATE_MAX: f32 = 0.02;
/// Samples that the near scale remembers, and from which on it clips.
const NEAR_SAMPLES: u32 = 256;
const SETTLED_SAMPLES: u32 = 16;
/// A still sample moves the scale by this share of the ordinary rate.
const STILL_RATE: f32 = 1.0 / 256.0;
/// Distances beyond this many scales move the quick level no further, until several in a row do.
const FOLLOW_CLIP: f32 = 3.0;
/// An anomaly for the sake of learning: the reference's level for single dashboards.
const HOT: f32 = 4.0;
/// Calm samples that end an episode.
const CALM_SAMPLES: u8 = 8;
/// An episode longer than this, in seconds and in samples, is the new normal.
const ACCEPT_SECONDS: f32 = 3_600.0;
const ACCEPT_SAMPLES: f32 = 12.0;
/// The slow level's rate during an episode, relative, and after it was accepted, absolute.
const FROZEN: f32 = 0.1;
const ACCEPTED_RATE: f32 = 0.05;
/// What of a sample's severity is still heard at the next one, at most, and its steps per unit.
const BURST_FADE: f32 = 0.7;
const BURST_MAX: f32 = 4.0;
const BURST_STEPS: f32 = 16.0;
/// A pause of more than this many intervals makes the quick level stale.
const GAP_INTERVALS: f32 = 8.0;
/// Samples after a gap that are not scored; the quick level then has forgotten all but 6 %.
const QUIET_SAMPLES: u8 = 8;
/// Series that sample more seldom have no hourly profile, in seconds.
const PROFILE_INTERVAL_MAX: f32 = 2.0 * 3_600.0;
const SLOT_SHARE: f64 = 1.0 / (SLOT_NANOS as f64);

/// What a series is expected to be, and what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explanation {
    /// The expected value; NaN during the burn-in.
    pub expected: f64,
    /// The lower end of the band that holds 98 % of healthy samples; NaN during the burn-in.
    pub lower: f64,
    /// The upper end of that band; NaN during the burn-in.
    pub upper: f64,
    /// Time of the last row in order; [`EventTime::MIN`] where there is none.
    pub last_time: EventTime,
    /// Last finite value in order; NaN where there is none.
    pub last_value: f64,
    /// Samples that the detector has seen.
    pub samples: u32,
    /// Learnt seconds between samples; 0 before the second one.
    pub interval_seconds: f32,
}

/// Scores each sample against a quick and a slow expectation, and looks at runs of equal values.
///
/// With value `x`, quick level `q`, slow level `w`, daily profile `P(t)` between hour centres,
/// drift `r`, robust scale and tail severity `T` as in [`Tail`], learnt interval and step `dt`:
///
/// ```text
/// e = x - q              s1 = T1(|e|) + burst            near: spikes, steps, noisier noise
/// c = clip(e, 3 scale1 2^k)                              k grows with far samples on one side
/// r' = r + .3 (q + c - w - P(t) - r)   s2 = T2(|r'|)     far: lasting departures, broken seasons
/// s3 = log10(moves + 1) + 4 log10(run / longest)         run of still samples >= 1.5 x the longest
/// severity = max(s1, s2, s3)
/// q' = q + .3 c          w' = w + a (q + c - w - P(t)),  a = max(1/n, dt / 12 h), at most .1
/// scale1' at rate max(1/n, 1/256), scale2' at max(1/n, dt / 24 h)
/// ```
///
/// `burst` is what the last exceedance, if on the other side, still says: .7 of its severity one sample
/// later, at most 4. A sample is still where it moved by at most .01 scale1; `s3` ends once the run has
/// lasted 4 hours and 48 samples.
///
/// While an anomaly is on (severity at least 4 until 8 calm samples), `w` learns at a tenth, the
/// profile hardly, the tails not at all after the first sample; once that took longer than an hour
/// and 12 samples, `w` goes to the new level at .05 a sample. The drift's tail learns an hour as one
/// sample, because what drifts resembles itself.
/// A series that never moved has no scale: its first movement gets `log10(n + 1)`, the rule of
/// succession. A pause above 8 intervals and a new time base: 8 samples are learnt from, not scored.
///
/// Source: Holt (1957) and Winters (1960) without trend, Huber's clipping (1964), exponential tail;
/// onset after the reference detector's step 7. Deviations: distances are scored by their tail and
/// not by the normal law; the drift, not the sample, meets the profile. Score: about -log10 of the
/// chance of a sample at least this unusual, 0 to 100. Weak against: a week that differs from its days,
/// drift slower than half a day, a season shorter than a day, a tail heavier than exponential (a
/// Student tail with 3 degrees of freedom passes 6 once in 8,000 samples), and series that hardly ever
/// move: at ten seconds one in seven of their rare events is called an anomaly.
///
/// NaN and infinities never come here, and a run of them is no pause; distances are held within ±1e30.
/// Constant input scores 0.
/// State: 128 bytes with the order's, and a [`Profile`] of 120. Time: O(1).
#[derive(Debug, Default)]
pub(crate) struct Light {
    profiles: Vec<Profile>,
}

/// What was expected of a sample before it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    pub(crate) expected: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Expectation {
    /// Nothing is expected.
    pub(crate) const NONE: Self = Self { expected: f64::NAN, lower: f64::NAN, upper: f64::NAN };
}

/// What the detector says of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// What was expected before the sample, if anybody asks.
    pub(crate) expectation: Option<Expectation>,
    pub(crate) severity: Severity,
    /// The channel, and whether the severity is an onset.
    pub(crate) flags: Flags,
}

/// What is said of one sample before anybody sets what is put out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) severity: f32,
    /// What the anomaly looks like, from a severity of 3 on.
    pub(crate) kind: AnomalyKind,
}

/// The severities of one sample's three views, and what learning needs of it.
#[derive(Clone, Copy, Debug)]
struct View {
    /// With [`burst`](Self::burst).
    near: f32,
    /// What an exceedance on the other side adds.
    burst: f32,
    far: f32,
    rare: f32,
    z_near: f32,
    z_far: f32,
    severity: f32,
}

impl Light {
    /// Scores a finite value of a row that is `step` nanoseconds behind the one before, and learns it, by the hours of UTC;
    /// `step` is none for the first row of a time base.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        s: &mut SeriesState,
        time: EventTime,
        value: f64,
        step: Option<i64>,
    ) -> Verdict {
        let time = LocalTime::utc(time);
        let dt = self.advance(s, time, step);
        let expectation = s.is(WATCHED).then(|| Self::expect(s, time));
        let Said { severity, kind } = self.score(s, time, value, dt);
        let severity = Severity::from_f32(severity);
        let flags = emit(s, severity, Channel::Deviation).with_kind(kind);
        Verdict { expectation, severity, flags }
    }

    /// Goes to a sample's hour, which may be the one before where clocks are set back; `step` is none for the first
    /// sample of a time base.
    pub(crate) fn advance(
        &mut self,
        s: &mut SeriesState,
        time: LocalTime,
        step: Option<i64>,
    ) -> f32 {
        let hour = i32::try_from(time.nanos().div_euclid(SLOT_NANOS))
            .expect("64 bits of nanoseconds are 5 million hours");
        let Some(step) = step else {
            s.quiet = QUIET_SAMPLES;
            self.enter_hour(s, hour);
            return s.interval;
        };
        let dt = narrow(seconds(step));
        let gap = GAP_INTERVALS * s.interval;
        if s.samples < 2 {
            s.interval = dt;
        } else {
            if dt > gap {
                s.quiet = QUIET_SAMPLES;
            }
            let heard = larger(smaller(dt, 2.0 * s.interval), 0.5 * s.interval);
            s.interval += 0.05 * (heard - s.interval);
        }
        if hour != s.hour() {
            self.enter_hour(s, hour);
        }
        smaller(dt, 4.0 * s.interval)
    }

    /// What the detector expects of a sample at `time`, to which it was advanced.
    pub(crate) fn expect(s: &SeriesState, time: LocalTime) -> Expectation {
        if s.samples < BURN_IN {
            return Expectation { expected: f64::NAN, lower: f64::NAN, upper: f64::NAN };
        }
        // The slow expectation where it is at least as sharp: after a step it still says what was normal.
        let slow = far_is_ready(s) && s.far.reach() <= s.near.reach();
        let expected = if slow { s.slow + f64::from(season(s, time)) } else { s.quick };
        let reach = f64::from(s.near.reach());
        Expectation { expected, lower: expected - reach, upper: expected + reach }
    }

    /// What the detector expects of a sample at the time of the last row, which is `time` by the clocks of the series.
    pub(crate) fn explain(s: &SeriesState, time: LocalTime) -> Explanation {
        let Expectation { expected, lower, upper } = Self::expect(s, time);
        Explanation {
            expected,
            lower,
            upper,
            last_time: s.last_time,
            last_value: if s.samples == 0 { f64::NAN } else { s.last_value },
            samples: s.samples,
            interval_seconds: s.interval,
        }
    }

    /// Scores a finite value at `time`, to which the series was advanced by `dt` seconds, and learns it.
    pub(crate) fn score(&self, s: &mut SeriesState, time: LocalTime, x: f64, dt: f32) -> Said {
        if s.samples == 0 {
            begin(s, x);
            return Said { severity: 0.0, kind: AnomalyKind::None };
        }
        let e = narrow(x - s.quick);
        let distance = e.abs();
        let still = is_still(s, x);
        let first_move = s.moves == 0 && !still;
        let z_near = s.near.standing(distance);
        let heard = s.quick + f64::from(follow(s, e));
        let departure = narrow(heard - s.slow) - season(s, time);
        s.drift += QUICK_RATE * (departure - s.drift);
        let z_far = s.far.standing(s.drift.abs());
        count_run(s, still);

        let alone_near = s.near.severity(z_near);
        let near = with_burst(s, alone_near, e);
        let far = if far_is_ready(s) { s.far.severity(z_far) } else { 0.0 };
        let rare = if first_move { count_severity(s.samples) } else { run_severity(s) };
        let scored = s.samples >= BURN_IN && s.quiet == 0;
        let severity = larger(larger(near, far), rare);
        let severity = if scored { smaller(severity, SEVERITY_MAX) } else { 0.0 };

        let burst = near - alone_near;
        let view = View { near, burst, far, rare, z_near, z_far, severity };
        let fresh = s.heat <= 0.0;
        let alone = fresh && is_long_calm(s);
        note_episode(s, severity, dt);
        learn_near(s, distance, still, fresh, view);
        learn_far(s, departure, dt, alone, view);
        let hour_samples = s.hour_samples.saturating_add(1);
        s.hour_mean += f64::from(narrow(heard - s.hour_mean) / f32::from(hour_samples));
        s.hour_samples = hour_samples;
        s.last_value = x;
        s.samples = s.samples.saturating_add(1);
        s.quiet = s.quiet.saturating_sub(1);
        let has_kind = severity >= KIND_MIN;
        let kind = if has_kind { self.kind(s, (x, e), view) } else { AnomalyKind::None };
        Said { severity, kind }
    }

    /// What the anomaly looks like that a sample `x`, `e` off the quick level, is of.
    ///
    /// Of a run of equal values, noise that goes both ways, and what lasts: the light detector counts no sides,
    /// so that [`Shape`](crate::shape::Shape) knows better where there is room for a full one.
    #[cold]
    fn kind(&self, s: &SeriesState, (x, e): (f64, f32), view: View) -> AnomalyKind {
        let View { near, burst, far, rare, .. } = view;
        let long = f32::from(LASTING_SAMPLES) * s.interval;
        let lasts = s.heat >= long && s.heat >= LASTING_SECONDS;
        if rare > larger(near, far) && s.run > 0 {
            AnomalyKind::Flatline
        } else if near >= far && burst > 0.0 {
            AnomalyKind::VarianceChange
        } else if near >= far || !lasts {
            let side = if near >= far { e } else { s.drift };
            beside(side.total_cmp(&0.0).is_lt())
        } else {
            let slack = 2.0 * s.near.scale;
            let departure = narrow(x - s.slow);
            let is_usual = self.profile(s).is_some_and(|p| p.another_has(departure, slack));
            if is_usual { AnomalyKind::SeasonalBreak } else { AnomalyKind::LevelShift }
        }
    }

    /// Ends the hour: its mean goes to the profile, which gives the departures about the new one.
    fn enter_hour(&mut self, s: &mut SeriesState, hour: i32) {
        let slot = slot_of(s.hour());
        let whole = s.hour_samples > 0 && !s.is(FIRST_HOUR) && s.interval < PROFILE_INTERVAL_MAX;
        if whole && s.profile == NONE {
            self.set_profile(s, Profile::new());
        }
        s.marks &= !FIRST_HOUR;
        if let Some(profile) = self.profiles.get_mut(s.profile as usize) {
            if whole {
                let frozen = s.heat > 0.0 && !is_accepted(s);
                if let Some(level) = profile.fold(slot, s.hour_mean, s.slow, frozen) {
                    // From here the drift is about another expectation.
                    s.marks |= SEASONAL;
                    s.slow = level;
                    s.drift = 0.0;
                    s.far = Tail::NEW;
                    s.far_samples = 0;
                }
            }
            if profile.is_ready() {
                s.season = profile.about(slot_of(hour));
            }
        }
        s.set_hour(hour);
        s.hour_mean = s.quick;
        s.hour_samples = 0;
    }

    /// The profile of a series that has one.
    pub(crate) fn profile(&self, s: &SeriesState) -> Option<&Profile> {
        self.profiles.get(s.profile as usize)
    }

    /// The state of a series that begins behind the rows so far; it keeps its place among the profiles.
    pub(crate) fn begin_anew(&mut self, s: &mut SeriesState) {
        let profile = s.profile;
        s.begin_anew();
        if let Some(begun) = self.profiles.get_mut(profile as usize) {
            *begun = Profile::new();
            s.profile = profile;
        }
    }

    /// Forgets the profiles that no state has any more.
    pub(crate) fn retain_profiles(&mut self, states: &mut [SeriesState]) {
        let mut old = std::mem::take(&mut self.profiles);
        for state in states {
            if let Some(profile) = old.get_mut(state.profile as usize) {
                let profile = std::mem::replace(profile, Profile::new());
                self.set_profile(state, profile);
            }
        }
    }

    /// Gives a series a profile in place of what it has.
    pub(crate) fn replace_profile(&mut self, s: &mut SeriesState, profile: Option<Profile>) {
        match (profile, self.profiles.get_mut(s.profile as usize)) {
            (Some(profile), Some(place)) => *place = profile,
            (Some(profile), None) => self.set_profile(s, profile),
            (None, _) => s.profile = NONE,
        }
    }

    /// Gives a series that has none a profile.
    pub(crate) fn set_profile(&mut self, s: &mut SeriesState, profile: Profile) {
        s.profile = u32::try_from(self.profiles.len()).expect("fewer profiles than series");
        self.profiles.push(profile);
    }
}

/// The flags of a severity: its channel, and whether it is a de-duplicated onset.
pub(crate) fn emit(s: &mut SeriesState, severity: Severity, channel: Channel) -> Flags {
    let mut onset = Onset { hold: Severity::from_steps(s.hold), age: s.hold_age };
    let begins = onset.observe(severity, true);
    (s.hold, s.hold_age) = (onset.hold.steps(), onset.age);
    match (severity == Severity::ZERO, begins) {
        (true, _) => Flags::NONE,
        (false, false) => Flags::NONE.with_channel(channel),
        (false, true) => Flags::ONSET.with_channel(channel),
    }
}

fn begin(s: &mut SeriesState, x: f64) {
    s.last_value = x;
    s.quick = x;
    s.slow = x;
    s.hour_mean = x;
    s.hour_samples = 1;
    s.samples = 1;
    s.run_longest = LONGEST_START;
    s.marks |= FIRST_HOUR;
    s.quiet = 0;
    s.calm = u8::MAX;
}

/// Moves the quick level; returns the part of the distance that it believes.
fn follow(s: &mut SeriesState, e: f32) -> f32 {
    let limit = FOLLOW_CLIP * s.near.scale;
    let free = s.samples < SETTLED_SAMPLES || s.quiet > 0 || s.near.scale <= 0.0;
    let heard = if free || e.abs() <= limit {
        s.outliers = 0;
        e
    } else {
        let same_side = (s.outliers >= 0) == (e > 0.0) && s.outliers != 0;
        let before = if same_side { s.outliers } else { 0 };
        s.outliers = if e > 0.0 { before.saturating_add(1) } else { before.saturating_sub(1) };
        // Twice as far with each further one: a lasting step of any size is followed within few samples.
        let doublings = s.outliers.unsigned_abs().saturating_sub(2);
        let wide = if doublings > 60 { f32::MAX } else { power_of_two(doublings) * limit };
        e.clamp(-wide, wide)
    };
    s.quick += f64::from(QUICK_RATE * heard);
    heard
}

/// Adds what an exceedance shortly before, on the other side, says.
///
/// Noise that grew goes both ways; exceedances on one side are one event seen several times.
#[expect(clippy::cast_possible_truncation, reason = "between -4 and 4 in sixteenths")]
#[inline]
fn with_burst(s: &mut SeriesState, near: f32, e: f32) -> f32 {
    if s.burst == 0 && near <= 0.0 {
        return near;
    }
    let before = f32::from(s.burst) / BURST_STEPS;
    let other_side = (before > 0.0) != (e > 0.0);
    let severity = if near > 0.0 && other_side { near + before.abs() } else { near };
    let heard = smaller(BURST_FADE * larger(before.abs(), severity), BURST_MAX);
    let side = if near > 0.0 { e } else { before };
    s.burst = (heard.copysign(side) * BURST_STEPS) as i8;
    severity
}

fn note_episode(s: &mut SeriesState, severity: f32, dt: f32) {
    if severity >= HOT {
        s.heat += dt;
        s.calm = 0;
    } else {
        s.calm = s.calm.saturating_add(1);
        if s.calm >= CALM_SAMPLES {
            s.heat = 0.0;
        }
    }
}

fn is_long_calm(s: &SeriesState) -> bool {
    s.calm == u8::MAX || f32::from(s.calm) * s.interval >= FAR_TAIL_SECONDS
}

fn is_accepted(s: &SeriesState) -> bool {
    s.heat > larger(ACCEPT_SECONDS, ACCEPT_SAMPLES * s.interval)
}

/// Whether a sample that scored `severity` may teach a tail: healthy ones and the first of an episode.
fn teaches(severity: f32, fresh: bool) -> bool {
    severity < HOT || fresh
}

fn learn_near(s: &mut SeriesState, distance: f32, still: bool, fresh: bool, view: View) {
    if s.quiet > 0 {
        return;
    }
    let rate = recency(s.samples, 1.0 / 256.0, NEAR_SAMPLES);
    let rate = if still { rate * STILL_RATE } else { rate };
    if !still || s.near.scale > 0.0 {
        s.near.learn_scale(distance, rate, s.samples >= SETTLED_SAMPLES);
    }
    if s.samples >= SETTLED_SAMPLES && !still && teaches(view.near, fresh) {
        s.near.learn_tail(view.z_near, 1.0);
    }
}

fn learn_far(s: &mut SeriesState, departure: f32, dt: f32, alone: bool, view: View) {
    let steady = smaller(dt * (1.0 / SLOW_SECONDS), SLOW_RATE_MAX);
    let rate = if view.severity < HOT && s.heat <= 0.0 {
        if s.is(SEASONAL) { steady } else { larger(steady, recency(s.samples, 0.0, u32::MAX)) }
    } else if is_accepted(s) {
        ACCEPTED_RATE
    } else {
        steady * FROZEN
    };
    s.slow += f64::from(rate * departure);
    let count = u32::from(s.far_samples);
    let rate = larger(
        smaller(dt * (1.0 / FAR_SCALE_SECONDS), FAR_SCALE_RATE_MAX),
        recency(count, 0.0, 4_096),
    );
    s.far.learn_scale(s.drift.abs(), rate, count >= NEAR_SAMPLES);
    if count >= SETTLED_SAMPLES && teaches(view.far, alone) {
        // A drift's samples resemble each other: an hour of them says as much as one. So does an anomaly
        // that comes after an hour of calm.
        let share = if view.far < HOT { smaller(dt * (1.0 / FAR_TAIL_SECONDS), 1.0) } else { 1.0 };
        s.far.learn_tail(view.z_far, share);
    }
    s.far_samples = s.far_samples.saturating_add(1);
}

/// `1 / (count + 1)` for the first `until` samples, `steady` from then on.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate need not be exact, only the same everywhere"
)]
fn recency(count: u32, steady: f32, until: u32) -> f32 {
    if count < until { 1.0 / (count as f32 + 1.0) } else { steady }
}

fn far_is_ready(s: &SeriesState) -> bool {
    s.far_samples == u16::MAX
        || (u32::from(s.far_samples) >= BURN_IN
            && f32::from(s.far_samples) * s.interval >= FAR_SECONDS_MIN)
}

/// The profile at `time`, on the line between the centres of its hour and the nearer neighbour.
fn season(s: &SeriesState, time: LocalTime) -> f32 {
    if !s.is(SEASONAL) {
        return 0.0;
    }
    let within = narrow(nanos_f64(time.nanos().rem_euclid(SLOT_NANOS)) * SLOT_SHARE);
    let here = s.season.here;
    if within < 0.5 {
        here + (s.season.before - here) * (0.5 - within)
    } else {
        here + (s.season.after - here) * (within - 0.5)
    }
}

fn slot_of(hour: i32) -> usize {
    usize::try_from(hour.rem_euclid(24)).expect("a remainder of 24") % SLOTS
}

#[cfg(test)]
#[path = "light_tests.rs"]
mod tests;
