//! All models and peers over a corpus.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tidewatch_env::thread_cpu_time;
use tidewatch_eval::{
    Corpus, CorpusKind, Evaluation, Judge, LabelledSeries, Model, Question, Report, Series,
};
use tidewatch_metrics::Severity;
use tidewatch_operators::Judgement;

use crate::onset::Onset;
use crate::peer::Peer;
use crate::severity_map::Map;
use crate::table::{Row, of_corpus};
use crate::{HEAP, changepoints, is_wanted};

/// Ours that are compared.
pub(crate) const MODELS: [Model; 4] = [Model::Light, Model::Novelty, Model::Deviation, Model::Auto];

/// One peer on a corpus; its scores are judged by each map.
struct PeerRun {
    peer: Peer,
    judges: Vec<(Map, Judge)>,
    samples: u64,
    time: Duration,
    series: u32,
    bytes: u64,
}

/// The figures of everyone who is wanted.
pub(crate) fn table(kind: CorpusKind, dir: &Path, only: &[&str]) -> Result<String, Box<dyn Error>> {
    let corpus = Corpus::open(kind, dir)?;
    let models = MODELS.into_iter().filter(|model| is_wanted(model.name(), only));
    let mut evaluations: Vec<_> = models.map(|model| Evaluation::new(kind, model)).collect();
    let peers = Peer::ALL.into_iter().filter(|peer| is_wanted(&peer.name(), only));
    let mut runs: Vec<_> = peers.map(|peer| PeerRun::new(kind, peer)).collect();
    let clock = || thread_cpu_time().unwrap_or_default();
    let mut rows = Vec::new();
    for file in corpus.files() {
        let labelled = corpus.read(file)?;
        for evaluation in &mut evaluations {
            evaluation.take(&labelled, &clock, &mut rows);
        }
        for run in &mut runs {
            run.take(&labelled)?;
        }
    }
    let ours = evaluations.iter().map(|evaluation| Row {
        name: format!("`{}`", evaluation.model()),
        report: evaluation.report(Question::default()),
        has_levels: true,
    });
    Ok(of_corpus(kind, &ours.chain(runs.iter().flat_map(PeerRun::rows)).collect::<Vec<_>>()))
}

impl PeerRun {
    fn new(kind: CorpusKind, peer: Peer) -> Self {
        let maps = match peer {
            Peer::CutForest { .. } => &[Map::Fixed, Map::Tail][..],
            // The isolation forest begins with scores of 1, which nothing comes near once its window is full; a change is one
            // or is none.
            Peer::IsolationForest | Peer::Changepoints => &[Map::Fixed][..],
        };
        let judges = maps.iter().map(|map| (*map, Judge::new(kind))).collect();
        Self { peer, judges, samples: 0, time: Duration::ZERO, series: 0, bytes: 0 }
    }

    /// Takes the next series: rows that our detectors refuse never reach the peer either.
    fn take(&mut self, labelled: &LabelledSeries) -> Result<(), Box<dyn Error>> {
        let accepted = accepted(&labelled.series);
        let values: Vec<f64> = accepted.iter().map(|row| labelled.series.values()[*row]).collect();
        let scores = self.scores(&values)?;
        for (map, judge) in &mut self.judges {
            let mut severities = vec![Severity::ZERO; labelled.series.len()];
            for (row, severity) in accepted.iter().zip(map.severities(&scores)) {
                severities[*row] = severity;
            }
            let mut onset = Onset::default();
            let rows: Vec<Judgement> = severities.into_iter().map(|it| onset.judge(it)).collect();
            judge.take(labelled, &rows);
        }
        Ok(())
    }

    /// What the peer says of each value, with the time and the room that it takes.
    fn scores(&mut self, values: &[f64]) -> Result<Vec<f64>, Box<dyn Error>> {
        let mut scores = Vec::with_capacity(values.len());
        let held_before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let begin = thread_cpu_time()?;
        let bytes = match self.peer {
            Peer::Changepoints => {
                scores = changepoints::scores(values);
                HEAP.peak_usage().saturating_sub(held_before)
            }
            Peer::CutForest { .. } | Peer::IsolationForest => {
                let mut online = self.peer.online()?.ok_or("forests are online")?;
                for value in values {
                    scores.push(online.score(*value)?);
                }
                HEAP.current_usage().saturating_sub(held_before)
            }
        };
        self.time += thread_cpu_time()?.saturating_sub(begin);
        self.samples += u64::try_from(values.len())?;
        self.series += 1;
        self.bytes += u64::try_from(bytes)?;
        Ok(scores)
    }

    fn rows(&self) -> Vec<Row> {
        let seconds = self.time.as_secs_f64();
        let row = |(map, judge): &(Map, Judge)| Row {
            name: self.peer.name() + if *map == Map::Tail { ", our tail" } else { "" },
            report: Report {
                samples_per_second_per_core: Some(self.samples as f64 / seconds),
                bytes_per_series: Some(self.bytes as f64 / f64::from(self.series)),
                ..judge.report(Question::default())
            },
            has_levels: *map == Map::Tail,
        };
        self.judges.iter().map(row).collect()
    }
}

/// Rows with a finite value that are later than all before them.
fn accepted(series: &Series) -> Vec<usize> {
    let mut last = None;
    let rows = series.times().iter().zip(series.values()).enumerate();
    let accepted = rows.filter(|(_, (time, value))| {
        let is_later = last.is_none_or(|last| **time > last);
        if is_later {
            last = Some(**time);
        }
        is_later && value.is_finite()
    });
    accepted.map(|(row, _)| row).collect()
}
