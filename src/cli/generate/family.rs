//! The shapes of generated series.

use tidewatch_env::Rng;

const DAY_SECONDS: i64 = 86_400;
/// Within this the days of all series begin.
const PHASE_SECONDS_MAX: u64 = 4 * 3_600;

/// A kind of metric: what it is called and how it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Users at work: a daily gauge in whole numbers.
    Sessions,
    /// A rate, as it is made of a counter: daily, noisier the higher it is.
    Requests,
    /// Latency: a floor, skewed noise and bursts that come in clusters.
    Latency,
    /// Load between 0 and 100 that wanders around its level.
    Cpu,
}

/// All families, in the order in which series get them.
pub(crate) const FAMILIES: [Family; 4] =
    [Family::Sessions, Family::Requests, Family::Latency, Family::Cpu];

/// What is particular to one series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// The value around which it moves.
    pub(crate) level: f64,
    /// How far the day takes it from there.
    pub(crate) amplitude: f64,
    /// The standard deviation of its noise.
    pub(crate) noise: f64,
    /// The second of the day at which the day's wave begins.
    phase: i64,
}

/// What a series remembers from one sample to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    wander: f64,
    burst: f64,
}

impl Family {
    /// The metric's name.
    pub(crate) const fn metric(self) -> &'static str {
        match self {
            Self::Sessions => "active_sessions",
            Self::Requests => "requests_per_second",
            Self::Latency => "latency_ms",
            Self::Cpu => "cpu_percent",
        }
    }

    /// 10 to the number of decimals.
    const fn scale(self) -> f64 {
        match self {
            Self::Sessions => 1.0,
            Self::Requests | Self::Cpu => 10.0,
            Self::Latency => 100.0,
        }
    }

    /// Whether the day can be told from its values.
    pub(crate) const fn is_seasonal(self) -> bool {
        matches!(self, Self::Sessions | Self::Requests)
    }

    /// Whether its health has bursts, beside which stronger noise does not show.
    pub(crate) const fn has_bursts(self) -> bool {
        matches!(self, Self::Latency)
    }

    /// What a new series of this family is like.
    pub(crate) fn traits(self, rng: &mut Rng) -> Traits {
        let mut between = |low: f64, high: f64| low + (high - low) * rng.unit_f64();
        let (level, swing, noise) = match self {
            Self::Sessions => (between(400.0, 4_000.0), between(0.25, 0.5), between(0.01, 0.02)),
            Self::Requests => (between(80.0, 900.0), between(0.2, 0.45), between(0.015, 0.03)),
            Self::Latency => (between(8.0, 60.0), 0.05, between(0.03, 0.06)),
            Self::Cpu => (between(20.0, 55.0), between(0.05, 0.1), between(0.02, 0.04)),
        };
        // Neighbours live in about the same time zone.
        let phase = i64::try_from(rng.below(PHASE_SECONDS_MAX)).expect("a few hours");
        Traits { level, amplitude: level * swing, noise: level * noise, phase }
    }

    /// The value at `seconds` since the epoch, before rounding; `noise_factor` is 1 in health.
    ///
    /// Takes the same numbers from `rng` whatever the arguments are.
    pub(crate) fn value(
        self,
        traits: &Traits,
        memory: &mut Memory,
        moment: Moment,
        rng: &mut Rng,
    ) -> f64 {
        let Traits { level, amplitude, noise, phase } = *traits;
        let day = season(moment.seconds - phase + moment.shift_seconds);
        let (first, second) = (gauss(rng), rng.unit_f64());
        let noise = noise * moment.noise_factor;
        match self {
            Self::Sessions => level + amplitude * day + noise * first,
            Self::Requests => {
                let mean = level + amplitude * day;
                // As of counted events, the noise grows with the square root of the rate.
                mean + noise * (mean / level).sqrt() * first
            }
            Self::Latency => {
                // About one sample in 150 begins a burst, which fades by half with every sample.
                let begins = if second < 1.0 / 150.0 { 0.1 + 15.0 * second } else { 0.0 };
                memory.burst = (memory.burst * 0.5).max(begins);
                let skewed = first + 0.15 * first * first;
                level + amplitude * day + noise * skewed + level * memory.burst
            }
            Self::Cpu => {
                memory.wander = 0.8 * memory.wander + 0.6 * first;
                (level + amplitude * day + noise * memory.wander).clamp(0.0, 100.0)
            }
        }
    }

    /// `value` as a meter of this family would show it: not negative, with its few decimals.
    pub(crate) fn shown(self, value: f64) -> f64 {
        let top = if self == Self::Cpu { 100.0 } else { f64::MAX };
        (value.clamp(0.0, top) * self.scale()).round() / self.scale()
    }
}

