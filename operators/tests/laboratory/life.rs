//! Generated series, healthy and sick: what life does to series that no corpus has.

use tidewatch_metrics::EventTime;

/// 2024-01-01T00:00:00Z, a Monday, in seconds.
const START: i64 = 1_704_067_200;
/// Mondays as well, 20 days before Berlin sets its clocks forward and back: 2024-03-11 and 2024-10-07.
const START_SPRING: i64 = 1_710_115_200;
const START_AUTUMN: i64 = 1_728_259_200;
/// When it does, in seconds since that Monday: at 01:00 UTC.
pub(crate) const CLOCKS_ARE_SET: i64 = 20 * DAY + HOUR;
const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 24 * HOUR;
/// For how long an event that ends goes on.
const EVENT: i64 = 6 * HOUR;
/// Standard deviation of the noise.
const NOISE: f64 = 3.0;

/// What a series is like while it is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// White normal noise.
    Normal,
    /// White Laplace noise.
    Laplace,
    /// White lognormal noise, its logarithm with deviation .5.
    Lognormal,
    /// Noise in which a sample keeps .9 of the one before.
    Wandering,
    /// A random walk.
    Walk,
    /// What fills up, with noise: ten deviations a day.
    Trend,
    /// Absolute normal noise, in small integers.
    Integers,
    /// 0 or 1.
    TwoValued,
    /// Always the same.
    Constant,
    /// A daily season, with noise.
    Daily,
    /// A daily season that weekends have less of, with noise.
    Weekly,
    /// As daily; every day two hours have hardly a number, in bursts.
    NanBursts,
    /// A counter of what happens by the day; begins again from 0 every 5 days.
    CounterReset,
    /// As daily, by a clock that is set forward an hour on day 20.
    SavingTime,
    /// As daily, with three hours that are missing on day 20.
    Gap,
    /// As daily; on every 4th day the source stops for ten minutes, and says less for two.
    Restart,
    /// Busy from eight to six, with noise, by the clocks of Berlin, which are set forward on day 20.
    OfficeSpring,
    /// The same; the clocks are set back on day 20.
    OfficeAutumn,
}

/// What happens to it, at 09:00 of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    /// Next to nothing for six hours.
    Outage,
    /// Next to nothing for an hour, on three days.
    Outages,
    /// Fifteen deviations more, for three samples.
    Spike,
    /// The day out of step by twelve hours, for six.
    Break,
    /// Twelve deviations more, for ever.
    Shift,
    /// Six times the noise, for six hours.
    Variance,
    /// The same value for six hours.
    Flatline,
    /// A tenth of what is counted, for six hours.
    Slow,
    /// Nothing is counted for six hours.
    Stop,
}

/// One series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) life: Life,
    pub(crate) event: Event,
    /// Seconds between samples.
    pub(crate) interval: i64,
    /// The event's.
    pub(crate) day: i64,
    pub(crate) days: i64,
    pub(crate) seed: u64,
}

/// One sample, and how many seconds after the begin of the event it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time: EventTime,
    pub(crate) value: f64,
    pub(crate) since: i64,
}

impl Life {
    /// Those by the clock of UTC.
    pub(crate) const ALL: [Self; 16] = [
        Self::Normal,
        Self::Laplace,
        Self::Lognormal,
        Self::Wandering,
        Self::Walk,
        Self::Trend,
        Self::Integers,
        Self::TwoValued,
        Self::Constant,
        Self::Daily,
        Self::Weekly,
        Self::NanBursts,
        Self::CounterReset,
        Self::SavingTime,
        Self::Gap,
        Self::Restart,
    ];
}

impl Event {
    pub(crate) const SICK: [Self; 7] = [
        Self::Spike,
        Self::Outage,
        Self::Outages,
        Self::Shift,
        Self::Variance,
        Self::Flatline,
        Self::Break,
    ];
    /// What befalls counters.
    pub(crate) const COUNTED: [Self; 2] = [Self::Slow, Self::Stop];

    /// Whether it is on, so many seconds after it began, in a series with a sample in so many.
    pub(crate) fn is_on(self, since: i64, interval: i64) -> bool {
        since >= 0
            && match self {
                Self::Nothing => false,
                Self::Spike => since < 3 * interval,
                Self::Shift => true,
                Self::Outages => since < 3 * DAY && since % DAY < HOUR,
                Self::Outage | Self::Variance | Self::Flatline | Self::Break => since < EVENT,
                Self::Slow | Self::Stop => since < EVENT,
            }
    }
}

/// splitmix64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1, both excluded.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Mean 0, variance 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// Mean 0, variance 1.
    fn laplace(&mut self) -> f64 {
        let size = -libm::log(self.uniform()) / std::f64::consts::SQRT_2;
        if self.uniform() < 0.5 { size } else { -size }
    }
}

/// Between -1 and 1, by the day.
fn daily(at: i64) -> f64 {
    libm::sin(std::f64::consts::TAU * (at.rem_euclid(DAY) as f64 / DAY as f64 - 0.25))
}

