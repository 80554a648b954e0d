//! How the series of a statement are scored.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::{SeriesCatalog, SeriesId};
use tidewatch_operators::{Detection, Model, RuleSet};

use crate::scan::SeriesIndex;

/// The rules in force, and which series a statement reads.
///
/// ORDER: the statement is planned before any of it runs. So all series are known when [`Detections::of_all`] is
/// asked for the first time.
#[derive(Debug)]
pub(crate) struct Detections {
    rules: Arc<RuleSet>,
    catalog: Arc<SeriesCatalog>,
    read: Mutex<Vec<Arc<SeriesIndex>>>,
    of_all: OnceLock<Option<Detection>>,
}

impl Detections {
    pub(crate) fn new(rules: Arc<RuleSet>, catalog: Arc<SeriesCatalog>) -> Self {
        Self { rules, catalog, read: Mutex::default(), of_all: OnceLock::new() }
    }

    /// Notes series whose rows are read.
    pub(crate) fn read(&self, index: &Arc<SeriesIndex>) {
        if self.rules.has_detection() {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.push(Arc::clone(index));
        }
    }

    /// How all series are scored whose rows are read; none where they are scored differently.
    pub(crate) fn of_all(&self) -> Option<Detection> {
        let of_all = self.of_all.get_or_init(|| {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            let mut entries = read
                .iter()
                .flat_map(|index| index.references())
                .filter_map(|series| self.catalog.get(series));
            let Some(first) = entries.next() else { return Some(Detection::default()) };
            let first = self.of(&first);
            entries.all(|entry| self.of(&entry) == first).then_some(first)
        });
        of_all.clone()
    }

    /// How the series with this identity is scored; none where there is no such series.
    pub(crate) fn of_id(&self, id: SeriesId) -> Option<Detection> {
        let entry = self.catalog.get(self.catalog.find(id)?)?;
        Some(self.of(&entry))
    }

    /// How a series is scored.
    pub(crate) fn of(&self, entry: &SeriesEntry) -> Detection {
        if !self.rules.has_detection() {
            return Detection::default();
        }
        // What the rules ask for, by the detector that there was room for.
        let model = Model::from_code(entry.detector()).unwrap_or_default();
        Detection { model, ..self.rules.detection(&entry.key()) }
    }
}
