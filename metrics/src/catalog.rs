//! All series of a data directory: identity to reference, reference to names, metric to series.
//!
//! Shared by ingest (which registers), by the shards and by queries (which read). Registering takes
//! the lock once per new series; ingest keeps its own cache in front and does not come here for
//! series that it knows.
//!
//! What a series takes is counted, here and by [`SeriesCosts`] for the places elsewhere that grow with
//! the number of series, and new series are refused by that count. Series that the log holds are
//! always taken.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use prometheus_client::metrics::gauge::Gauge;
use twox_hash::XxHash3_64;

use crate::cardinality::{LabelValues, MetricSize, SeriesCosts, SeriesRefused};
use crate::distinct::{DistinctCount, EXACT_VALUE_BYTES};
use crate::limits::METRIC_LABEL_KEYS_MAX;
use crate::{MetricsError, SeriesId, SeriesKey, SeriesLimit, SeriesLimits, SeriesRef};

/// An entry with the counts of its references, and the bytes that tell the allocator its canonical
/// form.
const ENTRY_BYTES: u64 = 16 + size_of::<SeriesEntry>() as u64 + 16;
/// A place by identity in a table that is at least 7/16 full, one by reference and one in the metric,
/// in lists that grow by doubling, and one in the metric's view.
const INDEX_BYTES: u64 = (size_of::<(u128, SeriesRef)>() as u64 + 1) * 16 / 7
    + 2 * size_of::<Option<Arc<SeriesEntry>>>() as u64
    + 2 * size_of::<SeriesRef>() as u64
    + size_of::<(SeriesRef, Arc<SeriesEntry>)>() as u64;
/// A label key of a metric, beside its text: its place in a tree that is at least half full.
const LABEL_KEY_BYTES: u64 = 2 * size_of::<(String, DistinctCount)>() as u64 + 32;
/// A metric beside its names, or a database.
const METRIC_BYTES: u64 = 2 * size_of::<(String, Metric)>() as u64 + 512;

/// The series of a data directory, by identity, by reference and by metric.
#[derive(Debug)]
pub struct SeriesCatalog {
    inner: RwLock<Inner>,
    limits: SeriesLimits,
    costs: SeriesCosts,
    gauges: SeriesGauges,
}

/// What a catalog shows of itself; always up to date.
#[derive(Clone, Debug, Default)]
pub struct SeriesGauges {
    /// Series.
    pub series: Gauge,
    /// Their counted bytes.
    pub bytes: Gauge,
}

/// One series: its identity and names.
#[derive(Debug)]
pub struct SeriesEntry {
    /// The stable identity.
    pub id: SeriesId,
    /// The names in canonical form.
    pub canonical: Box<[u8]>,
    /// Bytes of the metric's name that are the measurement.
    pub measurement_bytes: usize,
    /// Whether a record earlier in the log's order holds the registration.
    logged: AtomicBool,
    /// Which detector scores it, by the operators' number of it.
    detector: AtomicU8,
}

impl SeriesEntry {
    /// The names.
    ///
    /// # Panics
    /// Never: an entry is only made from a valid key.
    #[must_use]
    pub fn key(&self) -> SeriesKey {
        SeriesKey::from_canonical(&self.canonical, self.measurement_bytes)
            .expect("an entry is made from a valid key")
    }

    /// Whether a record earlier in the log's order holds the registration, so that a record that is
    /// appended from now on may name the series by its reference alone.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        // ATOMICS: acquire pairs with the release in `set_logged`.
        self.logged.load(Ordering::Acquire)
    }

    /// Which detector scores the series, by the operators' number of it; 0 before its first sample.
    #[must_use]
    pub fn detector(&self) -> u8 {
        // ATOMICS: the number is all that is told.
        self.detector.load(Ordering::Relaxed)
    }

    /// Notes which detector scores the series.
    pub fn set_detector(&self, detector: u8) {
        self.detector.store(detector, Ordering::Relaxed);
    }

    /// Notes that a record with the registration has its place in the log's order.
    pub fn set_logged(&self) {
        self.logged.store(true, Ordering::Release);
    }
}

