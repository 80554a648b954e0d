//! All series of a data directory: identity to reference, reference to names, metric to series.
//!
//! Shared by ingest (which registers), by the shards and by queries (which read). Registering takes
//! the lock once per new series; ingest keeps its own cache in front and does not come here for
//! series that it knows.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::limits::METRIC_LABEL_KEYS_MAX;
use crate::{MetricsError, SeriesId, SeriesKey, SeriesRef};

/// The series of a data directory, by identity, by reference and by metric.
#[derive(Debug)]
pub struct SeriesCatalog {
    inner: RwLock<Inner>,
    series_max: usize,
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
    dbs: BTreeMap<String, BTreeMap<String, Metric>>,
    count: usize,
}

#[derive(Debug, Default)]
struct Metric {
    measurement: String,
    label_keys: std::collections::BTreeSet<String>,
    series: Vec<SeriesRef>,
    /// The last view that was asked for; stale once the number of series has grown.
    view: RwLock<Option<Arc<MetricView>>>,
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
        Self { inner: RwLock::default(), series_max }
    }

    /// The reference of `key`, which is registered if it is new.
    ///
    /// # Errors
    /// [`MetricsError::NameTaken`], [`MetricsError::MetricLabelKeys`], [`MetricsError::SeriesMax`]
    /// or [`MetricsError::HashCollision`]; nothing is registered then.
    ///
    /// # Panics
    /// Never: an identity that is known always has its entry.
    pub fn register(&self, key: &SeriesKey) -> Result<(SeriesRef, Arc<SeriesEntry>), MetricsError> {
        let canonical = key.canonical();
        let id = SeriesId::of(&canonical);
        let mut inner = self.write();
        if let Some(&known) = inner.by_id.get(&id.get()) {
            let entry = inner.entry(known).expect("an identity stands for an entry");
            if *entry.canonical != *canonical {
                return Err(MetricsError::HashCollision { id: Box::new(id) });
            }
            if entry.measurement_bytes != key.measurement_bytes() {
                return Err(name_taken(key, &entry.key()));
            }
            return Ok((known, Arc::clone(entry)));
        }
        if inner.count >= self.series_max {
            return Err(MetricsError::SeriesMax { max: self.series_max });
        }
        let fresh = SeriesRef(
            u32::try_from(inner.entries.len())
                .map_err(|_overflow| MetricsError::SeriesMax { max: self.series_max })?,
        );
        let entry = inner.insert(fresh, id, canonical.into_boxed_slice(), key)?;
        Ok((fresh, entry))
    }

    /// Takes a registration that the log holds. Repeating one changes nothing.
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
                inner.insert(series, id, canonical.into_boxed_slice(), key)?.set_logged();
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
        self.read().dbs.get(db).map(|m| m.keys().cloned().collect()).unwrap_or_default()
    }

    /// Calls `visit` with database, metric and ascending series of every metric, in byte order of
    /// the names. Registering waits meanwhile, so `visit` must be short.
    pub fn visit_metrics(&self, mut visit: impl FnMut(&str, &str, &[SeriesRef])) {
        let inner = self.read();
        for (db, metrics) in &inner.dbs {
            for (name, metric) in metrics {
                visit(db, name, &metric.series);
            }
        }
    }

    /// A metric with all of its series, shared until it gets another series.
    #[must_use]
    pub fn metric(&self, db: &str, metric: &str) -> Option<Arc<MetricView>> {
        let inner = self.read();
        let found = inner.dbs.get(db)?.get(metric)?;
        let mut cached = found.view.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        match cached.as_ref() {
            Some(view) if view.series.len() == found.series.len() => Some(Arc::clone(view)),
            _ => {
                let view = Arc::new(inner.view(db, metric, found));
                *cached = Some(Arc::clone(&view));
                Some(view)
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn entry(&self, series: SeriesRef) -> Option<&Arc<SeriesEntry>> {
        self.entries.get(series.index())?.as_ref()
    }

    fn insert(
        &mut self,
        series: SeriesRef,
        id: SeriesId,
        canonical: Box<[u8]>,
        key: &SeriesKey,
    ) -> Result<Arc<SeriesEntry>, MetricsError> {
        self.take_names(key)?;
        let metrics = self.dbs.get_mut(key.db()).expect("take_names made the database");
        let metric = metrics.get_mut(key.metric()).expect("take_names made the metric");
        let entry = Arc::new(SeriesEntry {
            id,
            canonical,
            measurement_bytes: key.measurement_bytes(),
            logged: AtomicBool::new(false),
        });
        // References of one metric are given in ascending order, but a damaged log's need not be.
        let place = metric.series.partition_point(|known| *known < series);
        metric.series.insert(place, series);
        if self.entries.len() <= series.index() {
            self.entries.resize(series.index() + 1, None);
        }
        self.entries[series.index()] = Some(Arc::clone(&entry));
        self.by_id.insert(id.get(), series);
        self.count += 1;
        Ok(entry)
    }

    /// Makes the metric if it is new; refuses a name that another pair has, and too many keys.
    fn take_names(&mut self, key: &SeriesKey) -> Result<(), MetricsError> {
        let metrics = self.dbs.entry(key.db().to_owned()).or_default();
        let metric = metrics.entry(key.metric().to_owned()).or_insert_with(|| Metric {
            measurement: key.measurement().to_owned(),
            ..Metric::default()
        });
        if metric.measurement != key.measurement() {
            return Err(MetricsError::NameTaken {
                metric: key.metric().to_owned(),
                measurement: metric.measurement.clone(),
            });
        }
        let fresh = key.labels().iter().filter(|(k, _)| !metric.label_keys.contains(k));
        let fresh: Vec<String> = fresh.map(|(k, _)| k.clone()).collect();
        if metric.label_keys.len() + fresh.len() > METRIC_LABEL_KEYS_MAX {
            return Err(MetricsError::MetricLabelKeys {
                metric: key.metric().to_owned(),
                key: fresh.into_iter().next_back().unwrap_or_default(),
            });
        }
        metric.label_keys.extend(fresh);
        Ok(())
    }

    fn view(&self, db: &str, name: &str, metric: &Metric) -> MetricView {
        let series = metric.series.iter();
        MetricView {
            db: db.to_owned(),
            metric: name.to_owned(),
            label_keys: metric.label_keys.iter().cloned().collect(),
            series: series.filter_map(|r| Some((*r, Arc::clone(self.entry(*r)?)))).collect(),
        }
    }
}

fn name_taken(key: &SeriesKey, known: &SeriesKey) -> MetricsError {
    MetricsError::NameTaken {
        metric: key.metric().to_owned(),
        measurement: known.measurement().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(measurement: &str, field: &str, labels: &[(&str, &str)]) -> SeriesKey {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        SeriesKey::new("default", measurement, field, labels).unwrap()
    }

    #[test]
    fn a_series_is_registered_once_and_found_by_all_ways() {
        let catalog = SeriesCatalog::new(10);
        let (one, entry) = catalog.register(&key("cpu", "user", &[("host", "a")])).unwrap();
        let (two, _) = catalog.register(&key("cpu", "user", &[("host", "b")])).unwrap();
        let (again, _) = catalog.register(&key("cpu", "user", &[("host", "a")])).unwrap();
        assert_eq!((one, two, again), (SeriesRef(0), SeriesRef(1), SeriesRef(0)));
        assert_eq!(catalog.find(entry.id), Some(one));
        let view = catalog.metric("default", "cpu_user").unwrap();
        assert_eq!(view.label_keys, ["host"]);
        assert_eq!(view.series.len(), 2);
        assert_eq!(catalog.since(1).len(), 1);
        let mut seen = Vec::new();
        catalog.visit_metrics(|db, metric, series| seen.push(format!("{db} {metric} {series:?}")));
        assert_eq!(seen, ["default cpu_user [SeriesRef(0), SeriesRef(1)]"]);
        assert!(!entry.is_logged());
    }

    #[test]
    fn two_pairs_with_one_name_are_refused() {
        let catalog = SeriesCatalog::new(10);
        catalog.register(&key("a_b", "c", &[])).unwrap();
        for labels in [&[][..], &[("host", "a")]] {
            let refused = catalog.register(&key("a", "b_c", labels)).unwrap_err();
            assert!(matches!(refused, MetricsError::NameTaken { .. }), "{refused}");
        }
        assert_eq!(catalog.len(), 1);
    }

    #[test]
    fn the_limits_of_series_and_label_keys_hold() {
        let catalog = SeriesCatalog::new(130);
        for i in 0..128 {
            catalog.register(&key("m", "value", &[(&format!("k{i}"), "v")])).unwrap();
        }
        let refused = catalog.register(&key("m", "value", &[("k128", "v")])).unwrap_err();
        assert!(matches!(refused, MetricsError::MetricLabelKeys { .. }));
        catalog.register(&key("n", "value", &[])).unwrap();
        catalog.register(&key("o", "value", &[])).unwrap();
        let refused = catalog.register(&key("p", "value", &[])).unwrap_err();
        assert_eq!(refused, MetricsError::SeriesMax { max: 130 });
    }

    #[test]
    fn a_registration_from_the_log_keeps_its_reference_and_may_repeat() {
        let catalog = SeriesCatalog::new(10);
        let series = key("cpu", "user", &[("host", "a")]);
        catalog.restore(SeriesRef(7), &series).unwrap();
        catalog.restore(SeriesRef(7), &series).unwrap();
        assert!(catalog.restore(SeriesRef(8), &series).is_err());
        assert!(catalog.get(SeriesRef(7)).unwrap().is_logged());
        let (fresh, _) = catalog.register(&key("cpu", "user", &[])).unwrap();
        assert_eq!(fresh, SeriesRef(8), "references are never reused");
    }
}
