//! Novelty and deviation told again from the whole history, slowly: folds, sorts and scans instead of state.
//!
//! The formulas are those of the detectors' documents and the order of the float operations is theirs, so
//! that the bits are too; what is kept, and how it is looked up, is not.

use tidewatch_metrics::EventTime;

use crate::Model;

#[path = "counter_oracle.rs"]
mod counters;
#[path = "seen_oracle.rs"]
mod seen;

use seen::Seen;

const HOUR: i64 = 3_600_000_000_000;

/// All distances of each generation, the greatest first, and the greatest one that waits for its step to end.
struct Tail {
    generations: Vec<Vec<f32>>,
    waiting: f32,
    /// The mean excess is at least this share of the least of the greatest, and at least so much.
    share: f32,
    least: f32,
    /// The first days are forgotten once they are outlived.
    renews: bool,
}

/// What a sample's time says.
#[derive(Clone, Copy)]
struct Beat {
    seconds: f32,
    step: bool,
    stretch: bool,
    resumes: bool,
    quiet: bool,
}

/// The times of a series, by the gaps between them.
#[derive(Default)]
struct Times {
    last: Option<EventTime>,
    gaps: u8,
    interval: f32,
    /// Seconds since the last step, and since the last stretch.
    step: f32,
    stretch: f32,
    seen: f32,
    /// Samples since the last pause, and what is left of its length.
    resumed: Option<usize>,
    left: f32,
}

/// All that was ever told of a series to one model.
pub(crate) struct Oracle {
    model: Model,
    times: Times,
    counted: counters::Counted,
    first: Option<f64>,
    /// Samples that taught the baseline.
    learnt: usize,
    mean: f64,
    /// Departures by hour of the day, and by hour of the week.
    daily: [Vec<f32>; 24],
    weekly: Vec<Vec<f32>>,
    /// Absolute residuals by hour, with the typical spread when they came.
    sizes: [Vec<(f32, f32)>; 24],
    typical: f32,
    hour: usize,
    all_visited: bool,
    residuals: Vec<f32>,
    views: [Seen; 3],
    quick: f64,
    steady: f64,
    errors: [f32; 4],
    error_mean: f64,
    error_variance: f64,
    misses: Tail,
    sums: Tail,
    age: f32,
    /// Of the episode: severity, residual and seconds of each sample, and the views of those that were met.
    episode: Vec<(f32, f32, f32)>,
    met: Vec<[f32; 3]>,
    /// Steps since the last new normal.
    settled: usize,
    /// Seconds until an episode may begin.
    rest: f32,
    /// Episodes that ended, and those that were the new normal.
    pub(crate) ended: usize,
    pub(crate) shifted: usize,
}

/// What the oracle says of one sample.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) severity: f32,
    pub(crate) forecast: f64,
}

/// What a sample is to the baseline.
#[derive(Clone, Copy)]
struct Moment {
    x: f64,
    slot: usize,
    week_slot: usize,
    season: f32,
    scale: f32,
    next_mean: f64,
    rate: f64,
    departure: f32,
    residual: f32,
}

/// What becomes of a sample.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// Learnt; its distances too where so.
    Learnt { distances: bool },
    /// The first one of an episode.
    Opens,
    /// In an episode, hot or not.
    Kept { hot: bool },
    /// The last one of an episode, which is the new normal or not.
    Ends { shifts: bool, known: bool },
}

fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

fn hold(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "held within the range of f32")]
    let narrow = value.clamp(-1e30, 1e30) as f32;
    narrow
}

/// The nearest number with 8 bits of fraction; the one away from 0 of two that are equally near.
fn round(value: f32) -> f32 {
    let toward_zero = f32::from_bits(value.to_bits() & 0xffff_0000);
    let away = f32::from_bits((value.to_bits() & 0xffff_0000) + 0x1_0000);
    let (left, right) = (f64::from(value) - f64::from(toward_zero), f64::from(away));
    if left.abs() < (right - f64::from(value)).abs() { toward_zero } else { away }
}

fn profile(departures: &[f32]) -> f32 {
    let mut profile = 0.0;
    for (count, departure) in (1_u16..=u16::MAX).chain(std::iter::repeat(255)).zip(departures) {
        let rate = greater(1.0 / f32::from(count), 0.1);
        profile += rate * (departure - profile);
    }
    profile
}

fn spread(sizes: &[(f32, f32)]) -> f32 {
    let mut spread = 0.0;
    for (count, (size, typical)) in (1_u16..=254).chain(std::iter::repeat(255)).zip(sizes) {
        let clip = 8.0 * greater(spread, 0.1 * typical);
        let heard = if count > 20 && *size > clip { clip } else { *size };
        spread += greater(1.0 / f32::from(count), 0.01) * (heard - spread);
    }
    spread
}

