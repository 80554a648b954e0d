use tidewatch_metrics::EventTime;

use super::*;
use crate::full::tests::{KINDS, samples};
use crate::full_oracle;
use crate::testing::{Rng, season, seconds};

const HOUR: i64 = 3_600_000_000_000;

/// The history of a series and of the errors, told again from them: folds in place of state.
#[derive(Default)]
struct Naive {
    /// What counted of each value, and its hour.
    values: Vec<(f64, usize)>,
    /// What counted of each error.
    heard: Vec<f64>,
    /// What counted of its size, from the second sample on.
    sizes: Vec<f32>,
    run: usize,
    above: Vec<f32>,
    below: Vec<f32>,
}

fn at_least<T: PartialOrd>(least: T, rate: T) -> T {
    if rate < least { least } else { rate }
}

fn hold(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "held within the range of f32")]
    let narrow = value.clamp(-1e30, 1e30) as f32;
    narrow
}

impl Naive {
    /// Level and trend, without the season.
    fn line(&self) -> f64 {
        let (mut level, mut trend) = (0.0_f64, 0.0_f64);
        for heard in &self.heard {
            level = (level + trend + 0.5 * heard).clamp(-1e30, 1e30);
            trend = (trend + 0.5 * 0.001 * heard).clamp(-1e30, 1e30);
        }
        level + trend
    }

    fn season(&self, slot: usize, offset: f32) -> f32 {
        let (mut mean, mut season, mut counts) = (0.0_f64, [0.0_f32; 24], [0_u16; 24]);
        for (t, (x, slot)) in self.values.iter().enumerate() {
            mean += at_least(0.001, 1.0 / (t as f64 + 1.0)) * (x - mean);
            let rate = at_least(0.03, 1.0 / (f32::from(counts[*slot].min(255)) + 1.0));
            season[*slot] += rate * (hold(x - mean) - season[*slot]);
            counts[*slot] += 1;
        }
        // Hours are counted when another one begins.
        let begin = self.values.iter().rposition(|(_, other)| *other != slot);
        let before = &self.values[..begin.map_or(0, |last| last + 1)];
        let all = (0..24).all(|slot| before.iter().any(|(_, other)| *other == slot));
        let neighbour = if offset < 0.0 { (slot + 23) % 24 } else { (slot + 1) % 24 };
        let here = season[slot];
        if all { here + (season[neighbour] - here) * offset.abs() } else { here }
    }

    fn scale(&self) -> f32 {
        let rates = (1_u16..).map(|t| at_least(0.01, 1.0 / f32::from(t)));
        rates.zip(&self.sizes).fold(0.0, |scale, (rate, size)| scale + rate * (size - scale))
    }

    fn observe(&mut self, time: EventTime, x: f64) -> (f32, f64) {
        let slot = usize::try_from(time.nanos().div_euclid(HOUR).rem_euclid(24)).unwrap();
        let offset = hold(time.nanos().rem_euclid(HOUR) as f64 / HOUR as f64) - 0.5;
        let forecast = self.line() + f64::from(self.season(slot, offset));
        let (t, error) = (self.values.len(), x - forecast);
        let mut severity = 0.0;
        if t >= 40 {
            self.above.push(if error > 0.0 { hold(error) } else { 0.0 });
            self.below.push(if error < 0.0 { hold(-error) } else { 0.0 });
            let sides = [&self.above, &self.below].map(|side| full_oracle::severity(side));
            severity = if sides[1] > sides[0] { sides[1] } else { sides[0] };
        }
        let scale = self.scale();
        let clip = 3.0 * f64::from(scale);
        self.run = if t >= 40 && clip > 0.0 && error.abs() > clip { self.run + 1 } else { 0 };
        let is_clipped = self.run > 0 && self.run < 12;
        let heard = if is_clipped { error.clamp(-clip, clip) } else { error };
        self.heard.push(heard);
        if t > 0 {
            let size = hold(error).abs();
            self.sizes.push(if is_clipped && 4.0 * scale < size { 4.0 * scale } else { size });
        }
        self.values.push((x - (error - heard), slot));
        (severity, forecast)
    }
}

