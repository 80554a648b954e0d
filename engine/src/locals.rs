//! From a series' reference, which is global, to its dense index inside one shard.

use std::sync::Arc;

use tidewatch_metrics::fields::FieldReader;
use tidewatch_metrics::{SeriesCatalog, SeriesRef, Slot};
use tidewatch_operators::Pipeline;

/// No index given yet.
const UNKNOWN: u32 = u32::MAX;

/// The dense indices of one shard. They never leave it.
#[derive(Debug)]
pub(crate) struct Locals {
    catalog: Arc<SeriesCatalog>,
    of: Vec<u32>,
}

impl Locals {
    pub(crate) fn new(catalog: Arc<SeriesCatalog>) -> Self {
        Self { catalog, of: Vec::new() }
    }

    /// Takes the state of a slot into `pipeline`, before any row; `false` where the bytes are none.
    pub(crate) fn restore_slot(
        &mut self,
        pipeline: &mut Pipeline,
        slot: Slot,
        state: &[u8],
    ) -> bool {
        let mut fields = FieldReader::new(state);
        let restored = pipeline.restore_slot(slot, &mut fields, |series| self.catalog.get(series));
        let Some((series, ())) = restored.zip(fields.end()) else { return false };
        for (series, local) in series {
            self.note(series, local);
        }
        true
    }

    /// The index of a series that was met.
    pub(crate) fn get(&self, series: SeriesRef) -> Option<u32> {
        self.of.get(series.index()).copied().filter(|local| *local != UNKNOWN)
    }

    /// Writes the index of each row's series to `out`; a series seen first is made known to `pipeline`.
    pub(crate) fn resolve(
        &mut self,
        series: &[SeriesRef],
        pipeline: &mut Pipeline,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        out.reserve(series.len());
        for &series in series {
            let known = self.of.get(series.index()).copied().unwrap_or(UNKNOWN);
            out.push(if known == UNKNOWN { self.meet(series, pipeline) } else { known });
        }
    }

    #[cold]
    fn meet(&mut self, series: SeriesRef, pipeline: &mut Pipeline) -> u32 {
        let entry = self.catalog.get(series).expect("a record's series are registered before it");
        let local = pipeline.add_series(series, entry);
        self.note(series, local);
        local
    }

    fn note(&mut self, series: SeriesRef, local: u32) {
        if self.of.len() <= series.index() {
            self.of.resize(self.catalog.refs_end().max(series.index() + 1), UNKNOWN);
        }
        self.of[series.index()] = local;
    }
}
