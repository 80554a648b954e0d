//! A shard: the only writer of its slots' operator state and head.

use std::sync::Arc;

use tidewatch_env::Clock;
use tidewatch_metrics::fields::FieldWriter;
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Flags, Lsn, SampleBatch, SeriesCatalog, Slot, UnixNanos};
use tidewatch_operators::{Emitted, Lacking, Pipeline, PipelineConfig, Rows, Run};
use tidewatch_segments::{FrozenHead, Head, Published, RowColumns};
use tracing::warn;

use crate::admission::Permit;
use crate::checkpoint::EncodedSlot;
use crate::deletes::{DeleteRecord, Deletes};
use crate::feeds::Feeds;
use crate::instruments::ShardInstruments;
use crate::letters::Letters;
use crate::locals::Locals;
use crate::outbox::{Fired, Outbox};
use crate::priming::ShardPrimed;
use crate::progress::Progress;
use crate::record::TickRecord;
use crate::windows::{Turn, Windows};

/// Rows of one record that belong to one shard.
#[derive(Debug)]
pub struct ShardRows {
    /// The record.
    pub lsn: Lsn,
    /// When its request was received.
    pub received: UnixNanos,
    /// The rows.
    pub batch: SampleBatch,
    /// Held until the rows are applied and their transitions logged.
    pub permit: Option<Arc<Permit>>,
}

/// What every shard shares with the others.
#[derive(Clone, Debug)]
pub struct ShardShared {
    /// All series.
    pub catalog: Arc<SeriesCatalog>,
    /// What queries may see.
    pub published: Arc<Published>,
    /// How far the log is durable and applied.
    pub progress: Arc<Progress>,
    /// Where transitions go.
    pub outbox: Arc<Outbox>,
    /// For the times that alerts tell; nothing that is put out depends on it.
    pub clock: Arc<dyn Clock>,
    /// Deletes on their way into the manifest.
    pub deletes: Arc<Deletes>,
    /// The windows of percentiles over all shards.
    pub windows: Arc<Windows>,
    /// Dead letters, and what was done with any.
    pub letters: Arc<Letters>,
    /// Copies of rows for topics.
    pub feeds: Arc<Feeds>,
    /// The last record whose rows of a slot are in segments, per slot, when the engine opened.
    pub flushed: Arc<[Lsn; SLOTS]>,
}

/// One shard: state and head of the series in its slots.
#[derive(Debug)]
pub struct Shard {
    index: usize,
    shared: ShardShared,
    locals: Locals,
    pipeline: Pipeline,
    head: Head,
    emitted: Emitted,
    scratch: Vec<u32>,
    flushed_max: Lsn,
    /// The last record of which the shard has heard.
    seen: Lsn,
    /// Series without room for their detectors, as they are shown.
    turned_away: u32,
    /// Series whose detectors lack history, as they are shown.
    lacking: u32,
    instruments: ShardInstruments,
}

impl Shard {
    /// An empty shard that writes `head`.
    #[must_use]
    pub fn new(
        index: usize,
        shared: ShardShared,
        head: Head,
        config: PipelineConfig,
        instruments: ShardInstruments,
    ) -> Self {
        let flushed_max = shared.flushed.iter().copied().max().unwrap_or_default();
        Self {
            index,
            locals: Locals::new(Arc::clone(&shared.catalog)),
            pipeline: Pipeline::new(config),
            head,
            emitted: Emitted::default(),
            scratch: Vec::new(),
            flushed_max,
            seen: Lsn::ZERO,
            turned_away: 0,
            lacking: 0,
            shared,
            instruments,
        }
    }

