use super::*;
use crate::full_oracle::Oracle;
use crate::hash::Digest;
use crate::testing::{Rng, season, seconds};

/// What series can be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Noise,
    Seasonal,
    Weekly,
    Constant,
    FirstMove,
    TwoValued,
    Counts,
    Offset,
    Steps,
    HeavyTail,
    Subnormal,
    Huge,
    Restarts,
    Drift,
    Outages,
    Counter,
    Ramp,
}

pub(crate) const KINDS: [Kind; 17] = [
    Kind::Noise,
    Kind::Seasonal,
    Kind::Weekly,
    Kind::Constant,
    Kind::FirstMove,
    Kind::TwoValued,
    Kind::Counts,
    Kind::Offset,
    Kind::Steps,
    Kind::HeavyTail,
    Kind::Subnormal,
    Kind::Huge,
    Kind::Restarts,
    Kind::Drift,
    Kind::Outages,
    Kind::Counter,
    Kind::Ramp,
];

/// What a detector keeps at most.
const BYTES_MAX: usize = 2_416;
/// Stored bytes of the parts of a detector that has not much seen.
const COUNTER: usize = 8 + 4;
const PACE: usize = 8 + 5 * 4 + 2;
const EPISODE: usize = 2 * 4 + 2 + 2;
const CALIBRATION: usize = 2 * 3 + 2 + 4;

fn value(kind: Kind, index: i64, time: EventTime, rng: &mut Rng) -> f64 {
    let noise = rng.normal();
    let rare = rng.below(200) == 0;
    match kind {
        Kind::Noise => noise + if rare { 9.0 } else { 0.0 },
        Kind::Seasonal => season(time) + noise * (season(time) - 35.0) / 10.0,
        Kind::Weekly if time.nanos() / 86_400_000_000_000 % 7 < 2 => 20.0 + noise,
        Kind::Weekly => season(time) + noise,
        Kind::Constant => 7.25,
        Kind::FirstMove => 7.25 + if index >= 700 { 0.5 } else { 0.0 },
        Kind::TwoValued => f64::from(rng.below(2) == 0),
        Kind::Counts => (noise.abs() * 3.0).floor(),
        Kind::Offset => 1.3e10 + noise,
        Kind::Steps => noise + (index / 450) as f64 * 50.0 * (1 - index / 450 % 3) as f64,
        Kind::HeavyTail => libm::exp(3.0 * noise),
        Kind::Subnormal if rare => 5e-324 * (index % 7) as f64,
        Kind::Subnormal => 1e-41 * noise,
        Kind::Huge if rare => f64::MAX * noise.signum(),
        Kind::Huge => 1e300 * noise,
        Kind::Restarts => (index % 311) as f64 * 12.0 + noise,
        Kind::Drift => index as f64 * 0.05 + noise,
        Kind::Outages if index % 500 > 480 => noise - (index * index) as f64 * 1e-3,
        Kind::Outages => noise + if index >= 2_200 { 100.0 } else { 0.0 },
        Kind::Counter => season(time) + noise.abs() + if rare { 90.0 } else { 0.0 },
        // A smooth rise, and then what goes up and down.
        Kind::Ramp if index < 400 => (index * index) as f64,
        Kind::Ramp => season(time) + noise,
    }
}

/// Samples in order, now and then with a pause.
pub(crate) fn samples(kind: Kind, seed: u64, count: i64, interval: i64) -> Vec<(EventTime, f64)> {
    samples_with(kind, seed, [count, interval], 500)
}

/// Samples in order, with a pause before one in so many of them.
fn samples_with(
    kind: Kind,
    seed: u64,
    [count, interval]: [i64; 2],
    pause: u64,
) -> Vec<(EventTime, f64)> {
    let mut rng = Rng::new(seed);
    let mut at = 0;
    let mut samples = Vec::new();
    // The whole of a counter, which begins again now and then.
    let mut sum = 0.0;
    for index in 0..count {
        at += interval;
        if rng.below(pause) == 0 {
            at += interval * 40;
        }
        let time = seconds(at);
        let value = value(kind, index, time, &mut rng);
        sum = if index % 600 == 550 { value / 2.0 } else { sum + value };
        samples.push((time, if kind == Kind::Counter { sum } else { value }));
    }
    samples
}

fn judge_all(model: Model, samples: &[(EventTime, f64)]) -> Vec<Judgement> {
    let mut detector = FullDetector::new(model).unwrap();
    samples.iter().map(|(time, value)| detector.judge(*time, *value)).collect()
}

