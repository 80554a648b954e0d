//! From a series' reference, which is global, to its dense index inside one shard.

use std::sync::Arc;

use tidewatch_metrics::{SeriesCatalog, SeriesRef};
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

    /// Takes the indices of series that a checkpoint made known to the pipeline.
    pub(crate) fn restore(&mut self, series: &[(SeriesRef, u32)]) {
        for (series, local) in series {
            self.note(*series, *local);
        }
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
