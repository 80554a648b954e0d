//! One model on a whole corpus.

use std::time::Duration;

use tidewatch_operators::{Judgement, Model};

use crate::corpus::{CorpusKind, LabelledSeries};
use crate::effort::Effort;
use crate::judge::{Judge, Question};
use crate::report::Report;

/// One model on a corpus, series by series.
#[derive(Clone, Debug)]
pub struct Evaluation {
    model: Model,
    effort: Effort,
    judge: Judge,
}

impl Evaluation {
    /// Nothing yet.
    #[must_use]
    pub fn new(kind: CorpusKind, model: Model) -> Self {
        Self { model, effort: Effort::default(), judge: Judge::new(kind) }
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
        self.judge.take(labelled, rows);
    }

    /// The figures over all series that were taken.
    #[must_use]
    pub fn report(&self, question: Question) -> Report {
        Report {
            model: self.model.name(),
            samples_per_second_per_core: self.effort.samples_per_second(),
            bytes_per_series: self.effort.bytes_per_series(),
            ..self.judge.report(question)
        }
    }
}

#[cfg(test)]
#[path = "evaluation_tests.rs"]
mod tests;