#[test]
fn severities_and_forecasts_are_bit_by_bit_those_of_the_whole_history() {
    for ((seed, kind), interval) in (1..).zip(KINDS).zip([60, 300, 3_600].into_iter().cycle()) {
        let samples = samples(kind, seed, 1_200, interval);
        let first = samples[0].1;
        let mut smoothed = HoltWinters::new(first);
        let mut naive = Naive::default();
        for (row, (time, value)) in samples.iter().enumerate() {
            let (severity, expectation) = smoothed.observe(LocalTime::utc(*time), *value);
            let x = (value - first).clamp(-1e30, 1e30);
            let (told, forecast) = naive.observe(*time, x);
            assert_eq!(severity.to_bits(), told.to_bits(), "{kind:?}, row {row}");
            if row >= 40 {
                let expected = first + forecast;
                let found = expectation.expected;
                assert_eq!(found.to_bits(), expected.to_bits(), "{kind:?}, row {row}");
            }
        }
    }
}

/// The share of samples within the band, and the mean distance from what was expected, after three weeks.
fn follow(mut value: impl FnMut(i64) -> f64) -> (f64, f64) {
    let mut smoothed = HoltWinters::new(value(0));
    let (mut within, mut off, mut count) = (0.0, 0.0, 0.0);
    for index in 1..288 * 30 {
        let x = value(index);
        let (_, expectation) = smoothed.observe(LocalTime::utc(seconds(index * 300)), x);
        if index >= 288 * 21 {
            within += f64::from(expectation.lower <= x && x <= expectation.upper);
            off += (expectation.expected - x).abs();
            count += 1.0;
        }
    }
    (within / count, off / count)
}

#[test]
fn trend_and_season_are_followed_and_the_band_holds_98_percent() {
    let line = |index: i64| 5.0 * index as f64;
    let (_, off) = follow(line);
    assert!(off < 0.5, "a line that rises by 5, without noise; a level alone is 10 behind: {off}");
    let wave = |index: i64| season(seconds(index * 300));
    let (_, off) = follow(wave);
    assert!(off < 0.4, "a season without noise, 20 from its least to its most: {off}");
    let mut rng = Rng::new(1);
    let (within, off) = follow(|index| 0.2 * line(index) + wave(index) + rng.normal());
    assert!((0.965..0.99).contains(&within) && off < 1.05, "{within} {off}");
}

#[test]
fn one_outlier_hardly_moves_the_level_and_a_new_level_is_taken_after_twelve_samples() {
    let mut rng = Rng::new(2);
    let mut smoothed = HoltWinters::new(0.0);
    let mut time = 0;
    let mut next = |smoothed: &mut HoltWinters, value: f64| {
        time += 60;
        smoothed.observe(LocalTime::utc(seconds(time)), value)
    };
    for _ in 0..1_000 {
        next(&mut smoothed, rng.normal());
    }
    let before = smoothed.level;
    let (severity, _) = next(&mut smoothed, 1e6);
    assert!(severity > 6.0 && (smoothed.level - before).abs() < 3.0, "{severity}");
    // Half a day without any movement: the scale is far below one part in a million.
    for _ in 0..3_000 {
        next(&mut smoothed, 0.0);
    }
    let (severity, _) = next(&mut smoothed, 1e3);
    assert!(severity > 2.0, "{severity}");
    for _ in 0..25 {
        next(&mut smoothed, 1e3);
    }
    let (_, expectation) = next(&mut smoothed, 1e3);
    assert!((expectation.expected - 1e3).abs() < 100.0, "{expectation:?}");
}

#[test]
fn the_season_stays_where_it_is_over_a_gap_and_when_the_interval_changes() {
    let mut smoothed = HoltWinters::new(50.0);
    let mut at = 0;
    let mut follow = |steps: &mut dyn Iterator<Item = i64>| {
        let (mut off, mut count) = (0.0, 0.0);
        for step in steps {
            at += step;
            let x = season(seconds(at));
            let (_, expectation) = smoothed.observe(LocalTime::utc(seconds(at)), x);
            off += (expectation.expected - x).abs();
            count += 1.0;
        }
        off / count
    };
    follow(&mut std::iter::repeat_n(3_600, 24 * 60));
    // The last value alone is 1.6 off on average.
    let known = follow(&mut std::iter::repeat_n(3_600, 48));
    assert!(known < 0.2, "{known}");
    let after_a_gap = follow(&mut std::iter::once(86_400 * 3 + 43_200).chain([3_600; 47]));
    assert!(
        after_a_gap < 0.4,
        "half a day away from where counting samples would be: {after_a_gap}"
    );
    let at_another_interval = follow(&mut std::iter::repeat_n(1_800, 96));
    assert!(at_another_interval < 0.4, "{at_another_interval}");
}
