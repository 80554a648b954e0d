//! From the log's records back to shards: what recovery and `replay --verify` share.

use std::sync::Arc;

use tidewatch_metrics::{Lsn, SampleBatch, SeriesCatalog, Slot};
use tidewatch_operators::RuleSet;

use crate::EngineError;
use crate::committer::LogPosition;
use crate::dispatch::{Dispatch, RulesInForce, shard_of};
use crate::record::{LogRecord, SamplesRecord, StartRecord, decode};
use crate::shard::ShardRows;

/// Decodes records in the log's order and hands what operators depend on to the shards.
#[derive(Debug)]
pub(crate) struct Replayer {
    catalog: Arc<SeriesCatalog>,
    slots: Vec<Slot>,
    position: LogPosition,
}

impl Replayer {
    /// At the beginning of the log; series go into `catalog`.
    #[must_use]
    pub(crate) fn new(catalog: Arc<SeriesCatalog>) -> Self {
        Self { catalog, slots: Vec::new(), position: LogPosition::default() }
    }

    /// Where the log stands after the records so far.
    #[must_use]
    pub(crate) fn position(&self) -> LogPosition {
        self.position
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
                Ok(None)
            }
            LogRecord::Tick(tick) => {
                self.position.tick = tick.time;
                if tick.hashed {
                    self.position.hashed_rows = tick.rows;
                }
                dispatch.tick(lsn, tick);
                Ok(None)
            }
            LogRecord::Start(start) => {
                dispatch.rules(lsn, &rules_of(lsn, &start)?);
                Ok(Some(LogRecord::Start(start)))
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
        for (series, key) in &record.registrations {
            let restored = self.catalog.restore(*series, key);
            restored
                .map_err(|source| EngineError::BadRegistration { lsn, source: Box::new(source) })?;
            if self.slots.len() <= series.index() {
                self.slots.resize(series.index() + 1, Slot::default());
            }
            self.slots[series.index()] = key.id().slot();
        }
        let shards = dispatch.shards();
        let mut routed: Vec<SampleBatch> = (0..shards).map(|_| SampleBatch::default()).collect();
        for part in &record.parts {
            let columns = part.series().iter().zip(part.times()).zip(part.values());
            for ((series, time), value) in columns {
                let bad = EngineError::BadRecord { lsn, kind: crate::record::KIND_SAMPLES };
                let slot = self.slots.get(series.index()).ok_or(bad)?;
                routed[shard_of(*slot, shards)].push(*series, *time, *value);
            }
        }
        for (shard, batch) in routed.into_iter().enumerate() {
            if !batch.is_empty() {
                self.position.rows += u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let received = record.received;
                dispatch.rows(shard, ShardRows { lsn, received, batch, permit: None });
            }
        }
        Ok(())
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