    /// Takes the rows of one record through the operators and into the head.
    ///
    /// Cannot fail: whatever could be refused was refused before the record was appended.
    pub fn step(&mut self, rows: &ShardRows) {
        let batch = &rows.batch;
        self.seen = rows.lsn;
        self.locals.resolve(batch.series(), &mut self.pipeline, &mut self.scratch);
        self.emitted.clear();
        let run = Run { end: batch.len(), lsn: rows.lsn, received: rows.received };
        let columns = Rows {
            series: &self.scratch,
            times: batch.times(),
            values: batch.values(),
            runs: &[run],
        };
        self.pipeline.apply(&columns, &mut self.emitted);
        self.append(rows.lsn, batch);
        self.shared.feeds.push_scored(self.index, rows.lsn, batch, &self.emitted);
        // ORDER: after the append, so that no reader sees a sample before its severity.
        self.head.publish(rows.lsn);
        self.count(batch);
        self.release(rows.lsn, rows.permit.as_ref());
    }

    /// Log time moves on; what the operators had put out so far is returned where the tick asks.
    pub fn tick(&mut self, lsn: Lsn, tick: TickRecord) -> Option<tidewatch_operators::OutputHash> {
        self.seen = lsn;
        self.emitted.clear();
        self.pipeline.tick(tick.time, &mut self.emitted);
        let counts = self.pipeline.take_counts();
        let of_windows = self.shared.windows.add(lsn, Turn::Tick(tick.time), counts);
        self.emitted.transitions.extend(of_windows);
        self.release(lsn, None);
        tick.hashed.then(|| self.pipeline.output_hash())
    }

    /// The rules of a start come into force.
    pub fn set_rules(&mut self, lsn: Lsn, rules: &crate::dispatch::RulesInForce) {
        self.seen = lsn;
        self.emitted.clear();
        let counts = self.pipeline.take_counts();
        let of_windows = self.shared.windows.add(lsn, Turn::Rules(rules.clone()), counts);
        self.pipeline.set_alerts_max_age(rules.alerts_max_age_nanos);
        self.pipeline.set_rules(Arc::clone(&rules.rules), rules.received, &mut self.emitted);
        self.emitted.transitions.extend(of_windows);
        self.show_detectors();
        self.release(lsn, None);
    }

    /// Rows of earlier records are to be hidden; the head is to be frozen before the next one.
    pub fn delete(&mut self, lsn: Lsn, delete: &DeleteRecord) {
        self.seen = lsn;
        self.shared.deletes.note(lsn, delete);
    }

    /// Detectors have learnt from stored rows.
    pub fn prime(&mut self, primed: &ShardPrimed) {
        self.seen = primed.lsn;
        for primed in &primed.states {
            if let Some(local) = self.locals.get(primed.series) {
                self.pipeline.prime(local, &primed.state);
            }
        }
        self.show_detectors();
    }

    /// The series whose detectors began although there were rows of them before.
    #[must_use]
    pub fn lacking_history(&self) -> Vec<Lacking> {
        self.pipeline.lacking_history()
    }

    /// Every record up to `lsn` has been applied.
    pub fn advance(&mut self, lsn: Lsn) {
        self.seen = lsn;
        self.head.publish(lsn);
        self.head.forget_marks_below(self.shared.progress.durable());
        self.shared.progress.set_deadline(self.index, self.pipeline.next_deadline());
        self.shared.progress.set_applied(self.index, lsn);
    }

    /// The state of a slot as it is now, between two records.
    pub(crate) fn encode_slot(&self, slot: Slot) -> EncodedSlot {
        let mut state = FieldWriter::default();
        let summary = self.pipeline.encode_slot(slot, &mut state);
        EncodedSlot { lsn: self.seen, state: state.into_bytes(), summary }
    }

    /// Takes the state of a slot from a checkpoint, before any record; the rules of that state must be
    /// in force. `false` where the bytes are no state: the shard must be [forgotten](Self::forget) then.
    pub(crate) fn restore_slot(&mut self, slot: Slot, state: &[u8]) -> bool {
        let restored = self.locals.restore_slot(&mut self.pipeline, slot, state);
        self.show_detectors();
        restored
    }

    /// The rows of records up to this one are in windows that were taken from a checkpoint.
    pub(crate) fn set_counted(&mut self, upto: Lsn) {
        self.pipeline.set_counted(upto);
    }

