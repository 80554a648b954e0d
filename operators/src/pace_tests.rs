use super::*;
use crate::testing::Rng;

/// The beats of samples at these times, in milliseconds.
fn beats(times: impl IntoIterator<Item = i64>) -> (Pace, Vec<Beat>) {
    let mut pace = Pace::new();
    let beat = |millis: i64| pace.observe(EventTime::new(millis * 1_000_000));
    let beats = times.into_iter().map(beat).collect();
    (pace, beats)
}

fn count(beats: &[Beat], of: impl Fn(&Beat) -> bool) -> usize {
    beats.iter().filter(|beat| of(beat)).count()
}

#[test]
fn the_interval_is_near_the_median_of_the_gaps() {
    for seed in 1..=20 {
        let mut rng = Rng::new(seed);
        // Jitter, and one gap in five is of any length.
        let mut gaps: Vec<i64> = Vec::new();
        for _ in 0..2_000 {
            let wild = rng.below(5) == 0;
            let gap = if wild { rng.below(600_000) } else { 9_000 + rng.below(2_000) };
            gaps.push(1 + i64::try_from(gap).unwrap());
        }
        let mut time = 0;
        let (pace, _) = beats(gaps.iter().map(|gap| {
            time += gap;
            time
        }));
        gaps.sort_unstable();
        let median = gaps[1_000] as f32 / 1_000.0;
        let ratio = pace.interval / median;
        assert!((0.8..1.25).contains(&ratio), "SEED={seed}: {} and {median}", pace.interval);
    }
    let (pace, _) = beats((0..50).map(|index| index * 300_000));
    assert!((pace.interval - 300.0).abs() < 1e-3);
}

#[test]
fn another_cadence_is_known_after_a_few_dozen_gaps() {
    let slower = (0..300).map(|i| i * 10_000).chain((1..=37).map(|i| 2_990_000 + i * 60_000));
    let (pace, beats) = beats(slower);
    assert!((pace.interval - 60.0).abs() < 3.0, "{}", pace.interval);
    assert_eq!(count(&beats, |beat| beat.resumes), 0, "six times slower is no pause");
}

#[test]
fn a_step_is_a_sample_or_a_minute() {
    for (millis, samples, steps, stretches) in [
        (1_000, 3_600, 60, 12),
        (10_000, 360, 60, 12),
        (15_000, 240, 60, 12),
        (60_000, 60, 60, 12),
        (300_000, 12, 12, 12),
        (3_600_000, 1, 1, 1),
    ] {
        // Behind the first hours, in which steps grow.
        let (_, beats) = beats((0..10 * samples).map(|index| index * millis));
        let hour = &beats[beats.len() - usize::try_from(samples).unwrap()..];
        assert_eq!(count(hour, |beat| beat.ends_step), steps, "{millis} ms");
        assert_eq!(count(hour, |beat| beat.ends_stretch), stretches, "{millis} ms");
    }
}

#[test]
fn who_begins_learns_of_each_sample_and_of_fewer_as_time_goes_by() {
    let (_, beats) = beats((0..7_200).map(|index| index * 1_000));
    assert_eq!(count(&beats[..80], |beat| beat.ends_step), 80);
    let minute = |from: usize| count(&beats[from..from + 60], |beat| beat.ends_step);
    assert_eq!([minute(600), minute(2_400), minute(4_800)], [8, 2, 1]);
}

#[test]
fn a_pause_and_a_new_time_base_are_quiet_for_eight_samples() {
    let regular = || (0..100).map(|index| index * 60_000);
    for resumed in [99 * 60_000 + 8 * 60_000 + 1, 5, -1_000_000_000] {
        let (_, beats) = beats(regular().chain((0..20).map(|index| resumed + index * 60_000)));
        assert_eq!(count(&beats[..100], |beat| beat.resumes || beat.is_quiet), 0);
        assert!(beats[100].resumes && beats[100].seconds <= 0.0);
        let quiet: Vec<bool> = beats[100..].iter().map(|beat| beat.is_quiet).collect();
        assert!(quiet[..8].iter().all(|quiet| *quiet) && !quiet[8..].contains(&true), "{quiet:?}");
    }
    let (_, beats) = beats(regular().chain([99 * 60_000 + 8 * 60_000]));
    assert!(!beats[100].resumes, "eight intervals are none");
}

#[test]
fn a_quick_series_is_quiet_as_long_as_it_paused_up_to_eight_minutes() {
    for (pause, quiet) in [(9, 9), (100, 100), (479, 479), (100_000, 480)] {
        let before = (0..600).map(|index| index * 1_000);
        let (_, beats) = beats(before.chain((0..600).map(|i| (599 + pause + i) * 1_000)));
        assert_eq!(count(&beats[600..], |beat| beat.is_quiet), quiet, "{pause} s");
    }
}

#[test]
fn times_at_the_ends_of_what_there_is_stay_within_bounds() {
    let (mut pace, mut out) = (Pace::new(), FieldWriter::default());
    for nanos in [i64::MIN + 1, i64::MAX, 0, i64::MIN, i64::MAX, i64::MAX] {
        let beat = pace.observe(EventTime::new(nanos));
        assert!((0.0..=SECONDS_MAX).contains(&beat.seconds), "{beat:?}");
    }
    pace.encode(&mut out);
    let bytes = out.into_bytes();
    assert_eq!(Pace::decode(&mut FieldReader::new(&bytes)), Some(pace));
}
