use std::cell::Cell;

use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;
use tidewatch_operators::{Judgement, SeriesDetector};

use super::*;
use crate::scored::score_series;

/// Noise with a spike in the middle of each window, and one outside.
fn labelled(seed: u64) -> LabelledSeries {
    let mut rng = Rng::from_seed(seed);
    let mut labelled = LabelledSeries { windows: vec![400..440, 700..720], ..Default::default() };
    for row in 0..1_000_i64 {
        let spike = match row {
            405 | 702 => 30.0,
            850 => 15.0,
            _ => 0.0,
        };
        let time = EventTime::new(row * 60_000_000_000);
        labelled.series.push(time, 50.0 + rng.unit_f64() + spike, "");
    }
    labelled
}

fn evaluated(kind: CorpusKind, question: Question) -> Report {
    let mut evaluation = Evaluation::new(kind, Model::Light);
    assert_eq!(evaluation.model(), Model::Light);
    let now = Cell::new(0_u64);
    let clock = || {
        now.set(now.get() + 4);
        Duration::from_millis(now.get())
    };
    let mut rows = Vec::new();
    for seed in 0..6 {
        let labelled = labelled(seed);
        evaluation.take(&labelled, &clock, &mut rows);
        let mut again = Vec::new();
        score_series(&mut SeriesDetector::new(Model::Light), &labelled.series, &mut again);
        let steps =
            |rows: &[Judgement]| -> Vec<_> { rows.iter().map(|row| row.severity).collect() };
        assert_eq!(steps(&rows), steps(&again), "each series begins anew");
    }
    evaluation.report(question)
}

#[test]
fn a_corpus_has_its_own_figures_and_none_of_the_other() {
    let nab = evaluated(CorpusKind::Nab, Question::default());
    assert!(nab.standard.is_some_and(|score| score > 80.0), "{nab:?}");
    assert!(nab.reward_low_fp_rate <= nab.standard && nab.level.is_some_and(|level| level > 4.0));
    assert_eq!((nab.event_f1, nab.auc_pr, nab.split_standard), (None, None, None));
    let kpi = evaluated(CorpusKind::Kpi, Question::default());
    assert_eq!(kpi.event_f1, Some(1.0), "{kpi:?}");
    assert_eq!((kpi.delay7_f1, kpi.delay7_event_f1), (Some(1.0), Some(1.0)));
    assert!(kpi.auc_pr.is_some_and(|area| area > 0.05 && area < 0.9), "{kpi:?}");
    assert_eq!((kpi.standard, kpi.fixed_level_4), (None, None));
    assert_eq!(kpi.samples_per_second_per_core, Some(250_000.0));
    assert_eq!(kpi.bytes_per_series, Some(248.0));
}

#[test]
fn a_level_that_is_given_is_judged_instead_of_the_best_one() {
    let best = evaluated(CorpusKind::Nab, Question::default());
    let fixed = evaluated(CorpusKind::Nab, Question { level: Some(4.0), splits: 0 });
    assert_eq!(fixed.level, Some(4.0));
    assert_eq!(fixed.standard, best.fixed_level_4);
    assert!(fixed.standard < best.standard, "{fixed:?} {best:?}");
    let deaf = evaluated(CorpusKind::Kpi, Question { level: Some(900.0), splits: 0 });
    assert_eq!((deaf.event_f1, deaf.delay7_f1), (Some(0.0), Some(0.0)));
}

#[test]
fn halves_are_judged_at_the_level_of_the_other_half() {
    let question = Question { level: None, splits: 20 };
    let kpi = evaluated(CorpusKind::Kpi, question);
    let (event, delay) = (kpi.split_event_f1.unwrap(), kpi.split_delay7_f1.unwrap());
    assert!(event.mean > 0.9 && event.mean <= 1.0 && event.sd < 0.2, "{event:?}");
    assert!(delay.mean > 0.9, "{delay:?}");
    let nab = evaluated(CorpusKind::Nab, question);
    let split = nab.split_standard.unwrap();
    assert!(split.mean <= nab.standard.unwrap() + 1e-9 && split.mean > 60.0, "{split:?} {nab:?}");
    assert_eq!(evaluated(CorpusKind::Nab, question), nab, "the same halves again");
}
