//! One model on a whole corpus.

use std::time::Duration;

use tidewatch_metrics::Severity;
use tidewatch_operators::{Judgement, Model};

use crate::corpus::{CorpusKind, LabelledSeries};
use crate::effort::Effort;
use crate::kpi::{KpiTally, Measure, average_precision};
use crate::nab::{NabTally, Profile};
use crate::report::Report;
use crate::splits::{Spread, over_halves};

/// The level that dashboards begin with.
const FIXED_LEVEL: f32 = 4.0;

/// What is asked about a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Question {
    /// The level to judge at; none takes the best one.
    pub level: Option<f32>,
    /// Random halves to judge at the level of the other half.
    pub splits: usize,
}

/// One model on a corpus, series by series.
///
/// NAB is judged on onset severities, KPIs on severities.
#[derive(Clone, Debug)]
pub struct Evaluation {
    model: Model,
    effort: Effort,
    parts: Parts,
}

/// What is known of each series.
#[derive(Clone, Debug)]
enum Parts {
    Nab(Vec<NabTally>),
    Kpi { tallies: Vec<KpiTally>, areas: Vec<f64> },
}

impl Evaluation {
    /// Nothing yet.
    #[must_use]
    pub fn new(kind: CorpusKind, model: Model) -> Self {
        let parts = match kind {
            CorpusKind::Nab => Parts::Nab(Vec::new()),
            CorpusKind::Kpi => Parts::Kpi { tallies: Vec::new(), areas: Vec::new() },
        };
        Self { model, effort: Effort::default(), parts }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> Model {
        self.model
    }

    /// Takes the next series; replaces `rows` by what the model says of it.
    ///
    /// `clock` is the time that this thread has run.
    pub fn take(
        &mut self,
        labelled: &LabelledSeries,
        clock: &dyn Fn() -> Duration,
        rows: &mut Vec<Judgement>,
    ) {
        self.effort.run(self.model, &labelled.series, clock, rows);
        match &mut self.parts {
            Parts::Nab(tallies) => {
                let onsets: Vec<Severity> = rows.iter().map(Judgement::onset_severity).collect();
                tallies.push(NabTally::new(&onsets, &labelled.windows));
            }
            Parts::Kpi { tallies, areas } => {
                let severities: Vec<Severity> = rows.iter().map(|row| row.severity).collect();
                tallies.push(KpiTally::new(&severities, &labelled.windows));
                areas.extend(average_precision(&severities, &labelled.windows));
            }
        }
    }

    /// The figures over all series that were taken.
    #[must_use]
    pub fn report(&self, question: Question) -> Report {
        let figures = match &self.parts {
            Parts::Nab(tallies) => nab_figures(tallies, question),
            Parts::Kpi { tallies, areas } => {
                let area = areas.iter().sum::<f64>() / areas.len() as f64;
                let auc_pr = Some(area).filter(|_| !areas.is_empty());
                Report { auc_pr, ..kpi_figures(tallies, question) }
            }
        };
        Report {
            model: self.model.name(),
            samples_per_second_per_core: self.effort.samples_per_second(),
            bytes_per_series: self.effort.bytes_per_series(),
            ..figures
        }
    }
}

fn nab_figures(files: &[NabTally], question: Question) -> Report {
    let all = nab_sum(files, 0..files.len());
    let judged = |profile| match question.level {
        Some(level) => (Some(level), all.at(Some(level), profile)),
        None => all.best(profile),
    };
    let (level, standard) = judged(Profile::STANDARD);
    let split = |chosen_on: &[usize], judged: &[usize]| {
        let sum = |half: &[usize]| nab_sum(files, half.iter().copied());
        let (chosen_on, judged) = (sum(chosen_on), sum(judged));
        (chosen_on.is_labelled() && judged.is_labelled())
            .then(|| judged.at(chosen_on.best(Profile::STANDARD).0, Profile::STANDARD))
    };
    Report {
        standard: Some(standard),
        reward_low_fp_rate: Some(judged(Profile::LOW_FALSE_POSITIVES).1),
        reward_low_fn_rate: Some(judged(Profile::LOW_FALSE_NEGATIVES).1),
        level: level.map(f64::from),
        fixed_level_4: Some(all.at(Some(FIXED_LEVEL), Profile::STANDARD)),
        split_standard: over_halves(files.len(), question.splits, split),
        ..Report::default()
    }
}

fn nab_sum(files: &[NabTally], chosen: impl Iterator<Item = usize>) -> NabTally {
    let mut sum = NabTally::default();
    chosen.for_each(|file| sum.add(&files[file]));
    sum
}

fn kpi_figures(files: &[KpiTally], question: Question) -> Report {
    let all = kpi_sum(files, 0..files.len());
    let judged = |measure| match question.level {
        Some(level) => (Some(level), all.at(Some(level), measure)),
        None => all.best(measure),
    };
    let split = |measure| -> Option<Spread> {
        over_halves(files.len(), question.splits, |chosen_on, judged| {
            let sum = |half: &[usize]| kpi_sum(files, half.iter().copied());
            let (chosen_on, judged) = (sum(chosen_on), sum(judged));
            (chosen_on.is_labelled() && judged.is_labelled())
                .then(|| judged.at(chosen_on.best(measure).0, measure))
        })
    };
    let (level, event_f1) = judged(Measure::Event);
    Report {
        level: level.map(f64::from),
        event_f1: Some(event_f1),
        delay7_f1: Some(judged(Measure::RowsInTime).1),
        delay7_event_f1: Some(judged(Measure::EventInTime).1),
        split_event_f1: split(Measure::Event),
        split_delay7_f1: split(Measure::RowsInTime),
        ..Report::default()
    }
}

fn kpi_sum(files: &[KpiTally], chosen: impl Iterator<Item = usize>) -> KpiTally {
    let mut sum = KpiTally::default();
    chosen.for_each(|file| sum.add(&files[file]));
    sum
}

#[cfg(test)]
#[path = "evaluation_tests.rs"]
mod tests;
