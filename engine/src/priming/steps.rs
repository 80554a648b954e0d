//! The steps of priming. Not a thread: each call is one of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, SeriesCatalog};
use tidewatch_operators::{Lacking, Primer, RuleSet};
use tidewatch_segments::{MetricName, Published, SegmentsError, Snapshot};
use tracing::warn;

use crate::chain;
use crate::committer::Append;
use crate::compactor::Suspects;
use crate::config::EngineConfig;
use crate::dispatch::shard_of;
use crate::ingest::Done;
use crate::limits::{PRIMED_BYTES_MAX, PRIMED_SERIES_MAX, PRIMING_SERIES_MAX};
use crate::priming::history::{Batch, GivenUp, Learner, Reading};
use crate::priming::record::{PrimedParts, PrimedRecord, PrimedState};
use crate::progress::Progress;
use crate::record::KIND_PRIMED;
use crate::shard::ShardShared;

/// How far back rows teach, before the last one of their series: as long as a full detector remembers at five minutes.
const HISTORY_NANOS: i64 = 28 * 86_400 * NANOS_PER_SECOND;
/// Time for the shards to come to where the log is durable.
const SNAPSHOT_MAX: Duration = Duration::from_secs(1);

/// What is left to do, and how.
#[derive(Debug)]
pub(crate) struct Priming {
    rules: Arc<RuleSet>,
    catalog: Arc<SeriesCatalog>,
    published: Arc<Published>,
    progress: Arc<Progress>,
    suspects: Arc<Suspects>,
    shards: usize,
    bytes_max: usize,
    /// The last one comes next.
    waiting: Vec<Waiting>,
}

/// A series that waits.
#[derive(Debug)]
struct Waiting {
    lacking: Lacking,
    metric: Arc<MetricName>,
}

impl Priming {
    /// Primes the detectors of an engine under the rules of its start.
    pub(crate) fn new(
        config: &EngineConfig,
        shared: &ShardShared,
        suspects: &Arc<Suspects>,
    ) -> Self {
        Self {
            rules: Arc::clone(&config.rules),
            catalog: Arc::clone(&shared.catalog),
            published: Arc::clone(&shared.published),
            progress: Arc::clone(&shared.progress),
            suspects: Arc::clone(suspects),
            shards: config.shards,
            bytes_max: config.priming_bytes_max,
            waiting: Vec::new(),
        }
    }

    /// Takes the series of all shards that lack history. They come in the order of a segment: so the series of a batch are
    /// neighbours in every file, and hardly a row group is read twice.
    pub(crate) fn begin(&mut self, mut lacking: Vec<Lacking>) {
        lacking.sort_unstable();
        self.waiting.clear();
        self.catalog.visit_metrics(|db, metric, series| {
            let found = series.iter().filter_map(|series| {
                let found = lacking.binary_search_by_key(series, |lacking| lacking.series).ok()?;
                Some(lacking[found])
            });
            let mut found = found.peekable();
            if found.peek().is_some() {
                let name = MetricName { db: db.to_owned(), metric: metric.to_owned() };
                let metric = Arc::new(name);
                let waiting = |lacking| Waiting { lacking, metric: Arc::clone(&metric) };
                self.waiting.extend(found.map(waiting));
            }
        });
        self.waiting.reverse();
    }

    /// The series that come next; `None` after the last ones.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        while batch.learners.len() < PRIMING_SERIES_MAX {
            let Some(Waiting { lacking, metric }) = self.waiting.pop() else { break };
            let Lacking { series, last_time } = lacking;
            let detection =
                self.catalog.get(series).map(|entry| self.rules.detection(&entry.key()));
            let Some(detection) = detection else { continue };
            let Some(primer) = Primer::new(&detection) else { continue };
            let takes = Primer::bytes_max(detection.model) + size_of::<Learner>();
            if !batch.learners.is_empty() && bytes + takes > self.bytes_max {
                self.waiting.push(Waiting { lacking, metric });
                break;
            }
            bytes += takes;
            let first = EventTime::new(last_time.nanos().saturating_sub(HISTORY_NANOS));
            batch.push((series, &metric), primer, first..=last_time);
        }
        batch.sort();
        (!batch.learners.is_empty()).then_some(batch)
    }

    /// Teaches the batch what is stored, and durable, and not taught yet. `pace` is told how many rows have taught since its
    /// last call, and ends the step with `false`. Returns whether it came to its end.
    pub(crate) fn teach(&self, batch: &mut Batch, pace: &mut dyn FnMut(u64) -> bool) -> bool {
        let Some(snapshot) = self.snapshot(pace) else { return false };
        let suspects = &self.suspects;
        let mut unread = |file: &Path, error: &SegmentsError| {
            warn!(
                file = %file.display(), error = %chain(error),
                "detectors do not learn from a segment, for it cannot be read"
            );
            if matches!(error, SegmentsError::Corrupt { .. }) {
                suspects.add(file);
            }
        };
        let mut reading = Reading { snapshot: &snapshot, pace, unread: &mut unread };
        batch.read(&mut reading) != Err(GivenUp)
    }

    /// Goes on to where the series are by now: `lacking` are all that lack history.
    pub(crate) fn go_on(batch: &mut Batch, lacking: &[Lacking]) {
        for lacking in lacking {
            if let Some(learner) = batch.find(lacking.series) {
                let learner = &mut batch.learners[learner];
                learner.times = *learner.times.start()..=lacking.last_time;
            }
        }
    }

    /// The record of the learners from number `from` on, how many they are, and what the log and the shards need of it;
    /// `None` behind the last one.
    pub(crate) fn record(&self, batch: &Batch, from: usize, done: Done) -> Option<(usize, Append)> {
        let mut record = PrimedRecord::default();
        let mut bytes = 0;
        for learner in batch.learners.iter().skip(from).take(PRIMED_SERIES_MAX) {
            let state = learner.primer.encode();
            bytes += state.len();
            if !record.states.is_empty() && bytes > PRIMED_BYTES_MAX {
                break;
            }
            record.states.push(PrimedState { series: learner.series, state });
        }
        let series = record.states.len();
        if series == 0 {
            return None;
        }
        let payload = record.encode();
        let shards = (0..self.shards).map(|_| Vec::new()).collect();
        let mut parts = PrimedParts { shards };
        for state in record.states {
            let entry = self.catalog.get(state.series).expect("a series is never forgotten");
            parts.shards[shard_of(entry.id.slot(), self.shards)].push(state);
        }
        let primed = Some(Box::new(parts));
        Some((series, Append { primed, ..Append::note(KIND_PRIMED, payload, done) }))
    }

    fn snapshot(&self, pace: &mut dyn FnMut(u64) -> bool) -> Option<Snapshot> {
        loop {
            let fence = self.progress.durable();
            if self.progress.wait_visible(fence, SNAPSHOT_MAX) {
                // Under a flood of small records the marks of this fence may be gone: a later one will do.
                if let Some(snapshot) = self.published.snapshot(fence) {
                    return Some(snapshot);
                }
            }
            if !pace(0) {
                return None;
            }
        }
    }
}

#[cfg(test)]
#[path = "priming_tests.rs"]
mod tests;
