//! Novelty and deviation told again from the whole history, slowly: folds, sorts and scans instead of state.
//!
//! The formulas are those of the detectors' documents and the order of the float operations is theirs, so
//! that the bits are too; what is kept, and how it is looked up, is not.

use tidewatch_metrics::EventTime;

const HOUR: i64 = 3_600_000_000_000;

/// A view's values of two generations, not in order.
#[derive(Default)]
struct Seen {
    current: Vec<f32>,
    earlier: Vec<f32>,
    eps: f32,
    count: usize,
    /// All distances from the first scored one on.
    distances: Vec<f32>,
}

/// All that was ever told of a series.
#[derive(Default)]
pub(crate) struct Oracle {
    times: Vec<EventTime>,
    values: Vec<f64>,
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
    /// All distances above and below from the first scored one on.
    above: Vec<f32>,
    below: Vec<f32>,
}

/// What the oracle says of one sample.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) novelty: f32,
    pub(crate) deviation: f32,
    pub(crate) forecast: f64,
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

/// The severity of the last of all distances, by sorting those of this and the previous generation.
pub(crate) fn severity(distances: &[f32]) -> f32 {
    let (last, before) = distances.split_last().expect("one was just put there");
    let d = round(*last);
    let generation = before.len() / 8_000;
    let mut known: Vec<f32> =
        before[8_000 * generation.saturating_sub(1)..].iter().map(|d| round(*d)).collect();
    known.sort_by(|a, b| b.total_cmp(a));
    let n = known.len();
    let positive = known.iter().filter(|d| **d > 0.0).count();
    let k = 32.min(n / 4).min(positive);
    if n < 50 || d <= 0.0 {
        return 0.0;
    }
    if k < 2 {
        return libm::log10f((n as f32 + 1.0) / (k as f32 + 1.0));
    }
    let u = known[k - 1];
    let mean = known[..k].iter().fold(0.0, |sum, d| sum + d) / k as f32;
    let m = greater(mean - u, 0.05 * u);
    if d <= u {
        return 0.0;
    }
    let s = ((d - u) / m + libm::logf(n as f32 / k as f32)) * std::f32::consts::LOG10_E;
    if s < 100.0 { s } else { 100.0 }
}

impl Seen {
    fn distance(&mut self, y: f32) -> f32 {
        let nearest = |values: &[f32]| {
            values.iter().fold(f32::INFINITY, |least, v| -greater(-least, -(v - y).abs()))
        };
        let (apart, before) = (nearest(&self.current), nearest(&self.earlier));
        let d = -greater(-apart, -before);
        if apart > self.eps || self.current.is_empty() {
            self.current.push(y);
        }
        if self.current.len() > 64 {
            (self.current, self.eps) = thin(std::mem::take(&mut self.current), self.eps);
        }
        self.count += 1;
        if self.count.is_multiple_of(8_000) {
            let mut eps = self.eps;
            self.earlier = std::mem::take(&mut self.current);
            while self.earlier.len() > 40 {
                (self.earlier, eps) = thin(std::mem::take(&mut self.earlier), eps);
            }
            self.eps *= 0.5;
        }
        if d.is_finite() { d } else { 0.0 }
    }
}

fn thin(mut values: Vec<f32>, eps: f32) -> (Vec<f32>, f32) {
    values.sort_by(f32::total_cmp);
    let gaps = values.windows(2).map(|pair| pair[1] - pair[0]);
    let eps = greater(1.2 * eps, gaps.fold(f32::INFINITY, |least, gap| -greater(-least, -gap)));
    let mut stay: Vec<f32> = Vec::new();
    for v in &values {
        if stay.last().is_none_or(|last| v - last > eps) {
            stay.push(*v);
        }
    }
    let greatest = values[values.len() - 1];
    if stay.last() != Some(&greatest) {
        stay.pop();
        stay.push(greatest);
    }
    (stay, eps)
}