/// The severity of `d` among `n` distances, of which the greatest are given, the greatest first.
fn beyond(d: f32, greatest: &[f32], n: usize, (share, least): (f32, f32)) -> f32 {
    let positive = greatest.iter().filter(|d| **d > 0.0).count();
    let k = 32.min(n / 4).min(positive);
    if n < 50 || d <= 0.0 {
        return 0.0;
    }
    if k < 2 {
        return libm::log10f((n as f32 + 1.0) / (k as f32 + 1.0));
    }
    let u = greatest[k - 1];
    let mean = greatest[..k].iter().fold(0.0, |sum, d| sum + d) / k as f32;
    let m = greater(greater(mean - u, share * u), least);
    if d <= u {
        return 0.0;
    }
    let s = ((d - u) / m + libm::logf(n as f32 / k as f32)) * std::f32::consts::LOG10_E;
    if s < 100.0 { s } else { 100.0 }
}

/// The severity of the last of all distances, each a step, by sorting those of this and the previous generation.
pub(crate) fn severity(distances: &[f32]) -> f32 {
    let (last, before) = distances.split_last().expect("one was just put there");
    let generation = before.len() / 8_000;
    let mut known: Vec<f32> =
        before[8_000 * generation.saturating_sub(1)..].iter().map(|d| round(*d)).collect();
    known.sort_by(|a, b| b.total_cmp(a));
    beyond(round(*last), &known, known.len(), (0.05, 0.0))
}

impl Tail {
    fn new(share: f32) -> Self {
        Self { generations: Vec::new(), waiting: 0.0, share, least: 0.0, renews: false }
    }

    fn of_sums() -> Self {
        Self { least: 0.9, renews: true, ..Self::new(0.0) }
    }

    fn severity(&self, distance: f32) -> f32 {
        let d = round(distance);
        let (greatest, n) = self.greatest();
        beyond(d, &greatest, n, (self.share, self.least))
    }

    /// The greatest distances that are known, the greatest first, of how many.
    fn greatest(&self) -> (Vec<f32>, usize) {
        let known = &self.generations[self.generations.len().saturating_sub(2)..];
        let mut greatest: Vec<f32> =
            known.iter().flat_map(|each| each.iter().take(32)).copied().collect();
        greatest.sort_by(|a, b| b.total_cmp(a));
        (greatest, known.iter().map(Vec::len).sum())
    }

    /// Forgets all but the current generation where that has hardly any of the 32 greatest.
    fn renew(&mut self) {
        let (greatest, n) = self.greatest();
        let current = self.generations.last().map_or(0, Vec::len);
        if current < 2_000 || n == current || greatest.get(31).is_none_or(|least| *least <= 0.0) {
            return;
        }
        let here = self.generations[self.generations.len() - 1].iter().take(32);
        let here = here.filter(|d| **d >= greatest[31]).count();
        if (here as f64) < 32.0 * current as f64 / n as f64 / 4.0 {
            self.generations.drain(..self.generations.len() - 1);
        }
    }

    fn learn(&mut self, distance: f32, ends: bool) {
        self.waiting = greater(self.waiting, round(distance));
        if !ends {
            return;
        }
        let is_first = self.renews && self.generations.len() < 2;
        let full = if is_first { 4_000 } else { 8_000 };
        if self.generations.last().is_none_or(|last| last.len() == full) {
            self.generations.push(Vec::new());
        }
        let d = std::mem::take(&mut self.waiting);
        let last = self.generations.last_mut().expect("just made sure of it");
        let place = last.partition_point(|other| *other >= d);
        last.insert(place, d);
        if self.renews {
            self.renew();
        }
    }
}

