use tidewatch_metrics::Severity;

use super::*;
use crate::full::tests::{KINDS, Kind, encoded, hold_over_stores, samples};
use crate::testing::Rng;
use crate::{FullDetector, Judgement};

const MODELS: [Model; 4] =
    [Model::Mad, Model::HoltWinters, Model::HalfSpaceTrees, Model::Anomstack];

fn detector(model: Model) -> FullDetector {
    FullDetector::new(model).expect("not the light one")
}

/// How many samples are told. Anomstack's models are slow: only once all that it can keep.
fn count(model: Model, kind: Kind) -> usize {
    if model == Model::Anomstack && kind != Kind::Seasonal { 500 } else { 3_000 }
}

#[test]
fn each_model_that_is_not_ours_is_one_of_these() {
    for model in Model::ALL {
        let is_ours =
            matches!(model, Model::Light | Model::Novelty | Model::Deviation | Model::Auto);
        assert_eq!(Published::new(model, 1.0).is_none(), is_ours, "{model}");
        assert_eq!(MODELS.contains(&model), !is_ours, "{model}");
        assert_eq!(Published::heap_bytes_max(model).is_none(), is_ours, "{model}");
        assert_eq!(Published::decode(model, &mut FieldReader::new(&[])).is_none(), is_ours);
    }
}

#[test]
fn whatever_comes_severity_band_and_state_stay_within_bounds() {
    for kind in KINDS {
        for (seed, interval) in [(1, 1), (2, 60), (3, 90_000)] {
            let samples = samples(kind, seed, 3_000, interval);
            for model in MODELS {
                let samples = &samples[..count(model, kind)];
                let mut detector = detector(model);
                for (row, (time, value)) in samples.iter().enumerate() {
                    let told = detector.expect(*time, LocalTime::utc(*time));
                    let judged = detector.judge(*time, *value);
                    let what = || format!("{kind:?}, {model}, seed {seed}, row {row}: {judged:?}");
                    assert!(judged.severity.to_f32() <= 100.0, "{}", what());
                    let fires = judged.severity > Severity::ZERO;
                    assert_eq!(fires, judged.channel() != Channel::None, "{}", what());
                    assert!(fires || !judged.flags.is_onset(), "{}", what());
                    let Judgement { expected, lower, upper, .. } = judged;
                    if expected.is_nan() {
                        assert!(lower.is_nan() && upper.is_nan() && !fires, "{}", what());
                        assert!(row < 1_100, "{}", what());
                    } else {
                        assert!(lower <= expected && expected <= upper, "{}", what());
                        assert!(lower.is_finite() && upper.is_finite(), "{}", what());
                    }
                    assert_eq!(told.expected.to_bits(), expected.to_bits(), "{}", what());
                    assert_eq!(told.lower.to_bits(), lower.to_bits(), "{}", what());
                }
                let counted = size_of::<FullDetector>() + FullDetector::heap_bytes_max(model);
                assert!(detector.bytes() <= counted, "{kind:?}: {} bytes", detector.bytes());
            }
        }
    }
}

#[test]
fn state_encoded_and_decoded_at_random_moments_changes_nothing() {
    for kind in KINDS {
        for model in MODELS {
            hold_over_stores(model, kind, &samples(kind, 5, 3_000, 60)[..count(model, kind)]);
        }
    }
}

#[test]
fn damaged_state_is_refused_or_goes_on_within_bounds() {
    for model in MODELS {
        let samples = samples(Kind::Seasonal, 8, 2_640, 300);
        let mut detector = detector(model);
        for (time, value) in &samples[..2_600] {
            detector.judge(*time, *value);
        }
        let stored = encoded(&detector);
        let step = 1 + stored.len() / 700;
        for cut in (0..stored.len()).step_by(step).chain(stored.len() - 20..stored.len()) {
            let read = FullDetector::decode(&mut FieldReader::new(&stored[..cut]));
            assert!(read.is_none(), "{model}, cut at {cut}");
        }
        let mut rng = Rng::new(9);
        let mut changed = 0;
        for at in (0..stored.len()).step_by(step) {
            let mut bytes = stored.clone();
            bytes[at] ^= 1 << rng.below(8);
            let Some(mut read) = FullDetector::decode(&mut FieldReader::new(&bytes)) else {
                continue;
            };
            changed += usize::from(encoded(&read) != stored);
            for (time, value) in &samples[2_600..] {
                let judged = read.judge(*time, *value);
                assert!(judged.severity.to_f32() <= 100.0, "{model}, byte {at}");
                assert!(!judged.lower.is_infinite(), "{model}, byte {at}");
            }
        }
        assert!(changed > 10, "{model}: {changed} changed");
    }
}