    /// Forgets all that was restored.
    pub(crate) fn forget(&mut self) {
        self.locals = Locals::new(Arc::clone(&self.shared.catalog));
        self.pipeline = Pipeline::new(PipelineConfig::default());
        self.show_detectors();
    }

    /// Which shard it is.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Rows in the head.
    #[must_use]
    pub fn head_rows(&self) -> usize {
        self.head.rows()
    }

    /// Takes the head's rows for a flush; readers go on seeing them.
    pub fn freeze(&mut self) -> Option<Arc<FrozenHead>> {
        self.shared.published.freeze(self.index, &mut self.head)
    }

    /// Hash of all operator state: equal for equal logs, whatever the number of shards.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.pipeline.state_hash()
    }

    /// Hash of all that the operators put out.
    #[must_use]
    pub fn output_hash(&self) -> tidewatch_operators::OutputHash {
        self.pipeline.output_hash()
    }

    fn append(&mut self, lsn: Lsn, batch: &SampleBatch) {
        let columns = RowColumns {
            series: batch.series(),
            times: batch.times(),
            values: batch.values(),
            severities: &self.emitted.severities,
            flags: &self.emitted.flags,
        };
        if lsn > self.flushed_max {
            self.head.append(&columns);
        } else {
            append_unflushed(&mut self.head, &self.shared, lsn, &columns);
        }
    }

    fn count(&mut self, batch: &SampleBatch) {
        self.show_detectors();
        let late = self.emitted.flags.iter().filter(|flags| flags.is_late()).count();
        self.instruments.samples_applied.inc_by(u64::try_from(batch.len()).unwrap_or(u64::MAX));
        self.instruments.samples_late.inc_by(u64::try_from(late).unwrap_or(u64::MAX));
        let onsets = self.emitted.flags.iter().filter(|flags| Flags::is_onset(**flags)).count();
        self.instruments.onsets.inc_by(u64::try_from(onsets).unwrap_or(u64::MAX));
    }

    fn show_detectors(&mut self) {
        let (before, now) = (self.lacking, self.pipeline.lacking());
        if before != now {
            self.lacking = now;
            self.instruments.priming.to_prime.inc_by(i64::from(now) - i64::from(before));
        }
        let (before, now) = (self.turned_away, self.pipeline.turned_away());
        if before == now {
            return;
        }
        self.turned_away = now;
        let others = self.instruments.turned_away.inc_by(i64::from(now) - i64::from(before));
        if others == 0 {
            warn!(
                "no memory is left for further full detectors: series have the light one instead of that of their \
                 [[detect]], as tidewatch.series.tier tells; raise limits.memory_bytes_max or match fewer series"
            );
        }
    }

    fn release(&mut self, cause: Lsn, permit: Option<&Arc<Permit>>) {
        if self.emitted.transitions.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        let fired = self.emitted.transitions.drain(..).map(|transition| Fired {
            transition,
            cause,
            scored: now,
            fired: now,
            permit: permit.cloned(),
        });
        self.shared.outbox.push_fired(fired);
    }
}

/// Replay of what segments may hold already: only rows of slots that were not flushed so far.
fn append_unflushed(head: &mut Head, shared: &ShardShared, lsn: Lsn, columns: &RowColumns<'_>) {
    for (row, series) in columns.series.iter().enumerate() {
        let entry = shared.catalog.get(*series).expect("applied rows are registered");
        if lsn > shared.flushed[usize::from(entry.id.slot().0)] {
            let one = row..row + 1;
            head.append(&RowColumns {
                series: &columns.series[one.clone()],
                times: &columns.times[one.clone()],
                values: &columns.values[one.clone()],
                severities: &columns.severities[one.clone()],
                flags: &columns.flags[one],
            });
        }
    }
}

#[cfg(test)]
#[path = "detection_tests.rs"]
mod detection_tests;
#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