impl Times {
    fn observe(&mut self, time: EventTime) -> Beat {
        let Some(last) = self.last.replace(time) else {
            return Beat { seconds: 0.0, step: true, stretch: true, resumes: false, quiet: false };
        };
        let nanos = time.nanos().saturating_sub(last.nanos());
        let gap = -greater(-hold(nanos as f64 * 1e-9), -1e9);
        let pause = self.gaps > 0 && gap > 8.0 * self.interval;
        if nanos > 0 {
            let n = f32::from(self.gaps) + 1.0;
            let limit = greater(1.0 / n, 0.05) * self.interval;
            let moved = self.interval + (gap - self.interval).clamp(-limit, limit);
            self.interval = if self.gaps == 0 { gap } else { moved };
            self.gaps = self.gaps.saturating_add(1);
        }
        let resumes = nanos <= 0 || pause;
        self.resumed = if resumes { Some(0) } else { self.resumed.map(|since| since + 1) };
        self.left = if resumes { gap.clamp(0.0, 480.0) } else { greater(self.left - gap, 0.0) };
        let waits = self.interval < 30.0 && self.left > 0.0;
        let quiet = waits || self.resumed.is_some_and(|since| since < 8);
        let seconds = if resumes { 0.0 } else { -greater(-gap, -4.0 * self.interval) };
        let interval = self.interval;
        let ends = |length: f32, filled: &mut f32| {
            *filled += seconds;
            let ends = interval >= 0.5 * length || *filled + 0.5 * interval >= length;
            *filled = if ends { 0.0 } else { *filled };
            ends
        };
        let length = self.seen * (1.0 / 80.0);
        let step = ends(-greater(-length, -60.0), &mut self.step);
        let stretch = ends(300.0, &mut self.stretch);
        self.seen += if length < 60.0 { seconds } else { 0.0 };
        Beat { seconds, step, stretch, resumes, quiet }
    }
}

impl Oracle {
    pub(crate) fn new(model: Model) -> Self {
        Self {
            model,
            times: Times::default(),
            counted: counters::Counted::default(),
            first: None,
            learnt: 0,
            mean: 0.0,
            daily: Default::default(),
            weekly: vec![Vec::new(); 168],
            sizes: Default::default(),
            typical: 0.0,
            hour: 0,
            all_visited: false,
            residuals: Vec::new(),
            views: [false, true, true].map(Seen::new),
            quick: 0.0,
            steady: 0.0,
            errors: [0.0; 4],
            error_mean: 0.0,
            error_variance: 0.0,
            misses: Tail::new(0.05),
            sums: Tail::of_sums(),
            age: 0.0,
            episode: Vec::new(),
            met: Vec::new(),
            settled: 40,
            rest: 0.0,
            ended: 0,
            shifted: 0,
        }
    }

    fn observe_number(&mut self, time: EventTime, value: f64, beat: Beat) -> Told {
        let first = *self.first.get_or_insert(value);
        let moment = self.moment(time, (value - first).clamp(-1e30, 1e30));
        let daily = self.mean + f64::from(moment.season);
        if beat.resumes {
            self.quick = daily;
        }
        let residuals = &self.residuals[self.residuals.len().saturating_sub(5)..];
        let sum = residuals.iter().fold(0.0, |sum, r| sum + r) + moment.residual;
        let smooth = sum / (residuals.len() + 1) as f32;
        let ys = [hold(moment.x), moment.residual * moment.scale, smooth * moment.scale];
        let distances = [0, 1, 2].map(|view| self.views[view].distance(ys[view]));
        let weekly = self.weekly[moment.week_slot].split_first().map_or(daily, |(first, later)| {
            let fold = |w: f32, dev: &f32| round(w + 0.3 * (dev - w));
            self.mean + f64::from(later.iter().fold(round(*first), fold))
        });
        let forecasts = [self.quick, self.steady, daily, weekly];
        let forecast = self.forecast(&forecasts);
        let e = (moment.x - forecast) * f64::from(moment.scale);

        let sum = self.sum(distances, e);
        self.age += beat.seconds;
        let is_scored = !beat.quiet && self.settled >= 40;
        let severity = if is_scored { self.promise(sum) } else { 0.0 };
        let fate = self.fate(severity, moment.residual, &beat);
        self.learn_novelty(fate, &beat, ys, distances);
        self.learn_deviation(fate, &beat, &moment, (&forecasts, e));
        self.learn_rest(fate, &beat, &moment, sum);
        Told { severity, forecast: first + forecast }
    }

    fn moment(&mut self, time: EventTime, x: f64) -> Moment {
        let slot = usize::try_from(time.nanos().div_euclid(HOUR).rem_euclid(24)).unwrap();
        let week_slot = usize::try_from(time.nanos().div_euclid(HOUR).rem_euclid(168)).unwrap();
        self.change_hour(slot);
        let offset = hold(time.nanos().rem_euclid(HOUR) as f64 / HOUR as f64) - 0.5;
        let neighbour = if offset < 0.0 { (slot + 23) % 24 } else { (slot + 1) % 24 };
        let line = |here: f32, there: f32| here + (there - here) * offset.abs();
        let mut season = profile(&self.daily[slot]);
        if self.all_visited {
            season = line(season, profile(&self.daily[neighbour]));
        }
        let mut scale = 1.0;
        if self.daily[slot].len() > 10 && self.typical >= 1e-30 {
            let mut here = spread(&self.sizes[slot]);
            if self.all_visited {
                here = line(here, spread(&self.sizes[neighbour]));
            }
            scale = self.typical / greater(here, 0.3 * self.typical);
        }
        let rate = 1.0 / (self.learnt as f64 + 1.0);
        let rate = if rate > 0.001 { rate } else { 0.001 };
        let next_mean = self.mean + rate * (x - self.mean);
        let departure = hold(x - next_mean);
        let residual = if self.daily[slot].is_empty() { 0.0 } else { departure - season };
        Moment { x, slot, week_slot, season, scale, next_mean, rate, departure, residual }
    }

