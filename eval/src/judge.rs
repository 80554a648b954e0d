//! What was said of a whole corpus, and how good that is.

use tidewatch_metrics::Severity;
use tidewatch_operators::Judgement;

use crate::corpus::{CorpusKind, LabelledSeries};
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

/// What some detector says of a corpus, series by series, whoever it is.
///
/// NAB is judged on onset severities, KPIs on severities.
#[derive(Clone, Debug)]
pub struct Judge {
    parts: Parts,
}

/// What is known of each series.
#[derive(Clone, Debug)]
enum Parts {
    Nab(Vec<NabTally>),
    Kpi { tallies: Vec<KpiTally>, areas: Vec<f64> },
}

impl Judge {
    /// Nothing yet.
    #[must_use]
    pub fn new(kind: CorpusKind) -> Self {
        let parts = match kind {
            CorpusKind::Nab => Parts::Nab(Vec::new()),
            CorpusKind::Kpi => Parts::Kpi { tallies: Vec::new(), areas: Vec::new() },
        };
        Self { parts }
    }

    /// Takes the next series, and what was said of each of its rows.
    ///
    /// # Panics
    /// If there are not as many of these as the series has rows.
    pub fn take(&mut self, labelled: &LabelledSeries, rows: &[Judgement]) {
        assert_eq!(rows.len(), labelled.series.len(), "a row for a row");
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

    /// The figures over all series that were taken, without a name and without costs.
    #[must_use]
    pub fn report(&self, question: Question) -> Report {
        match &self.parts {
            Parts::Nab(tallies) => nab_figures(tallies, question),
            Parts::Kpi { tallies, areas } => {
                let area = areas.iter().sum::<f64>() / areas.len() as f64;
                let auc_pr = Some(area).filter(|_| !areas.is_empty());
                Report { auc_pr, ..kpi_figures(tallies, question) }
            }
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
mod tests {
    use tidewatch_metrics::{EventTime, Flags};

    use super::*;

    #[test]
    fn whoever_says_it_an_alarm_in_the_first_row_of_each_window_is_best() {
        let mut labelled =
            LabelledSeries { windows: vec![400..440, 700..720], ..Default::default() };
        let mut rows = Vec::new();
        for row in 0..1_000_i64 {
            labelled.series.push(EventTime::new(row * 60_000_000_000), 1.0, "");
            let severity = Severity::from_f32(if matches!(row, 400 | 700) { 5.0 } else { 0.0 });
            rows.push(Judgement { severity, flags: Flags::ONSET, ..Judgement::NOT_SCORED });
        }
        let judged = |kind| {
            let mut judge = Judge::new(kind);
            judge.take(&labelled, &rows);
            judge.report(Question::default())
        };
        let (nab, kpi) = (judged(CorpusKind::Nab), judged(CorpusKind::Kpi));
        assert_eq!(
            [nab.standard, nab.fixed_level_4, nab.level],
            [Some(100.0), Some(100.0), Some(5.0)]
        );
        assert_eq!([kpi.event_f1, kpi.delay7_f1, kpi.level], [Some(1.0), Some(1.0), Some(5.0)]);
        assert_eq!((nab.model, nab.bytes_per_series), ("", None));
    }
}