/// All of a judgement as bits, so that NaN equals itself.
pub(crate) fn bits(judged: &Judgement) -> ([u64; 3], Severity, Channel, bool) {
    let band = [judged.expected, judged.lower, judged.upper].map(f64::to_bits);
    (band, judged.severity, judged.channel(), judged.flags.is_onset())
}

/// Holds all three models against the oracle; returns how many episodes ended, and in how many new normals.
fn hold_against_oracle(kind: Kind, samples: &[(EventTime, f64)]) -> [usize; 2] {
    let mut episodes = [0; 2];
    for model in [Model::Novelty, Model::Deviation, Model::Auto] {
        let judged = judge_all(model, samples);
        let mut oracle = Oracle::new(model);
        for (row, (time, value)) in samples.iter().enumerate() {
            let told = oracle.observe(*time, *value);
            let severity = Severity::from_f32(told.severity);
            assert_eq!(judged[row].severity, severity, "{kind:?}, {model}, row {row}");
            if model != Model::Novelty && !judged[row].expected.is_nan() {
                let forecast = judged[row].expected;
                assert_eq!(forecast.to_bits(), told.forecast.to_bits(), "{kind:?}, row {row}");
            }
        }
        episodes = [episodes[0] + oracle.ended, episodes[1] + oracle.shifted];
    }
    episodes
}

#[test]
fn severities_are_bit_by_bit_those_of_the_whole_history() {
    let mut episodes = [0; 2];
    for (kind, interval) in KINDS.into_iter().zip([600, 300, 3_600, 10, 900].into_iter().cycle()) {
        let seed = u64::from(kind as u8) + 1;
        let count = if interval < 60 { 6_000 } else { 2_500 };
        let [ended, shifted] = hold_against_oracle(kind, &samples(kind, seed, count, interval));
        episodes = [episodes[0] + ended, episodes[1] + shifted];
    }
    let [ended, shifted] = episodes;
    assert!(ended > 15 && shifted > 4, "{ended} episodes ended, {shifted} in a new normal");
}

#[test]
fn severities_of_a_quick_series_are_those_of_the_whole_history() {
    // Four days, of which the first three and a half bear out no episode.
    let mut samples = samples(Kind::Seasonal, 3, 24_000, 15);
    samples[22_000..22_040].iter_mut().for_each(|(_, value)| *value -= 1e3);
    samples[23_000..23_010].iter_mut().for_each(|(_, value)| *value += 1e4);
    let [ended, _] = hold_against_oracle(Kind::Seasonal, &samples);
    assert!(ended > 2, "{ended} episodes ended");
}

#[test]
fn severities_are_those_of_the_whole_history_over_three_generations() {
    for kind in [Kind::Seasonal, Kind::Counts] {
        hold_against_oracle(kind, &samples(kind, 77, 17_500, 300));
    }
}

#[test]
fn whatever_comes_severity_band_and_state_stay_within_bounds() {
    for kind in KINDS {
        for (seed, interval) in [(1, 1), (2, 60), (3, 90_000)] {
            let samples = samples(kind, seed, 2_000, interval);
            for model in [Model::Novelty, Model::Deviation, Model::Auto] {
                let mut detector = FullDetector::new(model).unwrap();
                for (row, (time, value)) in samples.iter().enumerate() {
                    let judged = detector.judge(*time, *value);
                    let what = || format!("{kind:?}, {model}, seed {seed}, row {row}: {judged:?}");
                    assert!(judged.severity.to_f32() <= 100.0, "{}", what());
                    let fires = judged.severity > Severity::ZERO;
                    assert_eq!(fires, judged.channel() != Channel::None, "{}", what());
                    assert!(fires || !judged.flags.is_onset(), "{}", what());
                    assert!(row >= 80 || (judged.expected.is_nan() && !fires), "{}", what());
                    // Steps, shifts and episodes make it later than sample 80, and never again none, but
                    // where a counter has no rate or is none.
                    let is_gauge = !matches!(kind, Kind::Counter | Kind::Ramp | Kind::Restarts);
                    assert!(row < 300 || !is_gauge || !judged.expected.is_nan(), "{}", what());
                    if !judged.expected.is_nan() {
                        let Judgement { expected, lower, upper, .. } = judged;
                        assert!(expected.is_finite() && lower.is_finite(), "{}", what());
                        assert!(lower <= expected && expected <= upper, "{}", what());
                        assert!(upper.is_finite(), "{}", what());
                    }
                }
                let counted = size_of::<FullDetector>() + FullDetector::heap_bytes_max(model);
                assert!(detector.bytes() <= counted, "{kind:?}: {} bytes", detector.bytes());
                assert!(detector.bytes() <= BYTES_MAX, "{kind:?}: {} bytes", detector.bytes());
            }
        }
    }
}