/// Between 0 and 1: up from half past seven to half past eight, down from half past five to half past six.
fn office(at: i64) -> f64 {
    let hour = at.rem_euclid(DAY) as f64 / HOUR as f64;
    (9.0 - (hour - 13.0).abs() - 3.5).clamp(0.0, 1.0)
}

/// Seconds since ten o'clock of the last day that a source stopped on; the first one is the second day.
fn since_stop(at: i64) -> i64 {
    (at - DAY).rem_euclid(4 * DAY) - 10 * HOUR
}

impl Case {
    /// All samples in order; those without a number are NaN.
    pub(crate) fn samples(self) -> impl Iterator<Item = Sample> {
        let mut rng = Rng(self.seed);
        let mut kept = 0.0;
        (0..self.days * DAY / self.interval).filter_map(move |index| {
            let at = index * self.interval;
            let since = at - self.day * DAY - 9 * HOUR;
            let is_broken = self.event == Event::Break && self.is_on(since);
            let clock = if is_broken { at + 12 * HOUR } else { at };
            let healthy = self.healthy(clock, self.share(since), &mut rng, &mut kept);
            let value = self.befall(healthy, since, &mut rng);
            let time = EventTime::new((self.start() + at) * 1_000_000_000);
            (!self.is_missing(at)).then_some(Sample { time, value, since })
        })
    }

    /// Whether the event is on, so many seconds after it began.
    pub(crate) fn is_on(self, since: i64) -> bool {
        self.event.is_on(since, self.interval)
    }

    fn start(self) -> i64 {
        match self.life {
            Life::OfficeSpring => START_SPRING,
            Life::OfficeAutumn => START_AUTUMN,
            _ => START,
        }
    }

    /// What an office's series is without its noise.
    pub(crate) fn office(self, at: i64) -> f64 {
        let is_summer = (at >= CLOCKS_ARE_SET) == (self.life == Life::OfficeSpring);
        100.0 + 100.0 * office(at + if is_summer { 2 * HOUR } else { HOUR })
    }

    /// How much of what happens is counted.
    fn share(self, since: i64) -> f64 {
        match self.event {
            Event::Slow if self.is_on(since) => 0.1,
            Event::Stop if self.is_on(since) => 0.0,
            _ => 1.0,
        }
    }

    /// `kept` is what the series knows of its past.
    fn healthy(self, at: i64, share: f64, rng: &mut Rng, kept: &mut f64) -> f64 {
        let noise = NOISE * rng.normal();
        let day = 100.0 + 40.0 * daily(at);
        match self.life {
            Life::Normal => 100.0 + noise,
            Life::Laplace => 100.0 + NOISE * rng.laplace(),
            Life::Lognormal => 50.0 * libm::exp(noise / NOISE / 2.0),
            Life::Wandering => {
                *kept = 0.9 * *kept + noise;
                100.0 + *kept
            }
            Life::Walk => {
                *kept += 0.3 * noise;
                100.0 + *kept
            }
            Life::Trend => 100.0 + 10.0 * NOISE * at as f64 / DAY as f64 + noise,
            Life::Integers => noise.abs().floor(),
            Life::TwoValued => f64::from(noise > 0.0),
            Life::Constant => 100.0,
            Life::Weekly if at / DAY % 7 >= 5 => 70.0 + 12.0 * daily(at) + noise,
            Life::NanBursts if at % DAY / HOUR % 12 == 3 && rng.uniform() < 0.9 => f64::NAN,
            Life::CounterReset => {
                let rate = share * (day + noise) * self.interval as f64 / 60.0;
                *kept = if at % (5 * DAY) == 7 * HOUR { 0.0 } else { *kept + rate.floor() };
                *kept
            }
            Life::OfficeSpring | Life::OfficeAutumn => self.office(at) + noise,
            Life::SavingTime if at >= 20 * DAY => 100.0 + 40.0 * daily(at + HOUR) + noise,
            Life::Restart if (660..780).contains(&since_stop(at)) => 20.0 + noise,
            _ => day + noise,
        }
    }

    fn is_missing(self, at: i64) -> bool {
        match self.life {
            Life::Gap => (20 * DAY + 11 * HOUR..20 * DAY + 14 * HOUR).contains(&at),
            Life::Restart => (60..660).contains(&since_stop(at)),
            _ => false,
        }
    }

    fn befall(self, healthy: f64, since: i64, rng: &mut Rng) -> f64 {
        if !self.is_on(since) {
            return healthy;
        }
        match self.event {
            Event::Nothing | Event::Slow | Event::Stop | Event::Break => healthy,
            Event::Spike => healthy + 15.0 * NOISE,
            Event::Outage | Event::Outages => rng.normal().abs(),
            Event::Shift => healthy + 12.0 * NOISE,
            Event::Variance => healthy + 6.0 * NOISE * rng.normal(),
            Event::Flatline => 103.5,
        }
    }
}
