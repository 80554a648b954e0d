use tidewatch_env::Rng;

use super::*;

/// One file: severities, and which rows are labelled.
type File = (Vec<Severity>, Vec<bool>);

fn file(rng: &mut Rng) -> File {
    let rows = 1 + usize::try_from(rng.below(300)).unwrap();
    let steps = [0, 0, 0, 0, 0, 0, 40, 41, 200, 900];
    let severity =
        |rng: &mut Rng| Severity::from_steps(steps[usize::try_from(rng.below(10)).unwrap()]);
    let mut labelled = rng.below(3) == 0;
    let mut labels = Vec::new();
    let severities = (0..rows).map(|_| {
        let turns = if labelled { rng.below(12) == 0 } else { rng.below(60) == 0 };
        labelled ^= turns;
        labels.push(labelled);
        severity(rng)
    });
    let severities = severities.collect();
    (severities, labels)
}

fn windows(labels: &[bool]) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    for row in (0..labels.len()).filter(|row| labels[*row]) {
        if row > 0 && labels[row - 1] {
            windows.last_mut().unwrap().end = row + 1;
        } else {
            windows.push(row..row + 1);
        }
    }
    windows
}

/// Row by row at one level: right, wrong and missed.
fn naive(files: &[File], level: f32, measure: Measure) -> f64 {
    let (mut right, mut wrong, mut missed) = (0_usize, 0_usize, 0_usize);
    for (severities, labels) in files {
        let alarm = |row: usize| severities[row].to_f32() >= level;
        let mut row = 0;
        while row < labels.len() {
            let begin = row;
            while row < labels.len() && labels[row] == labels[begin] {
                row += 1;
            }
            if labels[begin] {
                let until = if measure == Measure::Event { row } else { row.min(begin + 8) };
                let worth = if measure == Measure::RowsInTime { row - begin } else { 1 };
                let hit = (begin..until).any(alarm);
                *(if hit { &mut right } else { &mut missed }) += worth;
            } else if measure == Measure::RowsInTime {
                wrong += (begin..row).filter(|row| alarm(*row)).count();
            } else {
                let buckets = (begin..row).step_by(30);
                wrong += buckets.filter(|at| (*at..row.min(at + 30)).any(alarm)).count();
            }
        }
    }
    if right == 0 {
        return 0.0;
    }
    let precision = right as f64 / (right + wrong) as f64;
    let recall = right as f64 / (right + missed) as f64;
    2.0 * precision * recall / (precision + recall)
}

fn tally(files: &[File]) -> KpiTally {
    let mut sum = KpiTally::default();
    for (severities, labels) in files {
        sum.add(&KpiTally::new(severities, &windows(labels)));
    }
    sum
}

#[test]
fn every_level_has_the_f1_that_counting_row_by_row_gives() {
    let mut rng = Rng::from_seed(2);
    for case in 0..80 {
        let files: Vec<File> = (0..1 + case % 4).map(|_| file(&mut rng)).collect();
        let tally = tally(&files);
        for measure in [Measure::Event, Measure::EventInTime, Measure::RowsInTime] {
            let mut expected = (None, 0.0);
            for steps in [5_000, 900, 201, 200, 42, 41, 40, 1] {
                let level = Severity::from_steps(steps).to_f32();
                let (told, f1) = (tally.at(Some(level), measure), naive(&files, level, measure));
                assert!((told - f1).abs() < 1e-12, "case {case}, level {level}: {told} {f1}");
                if f1 > expected.1 + 1e-12 && [900, 200, 41, 40].contains(&steps) {
                    expected = (Some(level), f1);
                }
            }
            let (level, f1) = tally.best(measure);
            assert!((f1 - expected.1).abs() < 1e-12, "case {case}: {f1} {expected:?}");
            assert!((naive(&files, level.unwrap_or(1e9), measure) - f1).abs() < 1e-12);
            assert_eq!(level.is_some(), expected.0.is_some());
            assert!((tally.at(Some(0.0), measure) - tally.at(Some(0.01), measure)).abs() < 1e-12);
            assert!(tally.at(None, measure).abs() < 1e-12, "silence finds nothing");
        }
    }
}

#[test]
fn an_alarm_is_in_time_up_to_seven_rows_behind_the_first_one() {
    let found = |at: usize| {
        let mut severities = vec![Severity::ZERO; 60];
        severities[at] = Severity::from_f32(6.0);
        let mut labels = vec![false; 60];
        labels[20..40].fill(true);
        let tally = tally(&[(severities, labels)]);
        let f1 =
            [Measure::Event, Measure::EventInTime, Measure::RowsInTime].map(|m| tally.best(m).1);
        f1.map(|f1| f1 > 0.999)
    };
    assert_eq!(found(27), [true, true, true]);
    assert_eq!(found(28), [true, false, false]);
    assert_eq!(found(40), [false, false, false]);
}

/// The definition: each labelled row gives the precision of all rows that are at least so severe.
fn naive_area((severities, labels): &File) -> Option<f64> {
    let wanted = labels.iter().filter(|labelled| **labelled).count();
    let precision = |level: Severity| {
        let alarms = || (0..labels.len()).filter(|row| severities[*row] >= level);
        alarms().filter(|row| labels[*row]).count() as f64 / alarms().count() as f64
    };
    let rows = (0..labels.len()).filter(|row| labels[*row]);
    let sum: f64 = rows.map(|row| precision(severities[row])).sum();
    (wanted > 0).then(|| sum / wanted as f64)
}

#[test]
fn the_area_is_the_mean_precision_at_the_labelled_rows() {
    let mut rng = Rng::from_seed(3);
    let (mut with, mut without) = (0, 0);
    for case in 0..200 {
        let file = file(&mut rng);
        let (told, expected) = (average_precision(&file.0, &windows(&file.1)), naive_area(&file));
        match (told, expected) {
            (Some(told), Some(expected)) => {
                assert!((told - expected).abs() < 1e-12, "case {case}: {told} {expected}");
                with += 1;
            }
            (None, None) => without += 1,
            other => panic!("case {case}: {other:?}"),
        }
    }
    assert!(with > 50 && without > 5, "{with} {without}");
}