    fn change_hour(&mut self, slot: usize) {
        if slot == self.hour {
            return;
        }
        self.hour = slot;
        self.all_visited = self.daily.iter().all(|departures| !departures.is_empty());
        let used = (0..24).filter(|slot| self.daily[*slot].len() > 10);
        let spreads: Vec<f32> = used.map(|slot| spread(&self.sizes[slot])).collect();
        let sum = spreads.iter().fold(0.0, |sum, spread| sum + spread);
        self.typical = if spreads.is_empty() { 0.0 } else { sum / spreads.len() as f32 };
    }

    fn forecast(&self, forecasts: &[f64; 4]) -> f64 {
        let errors = self.errors.map(|error| greater(error, 1e-30));
        let least = errors.iter().fold(f32::INFINITY, |least, error| -greater(-least, -error));
        let weights = errors.map(|error| {
            let ratio = least / error;
            f64::from(ratio * ratio * ratio * ratio)
        });
        let weighted = weights.iter().zip(forecasts).fold(0.0, |sum, (w, f)| sum + w * f);
        weighted / weights.iter().fold(0.0, |sum, w| sum + w)
    }

    /// The model's own severity.
    fn sum(&self, distances: [f32; 3], e: f64) -> f32 {
        if self.learnt < 80 {
            return 0.0;
        }
        let views = self.views.iter().zip(distances);
        let news = views.fold(0.0, |sum, (view, d)| sum + view.tail.severity(d));
        let news = if news <= 5.0 { news } else { 5.0 + (news - 5.0) * (1.0 / 3.0) };
        let z = (e - self.error_mean).abs() / self.error_variance.sqrt();
        let z = if self.error_variance <= 0.0 { 0.0 } else { z.clamp(0.0, 30.0) };
        let far = self.misses.severity(hold(e).abs()) + 0.2 * hold(z);
        match self.model {
            Model::Novelty => news,
            Model::Deviation => far,
            _ => 0.8 * news + 0.3 * far,
        }
    }

    /// What the series bears out of the model's severity.
    fn promise(&self, sum: f32) -> f32 {
        let own = self.sums.severity(sum) + 0.3;
        let mut promise = sum;
        if sum > 5.9 {
            promise = greater(5.9, -greater(-sum, -own));
        }
        let most = 3.0 + libm::log10f(greater(self.age / 300.0, 1.0));
        if promise > most {
            let further = most * (1.0 + 0.4 * libm::logf(promise / most));
            promise = if self.age < 300_000.0 { most } else { further };
        }
        if promise < 100.0 { promise } else { 100.0 }
    }

    fn fate(&mut self, severity: f32, residual: f32, beat: &Beat) -> Fate {
        if self.episode.is_empty() {
            let distances = !beat.quiet && self.settled >= 20;
            let rests = self.rest > 0.0;
            self.rest = greater(self.rest - beat.seconds, 0.0);
            if self.settled < 40 {
                self.settled += usize::from(beat.step);
            } else if severity >= 6.0 && !rests {
                self.episode.push((severity, residual, 0.0));
                return Fate::Opens;
            }
            return Fate::Learnt { distances };
        }
        self.episode.push((severity, residual, beat.seconds));
        let seconds = self.episode.iter().fold(0.0, |sum, (_, _, seconds)| sum + seconds);
        let (_, calm) = self.departure_and_calm();
        if calm >= 8 {
            self.settled = if severity < 6.0 { 40 } else { 0 };
            return Fate::Ends { shifts: false, known: self.episode.len() <= 16 };
        }
        if seconds > 28_800.0 && self.episode.len() > 24 {
            return Fate::Ends { shifts: true, known: true };
        }
        Fate::Kept { hot: calm == 0 }
    }