/// Holds a detector that is stored and read at random moments against one that is not.
pub(crate) fn hold_over_stores(model: Model, kind: Kind, samples: &[(EventTime, f64)]) {
    let whole = judge_all(model, samples);
    let mut rng = Rng::new(6);
    let mut detector = FullDetector::new(model).unwrap();
    for ((time, value), whole) in samples.iter().zip(&whole) {
        if rng.below(60) == 0 {
            let stored = encoded(&detector);
            let mut fields = FieldReader::new(&stored);
            let read = FullDetector::decode(&mut fields).expect("just written");
            assert_eq!(fields.end(), Some(()));
            assert_eq!(encoded(&read), stored);
            assert!(read.bytes() <= detector.bytes(), "{kind:?}, {model}: no more room");
            detector = read;
        }
        assert_eq!(bits(&detector.judge(*time, *value)), bits(whole), "{kind:?}, {model}");
    }
}

#[test]
fn state_encoded_and_decoded_at_random_moments_changes_nothing() {
    for kind in KINDS {
        for model in [Model::Novelty, Model::Deviation, Model::Auto] {
            // Into the second generation, for the model that has all parts.
            let count = if model == Model::Auto { 9_000 } else { 1_500 };
            hold_over_stores(model, kind, &samples(kind, 5, count, 60));
        }
    }
}

pub(crate) fn encoded(detector: &FullDetector) -> Vec<u8> {
    let mut out = FieldWriter::default();
    detector.encode(&mut out);
    out.into_bytes()
}

#[test]
fn damaged_state_is_refused_or_goes_on_within_bounds() {
    let samples = samples(Kind::Seasonal, 8, 9_500, 300);
    let mut detector = FullDetector::new(Model::Auto).unwrap();
    for (time, value) in &samples[..9_000] {
        detector.judge(*time, *value);
    }
    let stored = encoded(&detector);
    for cut in 0..stored.len() {
        let read = FullDetector::decode(&mut FieldReader::new(&stored[..cut]));
        assert!(read.is_none(), "cut at {cut}");
    }
    let mut rng = Rng::new(9);
    let (mut refused, mut changed) = (0, 0);
    for at in 0..stored.len() {
        let mut bytes = stored.clone();
        bytes[at] ^= 1 << rng.below(8);
        let Some(mut read) = FullDetector::decode(&mut FieldReader::new(&bytes)) else {
            refused += 1;
            continue;
        };
        changed += usize::from(encoded(&read) != stored);
        for (time, value) in &samples[9_000..9_040] {
            let judged = read.judge(*time, *value);
            assert!(judged.severity.to_f32() <= 100.0, "byte {at}");
        }
        assert!(read.bytes() <= BYTES_MAX, "byte {at}");
    }
    assert!(refused > 100 && changed > 1_000, "{refused} refused, {changed} changed");
}

#[test]
fn another_number_of_values_is_refused() {
    let mut detector = FullDetector::new(Model::Novelty).unwrap();
    for (time, value) in samples(Kind::Noise, 1, 50, 60) {
        detector.judge(time, value);
    }
    let mut stored = encoded(&detector);
    let start = encoded(&FullDetector::new(Model::Novelty).unwrap()).len();
    let lengths = start + COUNTER + PACE + EPISODE + CALIBRATION + 16 + 2 * 96 + 8 + 24 + 2;
    assert_eq!(stored[lengths], 30);
    for length in [29, 31, 65, 255] {
        stored[lengths] = length;
        let read = FullDetector::decode(&mut FieldReader::new(&stored));
        assert!(read.is_none(), "{length}");
    }
}

#[test]
fn other_versions_and_the_light_model_are_refused() {
    let stored = encoded(&FullDetector::new(Model::Auto).unwrap());
    assert_eq!(stored, [&[5, 3][..], &[0; 21]].concat());
    let decode = |bytes: &[u8]| FullDetector::decode(&mut FieldReader::new(bytes));
    assert_eq!(encoded(&decode(&stored).unwrap()), stored);
    for (at, byte) in [(0, 2), (0, 6), (1, 0), (1, 8), (11, 1), (21, 2), (22, 2)] {
        let mut other = stored.clone();
        other[at] = byte;
        assert!(decode(&other).is_none(), "byte {at} is {byte}");
    }
    assert!(FullDetector::new(Model::Light).is_none());
    let old = decode(&[3, 3, 0, 0, 0, 0, 0]).expect("version 3 had no shape");
    assert_eq!(encoded(&old), stored);
}

