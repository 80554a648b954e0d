use tidewatch_env::Rng;

use super::*;

const PROFILES: [Profile; 3] =
    [Profile::STANDARD, Profile::LOW_FALSE_POSITIVES, Profile::LOW_FALSE_NEGATIVES];

/// One file: onset severities and windows.
type File = (Vec<Severity>, Vec<Range<usize>>);

/// Mostly zeros, often equal; windows also within the rows that do not count, of one row, and side by side.
fn file(rng: &mut Rng) -> File {
    let rows = 20 + usize::try_from(rng.below(200)).unwrap();
    let steps = [0, 0, 0, 0, 64, 65, 300, 301, 302, 6_400];
    let onset = |rng: &mut Rng| steps[usize::try_from(rng.below(10)).unwrap()];
    let onsets = (0..rows).map(|_| Severity::from_steps(onset(rng))).collect();
    let (mut windows, mut behind) = (Vec::new(), 0);
    for _ in 0..rng.below(4) {
        let start = behind + usize::try_from(rng.below(40)).unwrap();
        let end = start + 1 + usize::try_from(rng.below(20)).unwrap();
        if end > rows {
            break;
        }
        windows.push(start..end);
        behind = end;
    }
    (onsets, windows)
}

/// The benchmark's words, one alarm and one window after the other, at one level.
fn naive(files: &[File], level: f32, profile: Profile) -> (f64, f64) {
    let (mut raw, mut silence, mut perfect) = (0.0, 0.0, 0.0);
    for (onsets, windows) in files {
        let probation = (0.15 * onsets.len() as f64).floor().min(750.0);
        let alarm = |row: usize| row as f64 >= probation && onsets[row].to_f32() >= level;
        for window in windows {
            perfect += 1.0;
            if window.clone().all(|row| (row as f64) < probation) {
                continue;
            }
            silence -= profile.missed;
            let width = window.len() as f64;
            let worth = window.clone().filter(|row| alarm(*row)).map(|row| {
                let x = -((window.end - row) as f64) / width;
                (2.0 / (1.0 + (5.0 * x).exp()) - 1.0) / (2.0 / (1.0 + (-5.0_f64).exp()) - 1.0)
            });
            raw += worth.fold(-profile.missed, f64::max);
        }
        for row in (0..onsets.len()).filter(|row| alarm(*row)) {
            if windows.iter().any(|window| window.contains(&row)) {
                continue;
            }
            let before = windows.iter().rfind(|window| window.end <= row);
            let worth = before.map_or(-1.0, |window| {
                let width = window.len() as f64 - 1.0;
                let x = (row as f64 - (window.end as f64 - 1.0)) / width;
                if x > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * x).exp()) - 1.0 }
            });
            raw += profile.false_alarm * worth;
        }
    }
    (raw, if perfect > silence { 100.0 * (raw - silence) / (perfect - silence) } else { 0.0 })
}

fn tally(files: &[File]) -> NabTally {
    let mut sum = NabTally::default();
    for (onsets, windows) in files {
        sum.add(&NabTally::new(onsets, windows));
    }
    sum
}

#[test]
fn every_level_has_the_score_that_counting_alarm_by_alarm_gives() {
    let mut rng = Rng::from_seed(1);
    for case in 0..60 {
        let files: Vec<File> = (0..1 + case % 5).map(|_| file(&mut rng)).collect();
        let tally = tally(&files);
        for (profile, steps) in
            PROFILES.iter().flat_map(|p| [0, 1, 64, 65, 66, 300, 302, 6_401].map(|s| (*p, s)))
        {
            let level = Severity::from_steps(steps).to_f32();
            let (told, expected) =
                (tally.at(Some(level), profile), naive(&files, level, profile).1);
            assert!(
                (told - expected).abs() < 1e-9,
                "case {case}, level {level}: {told} {expected}"
            );
        }
        for profile in PROFILES {
            // Silence is at no level; of equal levels the highest one counts.
            let mut candidates: Vec<_> = files.iter().flat_map(|(onsets, _)| onsets).collect();
            candidates.sort_unstable();
            let raw = |level: f32| naive(&files, level, profile).0;
            let levels = candidates.iter().rev().map(|severity| severity.to_f32());
            let expected = levels.fold(None, |best, level| match best {
                Some((_, before)) if raw(level) <= before + 1e-9 => best,
                Some(_) | None => Some((level, raw(level))),
            });
            let expected = expected.filter(|(_, raw_best)| *raw_best >= raw(f32::INFINITY));
            let (level, score) = tally.best(profile);
            assert_eq!(level, expected.map(|(level, _)| level), "case {case}, {profile:?}");
            let expected = naive(&files, level.unwrap_or(f32::INFINITY), profile).1;
            assert!((score - expected).abs() < 1e-9, "case {case}: {score} {expected}");
        }
    }
}

#[test]
fn an_alarm_in_the_first_row_of_every_window_is_perfect() {
    let mut onsets = vec![Severity::ZERO; 400];
    onsets[100] = Severity::from_f32(9.0);
    onsets[300] = Severity::from_f32(8.0);
    let tally = tally(&[(onsets, vec![100..150, 300..340])]);
    for profile in PROFILES {
        let (level, score) = tally.best(profile);
        assert!((score - 100.0).abs() < 1e-9, "{score}");
        assert_eq!(level, Some(8.0));
        assert!(tally.at(None, profile).abs() < 1e-9, "silence");
    }
}

#[test]
fn where_every_alarm_is_false_silence_is_best() {
    let mut onsets = vec![Severity::ZERO; 100];
    onsets[50] = Severity::from_f32(9.0);
    let tally = tally(&[(onsets, Vec::new())]);
    assert_eq!(tally.best(Profile::STANDARD), (None, 0.0));
    assert!(!tally.is_labelled());
    assert_eq!(NabTally::default().best(Profile::STANDARD), (None, 0.0));
}

#[test]
fn rows_that_only_teach_are_a_share_of_short_files_and_a_number_of_long_ones() {
    let counted = [0, 6, 7, 100, 4_032, 5_000, 22_695].map(probation_rows);
    assert_eq!(counted, [0, 0, 1, 15, 604, 750, 750]);
}