/// When a value is taken, and what disturbs it then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Seconds since the epoch.
    pub(crate) seconds: i64,
    /// How far the day is out of step.
    pub(crate) shift_seconds: i64,
    /// How many times stronger the noise is.
    pub(crate) noise_factor: f64,
}

/// How far the day must be put out of step, so that it shows most at `seconds`: a quarter, a half
/// or three quarters, because at any time one of them is far from where the day should be.
pub(crate) fn most_visible_shift(traits: &Traits, seconds: i64) -> i64 {
    let at = |shift: i64| season(seconds - traits.phase + shift);
    let shifts = [DAY_SECONDS / 4, DAY_SECONDS / 2, DAY_SECONDS / 4 * 3];
    let visible = |shift: &i64| (at(*shift) - at(0)).abs();
    let largest = shifts.into_iter().max_by(|a, b| visible(a).total_cmp(&visible(b)));
    largest.unwrap_or(DAY_SECONDS / 2)
}

/// The day as a wave between -1 and 1: close to a sine, of exact operations only.
///
/// Source: Bhaskara I, 7th century: sin(pi x) ~ 16 x (1 - x) / (5 - 4 x (1 - x)) for x in 0..1.
fn season(seconds: i64) -> f64 {
    let second = seconds.rem_euclid(DAY_SECONDS);
    let (half, sign) =
        if second < DAY_SECONDS / 2 { (second, 1.0) } else { (second - DAY_SECONDS / 2, -1.0) };
    let half = i32::try_from(half).expect("half a day has fewer seconds");
    let x = f64::from(half) / 43_200.0;
    let bow = x * (1.0 - x);
    sign * 16.0 * bow / (5.0 - 4.0 * bow)
}

/// Noise with mean 0 and standard deviation 1, never beyond 3.5: the sum of four uniform numbers.
///
/// Exact operations only, and no tail: what lies far out in a generated series was put there.
fn gauss(rng: &mut Rng) -> f64 {
    let [a, b, c, d, e, f, g, h] = rng.next_u64().to_le_bytes();
    let parts = [[a, b], [c, d], [e, f], [g, h]];
    let sum: u32 = parts.into_iter().map(|part| u32::from(u16::from_le_bytes(part))).sum();
    // Of one part: mean 32767.5, variance (2^32 - 1) / 12.
    (f64::from(sum) - 131_070.0) / 37_837.227
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wave_of_the_day_is_a_sine_within_two_thousandths() {
        for second in (0..DAY_SECONDS).step_by(7) {
            let exact =
                (f64::from(i32::try_from(second).unwrap()) / 43_200.0 * std::f64::consts::PI).sin();
            assert!((season(second) - exact).abs() < 0.002, "{second}");
            assert_eq!(season(second).to_bits(), season(second - 5 * DAY_SECONDS).to_bits());
        }
    }

    #[test]
    fn a_day_out_of_step_shows_at_any_time() {
        let traits = Family::Sessions.traits(&mut Rng::from_seed(1));
        for second in (0..DAY_SECONDS).step_by(60) {
            let day = |shift| season(second - traits.phase + shift);
            let shift = most_visible_shift(&traits, second);
            assert!((day(shift) - day(0)).abs() > 0.99, "{second}");
        }
    }

    #[test]
    fn noise_has_its_mean_and_deviation_and_no_tail() {
        let mut rng = Rng::from_seed(5);
        let noise: Vec<f64> = (0..40_000).map(|_| gauss(&mut rng)).collect();
        let mean = noise.iter().sum::<f64>() / 40_000.0;
        let variance = noise.iter().map(|x| x * x).sum::<f64>() / 40_000.0;
        // Standard errors: 0.005 of the mean, 0.0065 of the variance: five of them.
        assert!(mean.abs() < 0.025 && (variance - 1.0).abs() < 0.033, "{mean} {variance}");
        assert!(noise.iter().all(|x| x.abs() < 3.5));
    }
}