    /// The episode's mean departure, without what is back, and how many samples in a row are calm or back.
    fn departure_and_calm(&self) -> (f32, usize) {
        let (_, mut mean, _) = self.episode[0];
        let mut calm = 0;
        for (severity, residual, _) in &self.episode[1..] {
            let side = if mean < 0.0 { -residual } else { *residual };
            let back = side < 0.5 * mean.abs();
            mean += if back { 0.0 } else { 0.125 * (residual - mean) };
            calm = if back || *severity < 6.0 { calm + 1 } else { 0 };
        }
        (mean, calm)
    }

    fn learn_novelty(&mut self, fate: Fate, beat: &Beat, ys: [f32; 3], distances: [f32; 3]) {
        let (learns, ends) = (self.learnt >= 20, matches!(fate, Fate::Learnt { .. }) && beat.step);
        if matches!(fate, Fate::Opens | Fate::Kept { hot: true }) {
            self.met.push(ys);
        }
        let over = matches!(fate, Fate::Ends { known: true, .. });
        let ended = matches!(fate, Fate::Ends { .. });
        let met = if ended { std::mem::take(&mut self.met) } else { Vec::new() };
        for (index, view) in self.views.iter_mut().enumerate() {
            let teaches = matches!(fate, Fate::Opens | Fate::Learnt { distances: true });
            if teaches && self.learnt >= 80 {
                view.tail.learn(distances[index], ends);
            }
            if matches!(fate, Fate::Learnt { .. }) && learns {
                view.learn(ys[index], ends);
            }
            let of_view = || met.iter().map(|ys| ys[index]);
            if over {
                view.learn(of_view().fold(f32::INFINITY, |a, b| -greater(-a, -b)), false);
                view.learn(of_view().fold(f32::NEG_INFINITY, greater), false);
            }
        }
    }

    fn learn_deviation(
        &mut self,
        fate: Fate,
        beat: &Beat,
        moment: &Moment,
        (forecasts, e): (&[f64; 4], f64),
    ) {
        let is_learnt = matches!(fate, Fate::Learnt { .. });
        if is_learnt {
            self.quick += 0.5 * (moment.x - self.quick);
        }
        if is_learnt && beat.step {
            self.steady += 0.01 * (moment.x - self.steady);
            self.weekly[moment.week_slot].push(moment.departure);
        }
        if !matches!(fate, Fate::Opens | Fate::Learnt { distances: true }) || self.learnt == 0 {
            return;
        }
        if self.learnt >= 80 {
            self.misses.learn(hold(e).abs(), is_learnt && beat.step);
        }
        if !is_learnt || !beat.step {
            return;
        }
        let rate = greater(1.0 / self.learnt as f32, 0.005);
        for (error, forecast) in self.errors.iter_mut().zip(forecasts) {
            *error += rate * (hold(moment.x - forecast).abs() - *error);
        }
        let rate = 1.0 / self.learnt as f64;
        let rate = if rate > 0.002 { rate } else { 0.002 };
        let off = e - self.error_mean;
        self.error_mean += rate * off;
        self.error_variance = (1.0 - rate) * (self.error_variance + rate * off * off);
    }

    fn learn_rest(&mut self, fate: Fate, beat: &Beat, moment: &Moment, sum: f32) {
        let is_learnt = matches!(fate, Fate::Learnt { .. });
        if matches!(fate, Fate::Opens | Fate::Learnt { distances: true }) && self.learnt >= 80 {
            self.sums.learn(-greater(-sum, -10.0), is_learnt && beat.stretch);
        }
        if let Fate::Ends { shifts, known } = fate {
            if !known {
                self.sums.waiting = 0.0;
                self.misses.waiting = 0.0;
                self.views.iter_mut().for_each(|view| view.tail.waiting = 0.0);
            }
            let (departure, _) = self.departure_and_calm();
            self.episode.clear();
            self.ended += 1;
            self.shifted += usize::from(shifts);
            if shifts {
                self.quick = self.mean + f64::from(moment.season + departure);
                self.steady = self.quick;
                self.mean += f64::from(departure);
                self.settled = 0;
                self.rest = 86_400.0;
            }
        }
        if !is_learnt && beat.step && !matches!(fate, Fate::Ends { shifts: true, .. }) {
            self.mean += moment.rate * f64::from(moment.season);
        }
        if !is_learnt || !beat.step {
            return;
        }
        self.residuals.push(moment.residual);
        if !self.daily[moment.slot].is_empty() {
            self.sizes[moment.slot].push((moment.residual.abs(), self.typical));
        }
        self.daily[moment.slot].push(moment.departure);
        self.mean = moment.next_mean;
        self.learnt += 1;
    }
}
