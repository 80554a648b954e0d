//! Replay without a head: operators alone, with the rows cut anew if asked.

use std::sync::Arc;

use tidewatch_env::Rng;
use tidewatch_metrics::fields::FieldWriter;
use tidewatch_metrics::{
    EventTime, Flags, Lsn, SeriesCatalog, SeriesRef, Severity, Slot, Transition,
};
use tidewatch_operators::{
    Counts, Emitted, OutputHash, Pipeline, PipelineConfig, Rows, Run, SlotSummary,
};

use crate::dispatch::RulesInForce;
use crate::locals::Locals;
use crate::priming::ShardPrimed;
use crate::record::TickRecord;
use crate::shard::ShardRows;

/// Rows that are put together at most before they are cut again.
const PENDING_ROWS_MAX: usize = 20_000;

/// What replay put out for one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoredRow {
    pub(crate) lsn: Lsn,
    pub(crate) series: SeriesRef,
    pub(crate) time: EventTime,
    pub(crate) value: f64,
    pub(crate) severity: Severity,
    pub(crate) flags: Flags,
}

/// One shard of a replay.
#[derive(Debug)]
pub(crate) struct VerifyShard {
    locals: Locals,
    pipeline: Pipeline,
    emitted: Emitted,
    pending: Pending,
    rechunk: Option<Rng>,
}

/// Rows that are not applied yet.
#[derive(Debug, Default)]
struct Pending {
    series: Vec<SeriesRef>,
    times: Vec<EventTime>,
    values: Vec<f64>,
    runs: Vec<Run>,
    locals: Vec<u32>,
}

/// Takes what replay puts out.
pub(crate) trait Observer {
    fn row(&mut self, row: &ScoredRow);
    fn transition(&mut self, transition: Transition);
}

impl VerifyShard {
    pub(crate) fn new(catalog: Arc<SeriesCatalog>, rechunk: Option<u64>) -> Self {
        Self {
            locals: Locals::new(catalog),
            pipeline: Pipeline::new(PipelineConfig::default()),
            emitted: Emitted::default(),
            pending: Pending::default(),
            rechunk: rechunk.map(Rng::from_seed),
        }
    }

    /// Rows of a record. Without cutting anew they are applied as they came.
    pub(crate) fn rows(&mut self, rows: &ShardRows, observer: &mut impl Observer) {
        let batch = &rows.batch;
        self.pending.series.extend_from_slice(batch.series());
        self.pending.times.extend_from_slice(batch.times());
        self.pending.values.extend_from_slice(batch.values());
        let end = self.pending.series.len();
        self.pending.runs.push(Run { end, lsn: rows.lsn, received: rows.received });
        if self.rechunk.is_none() || end > PENDING_ROWS_MAX {
            self.apply_all(observer);
        }
    }

    pub(crate) fn tick(&mut self, tick: TickRecord, observer: &mut impl Observer) {
        self.apply_all(observer);
        self.pipeline.tick(tick.time, &mut self.emitted);
        self.hand_out(observer, 0, &[]);
    }

    /// What was counted for percentiles since the last call; all rows so far must have been applied.
    pub(crate) fn take_counts(&mut self) -> Counts {
        self.pipeline.take_counts()
    }

    /// Rows of records up to this one are in windows that were taken from a checkpoint.
    pub(crate) fn set_counted(&mut self, upto: Lsn) {
        self.pipeline.set_counted(upto);
    }

    /// Puts rules in force, behind the rows so far; what was counted of them must have been taken.
    pub(crate) fn rules(&mut self, rules: &RulesInForce, observer: &mut impl Observer) {
        self.apply_all(observer);
        self.pipeline.set_alerts_max_age(rules.alerts_max_age_nanos);
        self.pipeline.set_rules(Arc::clone(&rules.rules), rules.received, &mut self.emitted);
        self.hand_out(observer, 0, &[]);
    }

    /// Detectors have learnt from stored rows, behind the rows so far.
    pub(crate) fn prime(&mut self, primed: &ShardPrimed, observer: &mut impl Observer) {
        self.apply_all(observer);
        for primed in &primed.states {
            if let Some(local) = self.locals.get(primed.series) {
                self.pipeline.prime(local, &primed.state);
            }
        }
    }

    /// Takes a slot's state from a checkpoint; `false` where the bytes are none.
    pub(crate) fn restore_slot(&mut self, slot: Slot, state: &[u8]) -> bool {
        self.locals.restore_slot(&mut self.pipeline, slot, state)
    }

    /// What the operators have come to in a slot.
    pub(crate) fn slot_summary(&self, slot: Slot) -> SlotSummary {
        self.pipeline.encode_slot(slot, &mut FieldWriter::default())
    }

    pub(crate) fn output_hash(&self) -> OutputHash {
        self.pipeline.output_hash()
    }

    pub(crate) fn state_hash(&self) -> u64 {
        self.pipeline.state_hash()
    }

    /// Applies what is pending, in pieces that have nothing to do with the records' ends.
    pub(crate) fn apply_all(&mut self, observer: &mut impl Observer) {
        let pending = std::mem::take(&mut self.pending);
        let rows = pending.series.len();
        let mut start = 0;
        while start < rows {
            let left = rows - start;
            let piece = match &mut self.rechunk {
                None => left,
                Some(rng) => {
                    let most = u64::try_from(left).unwrap_or(u64::MAX);
                    usize::try_from(rng.below(most)).unwrap_or(0) + 1
                }
            };
            self.apply(&pending, start, start + piece, observer);
            start += piece;
        }
        self.pending = pending;
        self.pending.clear();
    }

    fn apply(&mut self, pending: &Pending, start: usize, end: usize, observer: &mut impl Observer) {
        let mut locals = std::mem::take(&mut self.pending.locals);
        let series = &pending.series[start..end];
        self.locals.resolve(series, &mut self.pipeline, &mut locals);
        let runs: Vec<Run> = pending
            .runs
            .iter()
            .filter(|run| run.end > start)
            .map(|run| Run { end: run.end.min(end) - start, ..*run })
            .collect();
        let times = &pending.times[start..end];
        let values = &pending.values[start..end];
        let rows = Rows { series: &locals, times, values, runs: &runs };
        self.pipeline.apply(&rows, &mut self.emitted);
        let scored = series.iter().zip(times).zip(values).enumerate();
        let mut run = runs.iter();
        let mut current = run.next();
        let scored: Vec<ScoredRow> = scored
            .map(|(row, ((series, time), value))| {
                while current.is_some_and(|run| run.end <= row) {
                    current = run.next();
                }
                ScoredRow {
                    lsn: current.map(|run| run.lsn).unwrap_or_default(),
                    series: *series,
                    time: *time,
                    value: *value,
                    severity: self.emitted.severities[row],
                    flags: self.emitted.flags[row],
                }
            })
            .collect();
        self.pending.locals = locals;
        self.hand_out(observer, scored.len(), &scored);
    }

    fn hand_out(&mut self, observer: &mut impl Observer, rows: usize, scored: &[ScoredRow]) {
        debug_assert_eq!(rows, self.emitted.severities.len(), "one severity per row");
        for row in scored {
            observer.row(row);
        }
        for transition in self.emitted.transitions.drain(..) {
            observer.transition(transition);
        }
        self.emitted.clear();
    }
}

impl Pending {
    fn clear(&mut self) {
        self.series.clear();
        self.times.clear();
        self.values.clear();
        self.runs.clear();
    }
}