/// A metric as queries see it: one table with its label columns.
#[derive(Debug)]
pub struct MetricView {
    /// The database.
    pub db: String,
    /// The metric's name.
    pub metric: String,
    /// Label keys in byte order.
    pub label_keys: Vec<String>,
    /// The series in ascending order of their references.
    pub series: Vec<(SeriesRef, Arc<SeriesEntry>)>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: std::collections::HashMap<u128, SeriesRef, BuildHasherDefault<IdHasher>>,
    entries: Vec<Option<Arc<SeriesEntry>>>,
    dbs: BTreeMap<String, Database>,
    count: usize,
    /// Counted bytes of all series.
    bytes: u64,
}

#[derive(Debug, Default)]
struct Database {
    metrics: BTreeMap<String, Metric>,
    count: usize,
    /// The metric with the most series.
    largest: String,
}

#[derive(Debug, Default)]
struct Metric {
    measurement: String,
    /// Label keys, each with the number of its values.
    label_keys: BTreeMap<String, DistinctCount>,
    series: Vec<SeriesRef>,
    /// The last view that was asked for; stale once the number of series has grown.
    view: RwLock<Option<Arc<MetricView>>>,
    /// What was told last of its size; stale likewise.
    size: Mutex<Option<MetricSize>>,
}

/// Takes the low 8 bytes of an identity, which is a hash already.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for (shift, byte) in bytes.iter().take(8).enumerate() {
            self.0 ^= u64::from(*byte) << (8 * shift);
        }
    }

    fn write_u128(&mut self, id: u128) {
        let [a, b, c, d, e, f, g, h, ..] = id.to_le_bytes();
        self.0 = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl SeriesCatalog {
    /// An empty catalog that takes at most `series_max` series.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        Self::with(SeriesLimits { series_max, ..SeriesLimits::NONE }, SeriesCosts::default())
    }

    /// An empty catalog within `limits`; `costs` tells what a series takes elsewhere.
    #[must_use]
    pub fn with(limits: SeriesLimits, costs: SeriesCosts) -> Self {
        Self { inner: RwLock::default(), limits, costs, gauges: SeriesGauges::default() }
    }

    /// What it shows of itself.
    #[must_use]
    pub fn gauges(&self) -> &SeriesGauges {
        &self.gauges
    }

    /// The reference of `key`, which is registered if it is new.
    ///
    /// # Errors
    /// [`MetricsError::NameTaken`], [`MetricsError::MetricLabelKeys`], [`MetricsError::SeriesRefused`]
    /// or [`MetricsError::HashCollision`]; nothing is registered then, and nothing is kept of it.
    pub fn register(&self, key: &SeriesKey) -> Result<(SeriesRef, Arc<SeriesEntry>), MetricsError> {
        let canonical = key.canonical();
        let id = SeriesId::of(&canonical);
        if let Some(known) = self.read().known(id, &canonical, key)? {
            return Ok(known);
        }
        let bytes = self.bytes_of(key, canonical.len());
        // What is refused does not hold up those that register.
        self.read().admit(&self.limits, key, bytes)?;
        let mut inner = self.write();
        if let Some(known) = inner.known(id, &canonical, key)? {
            return Ok(known);
        }
        inner.admit(&self.limits, key, bytes)?;
        let fresh = u32::try_from(inner.entries.len());
        let fresh = SeriesRef(
            fresh
                .map_err(|_overflow| inner.refused(SeriesLimit::Series(u32::MAX as usize), key))?,
        );
        let entry = inner.insert(fresh, id, (canonical, bytes), key)?;
        self.show(&inner);
        Ok((fresh, entry))
    }

    /// Takes a registration that the log holds, whatever the limits. Repeating one changes nothing.
    ///
    /// # Errors
    /// As [`SeriesCatalog::register`], and [`MetricsError::HashCollision`] where the reference
    /// stands for another series, which means that the log is damaged.
    pub fn restore(&self, series: SeriesRef, key: &SeriesKey) -> Result<(), MetricsError> {
        let canonical = key.canonical();
        let id = SeriesId::of(&canonical);
        let mut inner = self.write();
        match (inner.entry(series), inner.by_id.get(&id.get())) {
            (Some(entry), Some(known)) if *known == series && *entry.canonical == *canonical => {
                entry.set_logged();
                Ok(())
            }
            (None, None) => {
                let bytes = self.bytes_of(key, canonical.len());
                inner.insert(series, id, (canonical, bytes), key)?.set_logged();
                self.show(&inner);
                Ok(())
            }
            _ => Err(MetricsError::HashCollision { id: Box::new(id) }),
        }
    }

    /// Gives no reference below `refs_end` to a series that is new: they were used already, and what
    /// they stand for is not known here.
    pub fn reserve(&self, refs_end: usize) {
        let mut inner = self.write();
        if inner.entries.len() < refs_end {
            inner.entries.resize(refs_end, None);
        }
    }

    /// The series with this reference.
    #[must_use]
    pub fn get(&self, series: SeriesRef) -> Option<Arc<SeriesEntry>> {
        self.read().entry(series).cloned()
    }

    /// The series with this identity.
    #[must_use]
    pub fn find(&self, id: SeriesId) -> Option<SeriesRef> {
        self.read().by_id.get(&id.get()).copied()
    }

    /// Number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().count
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counted bytes of all series.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.read().bytes
    }

    /// One more than the greatest reference.
    #[must_use]
    pub fn refs_end(&self) -> usize {
        self.read().entries.len()
    }

    /// The series with references in `from..refs_end()`, in that order.
    #[must_use]
    pub fn since(&self, from: usize) -> Vec<(SeriesRef, Arc<SeriesEntry>)> {
        let inner = self.read();
        let entries = inner.entries.iter().enumerate().skip(from);
        entries
            .filter_map(|(index, entry)| {
                Some((SeriesRef(u32::try_from(index).ok()?), Arc::clone(entry.as_ref()?)))
            })
            .collect()
    }

    /// The databases that have series.
    #[must_use]
    pub fn databases(&self) -> Vec<String> {
        self.read().dbs.keys().cloned().collect()
    }

    /// The metrics of a database.
    #[must_use]
    pub fn metrics(&self, db: &str) -> Vec<String> {
        let inner = self.read();
        inner.dbs.get(db).map(|db| db.metrics.keys().cloned().collect()).unwrap_or_default()
    }

    /// Calls `visit` with database, metric and ascending series of every metric, in byte order of
    /// the names. Registering waits meanwhile, so `visit` must be short.
    pub fn visit_metrics(&self, mut visit: impl FnMut(&str, &str, &[SeriesRef])) {
        let inner = self.read();
        for (db, database) in &inner.dbs {
            for (name, metric) in &database.metrics {
                visit(db, name, &metric.series);
            }
        }
    }

    /// Calls `visit` with database, metric, and how many values each of its label keys has, in byte
    /// order of the names. Registering waits meanwhile, so `visit` must be short.
    pub fn visit_labels(&self, mut visit: impl FnMut(&str, &str, LabelValues)) {
        let inner = self.read();
        for (db, database) in &inner.dbs {
            for (name, metric) in &database.metrics {
                for (key, values) in &metric.label_keys {
                    let is_exact = values.is_exact();
                    let values = values.count();
                    visit(db, name, LabelValues { key: key.clone(), values, is_exact });
                }
            }
        }
    }

    /// A metric with all of its series, shared until it gets another series.
    #[must_use]
    pub fn metric(&self, db: &str, metric: &str) -> Option<Arc<MetricView>> {
        let inner = self.read();
        let found = inner.dbs.get(db)?.metrics.get(metric)?;
        let mut cached = found.view.write().unwrap_or_else(PoisonError::into_inner);
        match cached.as_ref() {
            Some(view) if view.series.len() == found.series.len() => Some(Arc::clone(view)),
            _ => {
                let view = Arc::new(inner.view(db, metric, found));
                *cached = Some(Arc::clone(&view));
                Some(view)
            }
        }
    }

    /// What a series of a known metric takes in all, but for values of labels that are new to the metric.
    fn bytes_of(&self, key: &SeriesKey, canonical: usize) -> u64 {
        // An allocator gives up to an eighth more than it is asked for.
        let canonical = u64::try_from(canonical + canonical / 8).unwrap_or(u64::MAX);
        ENTRY_BYTES + INDEX_BYTES + canonical + self.costs.of(key)
    }

    fn show(&self, inner: &Inner) {
        self.gauges.series.set(i64::try_from(inner.count).unwrap_or(i64::MAX));
        self.gauges.bytes.set(i64::try_from(inner.bytes).unwrap_or(i64::MAX));
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn entry(&self, series: SeriesRef) -> Option<&Arc<SeriesEntry>> {
        self.entries.get(series.index())?.as_ref()
    }

    /// The series with this identity, if it is known.
    fn known(
        &self,
        id: SeriesId,
        canonical: &[u8],
        key: &SeriesKey,
    ) -> Result<Option<(SeriesRef, Arc<SeriesEntry>)>, MetricsError> {
        let Some(&known) = self.by_id.get(&id.get()) else { return Ok(None) };
        let entry = self.entry(known).expect("an identity stands for an entry");
        if *entry.canonical != *canonical {
            return Err(MetricsError::HashCollision { id: Box::new(id) });
        }
        if entry.measurement_bytes != key.measurement_bytes() {
            return Err(name_taken(key, &entry.key()));
        }
        Ok(Some((known, Arc::clone(entry))))
    }

    /// Refuses a new series of `bytes` that would pass a limit; the narrowest one is named.
    fn admit(
        &self,
        limits: &SeriesLimits,
        key: &SeriesKey,
        bytes: u64,
    ) -> Result<(), MetricsError> {
        let database = self.dbs.get(key.db());
        let metric = database.and_then(|database| database.metrics.get(key.metric()));
        let limit = if metric.map_or(0, |metric| metric.series.len()) >= limits.per_metric_max {
            SeriesLimit::Metric(limits.per_metric_max)
        } else if database.map_or(0, |database| database.count) >= limits.per_database_max {
            SeriesLimit::Database(limits.per_database_max)
        } else if self.count >= limits.series_max {
            SeriesLimit::Series(limits.series_max)
        } else if self.bytes.saturating_add(bytes) > limits.bytes_max {
            SeriesLimit::Memory
        } else {
            return Ok(());
        };
        Err(self.refused(limit, key))
    }

    fn refused(&self, limit: SeriesLimit, key: &SeriesKey) -> MetricsError {
        let database = self.dbs.get(key.db());
        let metric = database.and_then(|db| db.metrics.get_key_value(key.metric()));
        let largest = || database.and_then(|db| db.metrics.get_key_value(&db.largest));
        let size = metric.or_else(largest).map(|(name, metric)| metric.size(name));
        let (db, is_new_metric) = (key.db().to_owned(), metric.is_none());
        MetricsError::SeriesRefused(Box::new(SeriesRefused { limit, db, size, is_new_metric }))
    }

    fn insert(
        &mut self,
        series: SeriesRef,
        id: SeriesId,
        (canonical, mut bytes): (Vec<u8>, u64),
        key: &SeriesKey,
    ) -> Result<Arc<SeriesEntry>, MetricsError> {
        bytes += self.take_names(key)?;
        let database = self.dbs.get_mut(key.db()).expect("take_names made the database");
        let metric = database.metrics.get_mut(key.metric()).expect("take_names made the metric");
        let entry = Arc::new(SeriesEntry {
            id,
            canonical: canonical.into_boxed_slice(),
            measurement_bytes: key.measurement_bytes(),
            logged: AtomicBool::new(false),
            detector: AtomicU8::new(0),
        });
        for (key, value) in key.labels() {
            let values = metric.label_keys.get_mut(key).expect("take_names took the keys");
            if values.insert(XxHash3_64::oneshot(value.as_bytes())) {
                bytes += EXACT_VALUE_BYTES;
            }
        }
        // References of one metric are given in ascending order, but a damaged log's need not be.
        let place = metric.series.partition_point(|known| *known < series);
        metric.series.insert(place, series);
        let series_of_metric = metric.series.len();
        database.count += 1;
        let largest = database.metrics.get(&database.largest);
        if largest.is_none_or(|largest| largest.series.len() < series_of_metric) {
            key.metric().clone_into(&mut database.largest);
        }
        if self.entries.len() <= series.index() {
            self.entries.resize(series.index() + 1, None);
        }
        self.entries[series.index()] = Some(Arc::clone(&entry));
        self.by_id.insert(id.get(), series);
        self.count += 1;
        self.bytes += bytes;
        Ok(entry)
    }

    /// Makes the metric if it is new; refuses a name that another pair has, and too many keys. Gives the
    /// bytes that the new names take.
    fn take_names(&mut self, key: &SeriesKey) -> Result<u64, MetricsError> {
        let mut bytes = 0;
        if !self.dbs.contains_key(key.db()) {
            self.dbs.insert(key.db().to_owned(), Database::default());
            bytes += METRIC_BYTES + text_bytes(key.db());
        }
        let database = self.dbs.get_mut(key.db()).expect("made above");
        let metric = database.metrics.entry(key.metric().to_owned()).or_insert_with(|| {
            // Its name stands here, in what is told of its size, and as that of the largest.
            bytes += METRIC_BYTES + 4 * text_bytes(key.metric());
            Metric { measurement: key.measurement().to_owned(), ..Metric::default() }
        });
        if metric.measurement != key.measurement() {
            return Err(MetricsError::NameTaken {
                metric: key.metric().to_owned(),
                measurement: metric.measurement.clone(),
            });
        }
        let fresh = key.labels().iter().filter(|(k, _)| !metric.label_keys.contains_key(k));
        let fresh: Vec<String> = fresh.map(|(k, _)| k.clone()).collect();
        if metric.label_keys.len() + fresh.len() > METRIC_LABEL_KEYS_MAX {
            return Err(MetricsError::MetricLabelKeys {
                metric: key.metric().to_owned(),
                key: fresh.into_iter().next_back().unwrap_or_default(),
            });
        }
        // Each stands here and in the metric's view.
        bytes += fresh.iter().map(|key| LABEL_KEY_BYTES + 2 * text_bytes(key)).sum::<u64>();
        metric.label_keys.extend(fresh.into_iter().map(|key| (key, DistinctCount::default())));
        Ok(bytes)
    }

    fn view(&self, db: &str, name: &str, metric: &Metric) -> MetricView {
        let mut series = Vec::with_capacity(metric.series.len());
        let entries = metric.series.iter().filter_map(|r| Some((*r, Arc::clone(self.entry(*r)?))));
        series.extend(entries);
        MetricView {
            db: db.to_owned(),
            metric: name.to_owned(),
            label_keys: metric.label_keys.keys().cloned().collect(),
            series,
        }
    }
}

impl Metric {
    /// How large it is, computed once for each number of series.
    fn size(&self, name: &str) -> MetricSize {
        let mut told = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(size) = told.as_ref().filter(|size| size.series == self.series.len()) {
            return size.clone();
        }
        let counts = self.label_keys.iter().map(|(key, values)| (values.count(), key, values));
        let most = counts.max_by_key(|(count, ..)| *count);
        let label = most.map(|(values, key, counted)| LabelValues {
            key: key.clone(),
            values,
            is_exact: counted.is_exact(),
        });
        let size = MetricSize { metric: name.to_owned(), series: self.series.len(), label };
        *told = Some(size.clone());
        size
    }
}

/// What a text of its own takes.
fn text_bytes(text: &str) -> u64 {
    u64::try_from(text.len() + text.len() / 8 + 16).unwrap_or(u64::MAX)
}

fn name_taken(key: &SeriesKey, known: &SeriesKey) -> MetricsError {
    MetricsError::NameTaken {
        metric: key.metric().to_owned(),
        measurement: known.measurement().to_owned(),
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