/// A change of these numbers is a change of every stored severity: it raises the version of the operators.
#[test]
fn severities_and_state_are_the_same_on_every_machine() {
    let mut digest = Digest::default();
    for kind in KINDS {
        let mut detector = FullDetector::new(Model::Auto).unwrap();
        for (time, value) in samples(kind, 10, 9_000, 300) {
            let ([expected, lower, upper], severity, channel, _) =
                bits(&detector.judge(time, value));
            for word in [expected, lower, upper, severity.steps().into(), channel.code().into()] {
                digest.u64(word);
            }
        }
        encoded(&detector).iter().for_each(|byte| digest.u64(u64::from(*byte)));
    }
    assert_eq!(format!("{:016x}", digest.finish()), "ef4199c5db11c982");
}

#[test]
fn the_first_movement_of_a_constant_series_is_as_unusual_as_it_is_old() {
    let judged = judge_all(Model::Novelty, &samples(Kind::FirstMove, 1, 2_000, 60));
    assert!(judged[..700].iter().all(|judged| judged.severity == Severity::ZERO));
    // 620 distances were 0, in each of three views, above 5 of which a third counts; 700 minutes bear out less.
    let of_model = 5.0 + (3.0 * libm::log10f(621.0) - 5.0) / 3.0;
    let told = Severity::from_f32(3.0 + libm::log10f(700.0 * 60.0 / 300.0));
    assert!(told < Severity::from_f32(of_model));
    assert_eq!(judged[700].severity, told);
    assert!(judged[700].flags.is_onset() && judged[700].channel() == Channel::Novelty);
}

#[test]
fn a_spike_a_broken_season_and_noisier_noise_are_found() {
    let worst = |judged: &[Judgement]| {
        judged.iter().map(|judged| judged.severity.to_f32()).fold(0.0, crate::numeric::larger)
    };
    for seed in 1..=5 {
        // Without pauses: what comes behind one is not scored.
        let healthy = samples_with(Kind::Seasonal, seed, [4_000, 300], u64::MAX);
        for model in [Model::Novelty, Model::Deviation, Model::Auto] {
            let mut spike = healthy.clone();
            spike[3_000].1 += 40.0;
            let judged = judge_all(model, &spike);
            assert!(
                judged[3_000].severity.to_f32() > 5.0,
                "seed {seed}, {model}: {:?}",
                judged[3_000]
            );
            let mut noisy = healthy.clone();
            let mut rng = Rng::new(seed + 40);
            noisy[3_000..3_020].iter_mut().for_each(|(_, value)| *value += 20.0 * rng.normal());
            let judged = judge_all(model, &noisy);
            assert!(worst(&judged[3_000..3_020]) > 4.0, "seed {seed}, {model}");
            // A day without its season, which is 20 lower at its least than at its most. Forecasts follow it.
            if model == Model::Deviation {
                continue;
            }
            let mut flat = healthy.clone();
            flat[3_000..3_288].iter_mut().for_each(|(_, value)| *value = 60.0);
            let judged = judge_all(model, &flat);
            assert!(worst(&judged[3_000..3_288]) > 4.0, "seed {seed}, {model}");
        }
    }
}

#[test]
fn of_a_counter_values_are_expected_and_who_asks_changes_nothing() {
    // Without pauses and up to its first reset.
    let samples = samples_with(Kind::Counter, 4, [540, 60], u64::MAX);
    for model in [Model::Novelty, Model::Deviation, Model::Auto] {
        let mut detector = FullDetector::new(model).unwrap();
        let mut last = 0.0;
        for (row, (time, value)) in samples.iter().enumerate() {
            let before = encoded(&detector);
            let foreseen = detector.expect(*time, LocalTime::utc(*time));
            assert_eq!(encoded(&detector), before, "{model}, row {row}");
            let judged = detector.judge(*time, *value);
            if row >= 64 + 80 {
                let Judgement { expected, lower, upper, .. } = judged;
                assert_eq!(foreseen.expected.to_bits(), expected.to_bits(), "{model}, row {row}");
                assert_eq!(foreseen.upper.to_bits(), upper.to_bits(), "{model}, row {row}");
                assert!(lower <= expected && expected <= upper, "{judged:?}");
                assert!(last < expected && expected < last + 110.0, "{last}: {judged:?}");
            }
            last = *value;
        }
        let (time, _) = samples[samples.len() - 1];
        assert!(
            detector.expect(time, LocalTime::utc(time)).expected.is_nan(),
            "no rate without time"
        );
        let time = seconds(1_000_000);
        let later = detector.expect(time, LocalTime::utc(time));
        assert!(later.expected.is_nan(), "none behind a pause");
        assert_eq!(detector.last_of_counter(), Some(last));
    }
}
