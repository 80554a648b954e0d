//! The labels of a metric as columns: one row per series.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidewatch_metrics::MetricView;

use crate::limits::LABELS_KEPT;
use crate::scan::SeriesIndex;

/// Columns of every metric; a label of the same name is called `label_<name>`.
pub(crate) const METRIC_COLUMNS: [&str; 4] = ["time", "value", "severity", "score"];

/// A metric's series in columns: row `i` is the series of place `i`.
#[derive(Debug)]
pub(crate) struct MetricLabels {
    /// A column per label, NULL where the series has no such label.
    pub(crate) table: RecordBatch,
    /// The places of all series.
    pub(crate) index: Arc<SeriesIndex>,
    /// The metric with its series, by place.
    pub(crate) view: Arc<MetricView>,
}

/// The label columns of metrics that were asked for lately.
#[derive(Debug)]
pub(crate) struct LabelCache {
    bytes_max: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    kept: HashMap<(String, String), Kept>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    labels: Arc<MetricLabels>,
    bytes: usize,
    used: u64,
}

impl MetricLabels {
    fn new(view: Arc<MetricView>) -> Self {
        let mut builders: Vec<StringViewBuilder> =
            view.label_keys.iter().map(|_| StringViewBuilder::new()).collect();
        for (_, entry) in &view.series {
            let key = entry.key();
            let mut labels = key.labels().iter().peekable();
            // Both are in byte order of the keys, and the metric's keys hold all of the series'.
            for (name, builder) in view.label_keys.iter().zip(&mut builders) {
                match labels.next_if(|(key, _)| key == name) {
                    Some((_, value)) => builder.append_value(value),
                    None => builder.append_null(),
                }
            }
        }
        let columns = builders.iter_mut().map(|b| -> ArrayRef { Arc::new(b.finish()) }).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(view.series.len()));
        let table = RecordBatch::try_new_with_options(labels_schema(&view), columns, &options)
            .expect("a column per label and a row per series");
        let places = (0_u32..).zip(&view.series).map(|(place, (series, _))| (*series, place));
        let index = Arc::new(SeriesIndex::new(places.collect()));
        Self { table, index, view }
    }

    fn bytes(&self) -> usize {
        let columns = self.table.columns().iter();
        columns.map(|column| column.get_array_memory_size()).sum::<usize>() + self.index.bytes()
    }
}

impl LabelCache {
    /// An empty cache of at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// The label columns of this view of a metric.
    pub(crate) fn get(&self, view: &Arc<MetricView>) -> Arc<MetricLabels> {
        let name = (view.db.clone(), view.metric.clone());
        if let Some(kept) = self.find(&name, view) {
            return kept;
        }
        // Made without the lock, as it takes long for many series; perhaps twice, which is harmless.
        let labels = Arc::new(MetricLabels::new(Arc::clone(view)));
        self.keep(name, &labels);
        labels
    }

    fn find(&self, name: &(String, String), view: &MetricView) -> Option<Arc<MetricLabels>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let used = state.uses;
        let kept = state.kept.get_mut(name)?;
        // A metric never loses series nor keys, so equal numbers mean equal sets.
        let known = &kept.labels.view;
        let same = known.series.len() == view.series.len()
            && known.label_keys.len() == view.label_keys.len();
        kept.used = used;
        same.then(|| Arc::clone(&kept.labels))
    }

    fn keep(&self, name: (String, String), labels: &Arc<MetricLabels>) {
        let bytes = labels.bytes();
        if bytes > self.bytes_max / 2 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Kept { labels: Arc::clone(labels), bytes, used: state.uses };
        state.bytes += bytes;
        if let Some(old) = state.kept.insert(name, kept) {
            state.bytes -= old.bytes;
        }
        while state.bytes > self.bytes_max || state.kept.len() > LABELS_KEPT {
            let oldest = state.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            if let Some(gone) = state.kept.remove(&oldest) {
                state.bytes -= gone.bytes;
            }
        }
    }
}

/// The label columns of a metric, in byte order of the labels.
pub(crate) fn labels_schema(view: &MetricView) -> SchemaRef {
    let names = label_columns(&view.label_keys).into_iter();
    let fields = names.map(|name| Field::new(name, DataType::Utf8View, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of a metric's table that hold the labels with these keys, in the same order: a label
/// that is called like another column of the table has `label_` before its name.
#[must_use]
pub fn label_columns(label_keys: &[String]) -> Vec<String> {
    let is_taken = |key: &&String| METRIC_COLUMNS.contains(&key.as_str());
    let mut taken: Vec<String> = METRIC_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    // Labels that keep their name come first, so that a label called `label_time` keeps its own.
    taken.extend(label_keys.iter().filter(|key| !is_taken(key)).cloned());
    let columns = label_keys.iter().map(|key| {
        let mut name = key.clone();
        if is_taken(&key) {
            while taken.contains(&name) {
                name = format!("label_{name}");
            }
            taken.push(name.clone());
        }
        name
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use tidewatch_metrics::{SeriesCatalog, SeriesKey};

    use super::*;

    fn register(catalog: &SeriesCatalog, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        catalog.register(&SeriesKey::new("d", "m", "value", labels).unwrap()).unwrap();
    }

    #[test]
    fn absent_labels_are_null_and_colliding_ones_are_renamed() {
        let catalog = SeriesCatalog::new(10);
        register(&catalog, &[("host", "a"), ("time", "t")]);
        register(&catalog, &[("label_time", "l")]);
        let view = catalog.metric("d", "m").unwrap();
        let labels = MetricLabels::new(view);
        let schema = labels.table.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["host", "label_time", "label_label_time"]);
        let column = |at: usize| labels.table.column(at).as_string_view();
        assert_eq!(column(0).iter().collect::<Vec<_>>(), [Some("a"), None]);
        assert_eq!(column(1).iter().collect::<Vec<_>>(), [None, Some("l")]);
        assert_eq!(column(2).iter().collect::<Vec<_>>(), [Some("t"), None]);
    }

    #[test]
    fn columns_are_kept_until_the_metric_gets_another_series() {
        let (catalog, cache) = (SeriesCatalog::new(10), LabelCache::new(1 << 20));
        register(&catalog, &[("host", "a")]);
        let first = cache.get(&catalog.metric("d", "m").unwrap());
        assert!(Arc::ptr_eq(&first, &cache.get(&catalog.metric("d", "m").unwrap())));
        register(&catalog, &[("host", "b")]);
        assert_eq!(cache.get(&catalog.metric("d", "m").unwrap()).table.num_rows(), 2);
    }

    #[test]
    fn the_cache_keeps_within_its_number() {
        let cache = LabelCache::new(1 << 20);
        let catalog = SeriesCatalog::new(1_000);
        for i in 0..LABELS_KEPT + 10 {
            let key = SeriesKey::new("d", &format!("m{i}"), "value", Vec::new()).unwrap();
            catalog.register(&key).unwrap();
            cache.get(&catalog.metric("d", &format!("m{i}")).unwrap());
        }
        let state = cache.state.lock().unwrap();
        assert_eq!(state.kept.len(), LABELS_KEPT);
        assert!(!state.kept.contains_key(&("d".to_owned(), "m0".to_owned())));
        assert!(state.kept.contains_key(&("d".to_owned(), format!("m{}", LABELS_KEPT + 9))));
    }
}
