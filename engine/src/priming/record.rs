//! What detectors have learnt from stored rows, as the log holds it.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{Lsn, SeriesRef};

/// States of detectors, from this record on, of those series that lack history.
///
/// Whoever cannot read a state, because a later release wrote it, leaves that series as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrimedRecord {
    /// At most [`PRIMED_SERIES_MAX`](crate::limits::PRIMED_SERIES_MAX).
    pub states: Vec<PrimedState>,
}

/// What a detector has learnt.
#[derive(Clone, PartialEq, Eq)]
pub struct PrimedState {
    /// The series.
    pub series: SeriesRef,
    /// As [`Primer::encode`](tidewatch_operators::Primer::encode) wrote it.
    pub state: Vec<u8>,
}

/// The states of one record, by the shards that they belong to.
#[derive(Clone, Debug)]
pub struct PrimedParts {
    /// Per shard.
    pub shards: Vec<Vec<PrimedState>>,
}

/// The states of one record that belong to one shard.
#[derive(Clone, Debug)]
pub struct ShardPrimed {
    /// The record.
    pub lsn: Lsn,
    /// The states.
    pub states: Vec<PrimedState>,
}

impl PrimedRecord {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes: usize = self.states.iter().map(|primed| 8 + primed.state.len()).sum();
        let mut out = FieldWriter::with_capacity(4 + bytes);
        out.count(self.states.len());
        for primed in &self.states {
            out.u32(primed.series.0);
            out.blob(&primed.state);
        }
        out.into_bytes()
    }

    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut states = Vec::new();
        for _ in 0..fields.count()? {
            let series = SeriesRef(fields.u32()?);
            states.push(PrimedState { series, state: fields.blob()?.to_vec() });
        }
        Some(Self { states })
    }
}

impl std::fmt::Debug for PrimedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrimedState({}, {} bytes)", self.series.0, self.state.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewatch_metrics::{SeriesCatalog, SeriesKey};

    use super::*;
    use crate::checkpoint::Base;
    use crate::deletes::DeleteRecord;
    use crate::dispatch::{Dispatch, RulesInForce, shard_of};
    use crate::record::{KIND_PRIMED, LogRecord, TickRecord, decode};
    use crate::replayer::Replayer;
    use crate::shard::ShardRows;

    fn record(series: &[u32]) -> PrimedRecord {
        let state = |series: &u32| PrimedState { series: SeriesRef(*series), state: vec![7; 5] };
        PrimedRecord { states: series.iter().map(state).collect() }
    }

    #[test]
    fn a_record_comes_back_and_cut_or_too_long_it_is_none() {
        let mut bytes = record(&[1, 500]).encode();
        let Some(LogRecord::Primed(back)) = decode(KIND_PRIMED, &bytes) else {
            panic!("it is decoded as one")
        };
        assert_eq!(back, record(&[1, 500]));
        for cut in 0..bytes.len() {
            assert!(decode(KIND_PRIMED, &bytes[..cut]).is_none(), "cut at {cut}");
        }
        bytes.push(0);
        assert!(decode(KIND_PRIMED, &bytes).is_none());
        bytes[..4].fill(0xff);
        assert!(decode(KIND_PRIMED, &bytes).is_none(), "the count is not taken at its word");
    }

    /// What shards were given: shard, record, series.
    #[derive(Debug, Default)]
    struct Given(Vec<(usize, Lsn, u32)>);

    impl Dispatch for Given {
        fn shards(&self) -> usize {
            256
        }

        fn rows(&mut self, _shard: usize, _rows: ShardRows) {}

        fn tick(&mut self, _lsn: Lsn, _tick: TickRecord) {}

        fn rules(&mut self, _lsn: Lsn, _rules: &RulesInForce) {}

        fn delete(&mut self, _lsn: Lsn, _delete: &DeleteRecord) {}

        fn primed(&mut self, shard: usize, primed: ShardPrimed) {
            self.0.extend(primed.states.iter().map(|of| (shard, primed.lsn, of.series.0)));
        }

        fn advance(&mut self, _lsn: Lsn) {}
    }

    /// A state that is behind the record may lack history of its own, under later rules.
    #[test]
    fn a_replay_passes_over_slots_that_are_behind_the_record_and_series_that_it_does_not_know() {
        let catalog = Arc::new(SeriesCatalog::new(10));
        let slots = ["a", "b"].map(|host| {
            let labels = vec![("host".to_owned(), host.to_owned())];
            let key = SeriesKey::new("default", "load", "value", labels).unwrap();
            catalog.register(&key).unwrap().1.id.slot()
        });
        assert_ne!(slots[0], slots[1]);
        let payload = record(&[0, 1, 9]).encode();
        let (mut replayer, mut given) =
            (Replayer::new(catalog, Base::with_slot(slots[0], Lsn::new(8))), Given::default());
        for lsn in [Lsn::new(8), Lsn::new(9)] {
            let left = replayer.replay(lsn, KIND_PRIMED, &payload, &mut given).unwrap();
            assert!(left.is_none(), "it is for the shards alone");
        }
        given.0.sort_unstable_by_key(|(_, lsn, series)| (*lsn, *series));
        let [first, second] = slots.map(|slot| shard_of(slot, 256));
        let (eight, nine) = (Lsn::new(8), Lsn::new(9));
        assert_eq!(given.0, [(second, eight, 1), (first, nine, 0), (second, nine, 1)]);
        assert!(replayer.is_exact());
    }
}
