//! All models over all series of a corpus.

use std::path::Path;
use std::time::Duration;

use tidewatch_env::thread_cpu_time;
use tidewatch_eval::{
    Corpus, CorpusFile, CorpusKind, EvalError, Evaluation, LabelledSeries, Model, Picture,
    Question, Report, score_series,
};
use tidewatch_operators::{Judgement, SeriesDetector};

use crate::cli::error::CliError;
use crate::cli::eval::scores::{write_scores, write_svg};
use crate::cli::progress::Progress;

/// The level that pictures show where no level is best.
const LEVEL_SHOWN: f64 = 4.0;

/// What is judged, and what is left behind.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) kind: CorpusKind,
    pub(super) dir: &'a Path,
    pub(super) models: Vec<Model>,
    pub(super) question: Question,
    pub(super) scores_out: Option<&'a Path>,
    pub(super) plot: Option<&'a Path>,
}

/// Judges each model on the whole corpus; writes scores on the way and pictures afterwards, with the level judged at.
pub(super) fn judge(run: &Run<'_>) -> Result<Vec<Report>, CliError> {
    // Where there is no such clock, that is said before the work.
    let clock = thread_cpu_time().map(|_| || thread_cpu_time().unwrap_or_default());
    let clock = clock.map_err(|source| CliError::Internal {
        action: "asking for CPU time",
        source: source.into(),
    })?;
    let corpus = Corpus::open(run.kind, run.dir).map_err(CliError::input)?;
    let models = run.models.iter();
    let mut evaluations: Vec<_> = models.map(|model| Evaluation::new(run.kind, *model)).collect();
    each(&corpus, "series judged", |file, labelled| {
        judge_series(run, (file, labelled), &mut evaluations, &clock)
    })?;
    let reports: Vec<_> =
        evaluations.iter().map(|evaluation| evaluation.report(run.question)).collect();
    if let Some(dir) = run.plot {
        let levels: Vec<_> = reports.iter().map(|report| report.level).collect();
        each(&corpus, "series drawn", |file, labelled| {
            draw_series(run, dir, (file, labelled), &levels)
        })?;
    }
    Ok(reports)
}

/// Reads one series after the other.
fn each(
    corpus: &Corpus,
    noun: &'static str,
    mut work: impl FnMut(&CorpusFile, &LabelledSeries) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let progress = Progress::count(u64::try_from(corpus.files().len()).unwrap_or(u64::MAX), noun);
    for file in corpus.files() {
        let labelled = corpus.read(file).map_err(|error: EvalError| CliError::input(error))?;
        work(file, &labelled)?;
        progress.advance(1);
    }
    progress.finish();
    Ok(())
}

fn judge_series(
    run: &Run<'_>,
    (file, labelled): (&CorpusFile, &LabelledSeries),
    evaluations: &mut [Evaluation],
    clock: &dyn Fn() -> Duration,
) -> Result<(), CliError> {
    let mut rows: Vec<Judgement> = Vec::new();
    for evaluation in evaluations {
        evaluation.take(labelled, clock, &mut rows);
        if let Some(dir) = run.scores_out {
            let path = run.place(dir, evaluation.model()).join(&file.name);
            write_scores(&path, &labelled.series, &rows)?;
        }
    }
    Ok(())
}

fn draw_series(
    run: &Run<'_>,
    dir: &Path,
    (file, labelled): (&CorpusFile, &LabelledSeries),
    levels: &[Option<f64>],
) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for (model, level) in run.models.iter().zip(levels) {
        score_series(&mut SeriesDetector::new(*model), &labelled.series, &mut rows);
        let title = format!("{} · {}", file.name, model.name());
        let picture = Picture {
            title: &title,
            series: &labelled.series,
            rows: &rows,
            windows: &labelled.windows,
            level: level.unwrap_or(LEVEL_SHOWN),
        };
        let path = run.place(dir, *model).join(&file.name).with_extension("svg");
        write_svg(&path, &picture)?;
    }
    Ok(())
}

impl Run<'_> {
    /// Where a model's files go: with several models, each has a folder.
    fn place(&self, dir: &Path, model: Model) -> std::path::PathBuf {
        if self.models.len() > 1 { dir.join(model.name()) } else { dir.to_owned() }
    }
}