impl Oracle {
    /// Takes the next sample; severities are told where `is_asked`, and are 0 elsewhere.
    pub(crate) fn observe(&mut self, time: EventTime, value: f64, is_asked: bool) -> Told {
        self.weekly.resize(168, Vec::new());
        self.times.push(time);
        self.values.push(value);
        let t = self.values.len() - 1;
        let x = (value - self.values[0]).clamp(-1e30, 1e30);
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
        let before = self.mean;
        let rate = 1.0 / (t as f64 + 1.0);
        self.mean += if rate > 0.001 { rate } else { 0.001 } * (x - self.mean);
        let departure = hold(x - self.mean);
        let residual = if self.daily[slot].is_empty() { 0.0 } else { departure - season };
        let weekly = self.weekly[week_slot].split_first().map(|(first, later)| {
            later.iter().fold(round(*first), |w, dev| round(w + 0.3 * (dev - w)))
        });
        if !self.daily[slot].is_empty() {
            self.sizes[slot].push((residual.abs(), self.typical));
        }
        self.daily[slot].push(departure);
        self.weekly[week_slot].push(departure);
        self.residuals.push(residual);

        let novelty = self.novelty(t, [hold(x), scale], is_asked);
        let daily = before + f64::from(season);
        let weekly = weekly.map_or(daily, |w| before + f64::from(w));
        let (deviation, forecast) = self.deviation(x, [daily, weekly], scale, is_asked);
        Told { novelty, deviation, forecast: self.values[0] + forecast }
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

    fn novelty(&mut self, t: usize, [x, scale]: [f32; 2], is_asked: bool) -> f32 {
        if t < 20 {
            return 0.0;
        }
        let last = &self.residuals[t.saturating_sub(5)..];
        let mean = last.iter().fold(0.0, |sum, r| sum + r) / last.len() as f32;
        let mut sum = 0.0;
        for (view, y) in self.views.iter_mut().zip([x, self.residuals[t] * scale, mean * scale]) {
            let d = view.distance(y);
            if t >= 80 {
                view.distances.push(d);
                sum += if is_asked { severity(&view.distances) } else { 0.0 };
            }
        }
        if sum <= 5.0 { sum } else { 5.0 + (sum - 5.0) * (1.0 / 3.0) }
    }

    fn deviation(&mut self, x: f64, slow: [f64; 2], scale: f32, is_asked: bool) -> (f32, f64) {
        let t = self.values.len() - 1;
        let forecasts = [self.quick, self.steady, slow[0], slow[1]];
        let errors = self.errors.map(|error| greater(error, 1e-30));
        let least = errors.iter().fold(f32::INFINITY, |least, error| -greater(-least, -error));
        let weights = errors.map(|error| {
            let ratio = least / error;
            f64::from(ratio * ratio * ratio * ratio)
        });
        let weighted = weights.iter().zip(&forecasts).fold(0.0, |sum, (w, f)| sum + w * f);
        let forecast = weighted / weights.iter().fold(0.0, |sum, w| sum + w);
        self.quick += 0.5 * (x - self.quick);
        self.steady += 0.01 * (x - self.steady);
        if t == 0 {
            return (0.0, forecast);
        }
        let rate = greater(1.0 / t as f32, 0.005);
        for (error, forecast) in self.errors.iter_mut().zip(forecasts) {
            *error += rate * (hold(x - forecast).abs() - *error);
        }
        let e = (x - forecast) * f64::from(scale);
        let mut told = 0.0;
        if t >= 80 {
            self.above.push(greater(hold(e), 0.0));
            self.below.push(greater(-hold(e), 0.0));
        }
        if t >= 80 && is_asked {
            let z = (e - self.error_mean).abs() / self.error_variance.sqrt();
            let z = if self.error_variance <= 0.0 { 0.0 } else { z.clamp(0.0, 30.0) };
            told = greater(severity(&self.above), severity(&self.below)) + 0.2 * hold(z);
        }
        let rate = 1.0 / t as f64;
        let rate = if rate > 0.002 { rate } else { 0.002 };
        let off = e - self.error_mean;
        self.error_mean += rate * off;
        self.error_variance = (1.0 - rate) * (self.error_variance + rate * off * off);
        (told, forecast)
    }
}
