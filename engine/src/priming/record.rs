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
