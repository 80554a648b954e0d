//! From the log's records back to shards: what recovery and `replay --verify` share.

use std::sync::Arc;

use tidewatch_metrics::{Lsn, SampleBatch, SeriesCatalog, SeriesRef, Slot};
use tidewatch_operators::RuleSet;

use crate::EngineError;
use crate::checkpoint::Base;
use crate::committer::LogPosition;
use crate::dispatch::{Dispatch, RulesInForce, shard_of};
use crate::priming::{PrimedRecord, PrimedState, ShardPrimed};
use crate::record::{LogRecord, SamplesRecord, StartRecord, TickRecord, decode};
use crate::shard::ShardRows;

/// Decodes records in the log's order and hands what operators depend on to the shards.
#[derive(Debug)]
pub(crate) struct Replayer {
    catalog: Arc<SeriesCatalog>,
    base: Base,
    /// By reference.
    slots: Vec<Option<Slot>>,
    /// Whether series may be unknown: their registrations were damaged.
    tolerant: bool,
    is_exact: bool,
}

impl Replayer {
    /// Builds on `base`; series go into `catalog`, which has those that `base` knows.
    #[must_use]
    pub(crate) fn new(catalog: Arc<SeriesCatalog>, base: Base) -> Self {
        let (is_exact, slots) = (base.is_exact, Vec::new());
        let mut replayer = Self { base, slots, catalog, tolerant: false, is_exact };
        for (series, entry) in replayer.catalog.since(0) {
            replayer.note_slot(series, entry.id.slot());
        }
        replayer
    }

    /// From here on rows of series that are not known are left out: their registrations were damaged.
    pub(crate) fn tolerate(&mut self) {
        self.tolerant = true;
    }

    /// The log lacks records here: what comes behind is not what it was when it ran live.
    pub(crate) fn pass_gap(&mut self) {
        self.tolerant = true;
        self.is_exact = false;
    }

    /// Whether all that the log ever had was replayed, so that it can be compared.
    pub(crate) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Takes one record. What is not for the shards, or not for them alone, is given back.
    ///
    /// # Errors
    /// A record that does not have the form of its kind, or contradicts an earlier one.
    pub(crate) fn replay(
        &mut self,
        lsn: Lsn,
        kind: u8,
        payload: &[u8],
        dispatch: &mut impl Dispatch,
    ) -> Result<Option<LogRecord>, EngineError> {
        let bad = EngineError::BadRecord { lsn, kind };
        match decode(kind, payload).ok_or(bad)? {
            LogRecord::Samples(samples) => {
                self.samples(lsn, &samples, dispatch)?;
                Ok(Some(LogRecord::Samples(samples)))
            }
            LogRecord::Tick(mut tick) => {
                // What some slots had put out before is not known, or not what it was live.
                tick.hashed &= self.is_exact && !self.base.covers_some(lsn);
                dispatch.tick(lsn, tick);
                Ok(None)
            }
            LogRecord::Start(start) => {
                let rules = rules_of(lsn, &start)?;
                if !self.base.has_rules_of(lsn) {
                    dispatch.rules(lsn, &rules);
                }
                Ok(Some(LogRecord::Start(start)))
            }
            LogRecord::Delete(delete) => {
                dispatch.delete(lsn, &delete);
                Ok(None)
            }
            LogRecord::Primed(record) => {
                self.primed(lsn, record, dispatch);
                Ok(None)
            }
            other => Ok(Some(other)),
        }
    }

    fn samples(
        &mut self,
        lsn: Lsn,
        record: &SamplesRecord,
        dispatch: &mut impl Dispatch,
    ) -> Result<(), EngineError> {
        register(&self.catalog, lsn, record)?;
        for (series, key) in &record.registrations {
            self.note_slot(*series, key.id().slot());
        }
        let shards = dispatch.shards();
        let some = self.base.covers_some(lsn);
        let mut routed: Vec<SampleBatch> = (0..shards).map(|_| SampleBatch::default()).collect();
        for part in &record.parts {
            let columns = part.series().iter().zip(part.times()).zip(part.values());
            for ((series, time), value) in columns {
                let bad = EngineError::BadRecord { lsn, kind: crate::record::KIND_SAMPLES };
                let Some(slot) = self.slots.get(series.index()).copied().flatten() else {
                    if !self.tolerant {
                        return Err(bad);
                    }
                    self.is_exact = false;
                    continue;
                };
                if !(some && self.base.covers(slot, lsn)) {
                    routed[shard_of(slot, shards)].push(*series, *time, *value);
                }
            }
        }
        for (shard, batch) in routed.into_iter().enumerate() {
            if !batch.is_empty() {
                let received = record.received;
                dispatch.rows(shard, ShardRows { lsn, received, batch, permit: None });
            }
        }
        Ok(())
    }

    /// States of series that are not known are left out: their rows are as well.
    fn primed(&mut self, lsn: Lsn, record: PrimedRecord, dispatch: &mut impl Dispatch) {
        let shards = dispatch.shards();
        let mut routed: Vec<Vec<PrimedState>> = (0..shards).map(|_| Vec::new()).collect();
        for primed in record.states {
            let slot = self.slots.get(primed.series.index()).copied().flatten();
            if let Some(slot) = slot.filter(|slot| !self.base.covers(*slot, lsn)) {
                routed[shard_of(slot, shards)].push(primed);
            }
        }
        for (shard, states) in routed.into_iter().enumerate() {
            if !states.is_empty() {
                dispatch.primed(shard, ShardPrimed { lsn, states });
            }
        }
    }

    fn note_slot(&mut self, series: SeriesRef, slot: Slot) {
        if self.slots.len() <= series.index() {
            self.slots.resize(series.index() + 1, None);
        }
        self.slots[series.index()] = Some(slot);
    }
}

/// Takes the series that a record registers into the catalog.
///
/// # Errors
/// A registration that contradicts another one.
pub(crate) fn register(
    catalog: &SeriesCatalog,
    lsn: Lsn,
    record: &SamplesRecord,
) -> Result<(), EngineError> {
    for (series, key) in &record.registrations {
        let restored = catalog.restore(*series, key);
        restored
            .map_err(|source| EngineError::BadRegistration { lsn, source: Box::new(source) })?;
    }
    Ok(())
}

impl LogPosition {
    /// The log holds this record of samples, if `base` does not count it already.
    pub(crate) fn pass_samples(&mut self, lsn: Lsn, record: &SamplesRecord, base: &Base) {
        if lsn > base.position.0 {
            let rows: usize = record.parts.iter().map(SampleBatch::len).sum();
            self.rows += u64::try_from(rows).unwrap_or(u64::MAX);
        }
    }

    /// The log holds this tick, if `base` does not count it already.
    pub(crate) fn pass_tick(&mut self, lsn: Lsn, tick: &TickRecord, base: &Base) {
        if lsn > base.position.0 {
            self.tick = tick.time;
            // Rows of records that are missing count as well.
            self.rows = self.rows.max(tick.rows);
            if tick.hashed {
                self.hashed_rows = tick.rows;
            }
        }
    }
}

/// The rules that a start brings into force.
///
/// # Errors
/// Rules of a form that this version does not know.
pub(crate) fn rules_of(lsn: Lsn, start: &StartRecord) -> Result<RulesInForce, EngineError> {
    let rules = RuleSet::from_canonical_text(&start.rules);
    Ok(RulesInForce {
        rules: Arc::new(rules.map_err(|_unknown_form| EngineError::BadRules { lsn })?),
        received: start.time,
        alerts_max_age_nanos: start.alerts_max_age_nanos,
    })
}
