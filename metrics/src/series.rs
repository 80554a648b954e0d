//! What a series is: a database, a metric name and the sorted label set.
//!
//! Canonical form, which is hashed for the identity and stored in log and checkpoint:
//! ```text
//! db:      u16 LE length, bytes
//! metric:  u16 LE length, bytes
//! labels:  u16 LE count, then per label in byte order of the keys:
//!          u16 LE length, key bytes, u16 LE length, value bytes
//! ```

use std::fmt;

use twox_hash::XxHash3_128;

use crate::MetricsError;
use crate::limits::{
    DATABASE_BYTES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, METRIC_BYTES_MAX,
    SERIES_KEY_BYTES_MAX, SERIES_LABELS_MAX,
};

/// The field whose name does not become part of the metric's name.
pub const VALUE_FIELD: &str = "value";

/// A series' stable identity: xxh3-128 of its canonical form. The same on every machine, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(u128);

impl SeriesId {
    /// The identity of the series with this canonical form.
    #[must_use]
    pub fn of(canonical: &[u8]) -> Self {
        Self(XxHash3_128::oneshot(canonical))
    }

    /// The identity with this number.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The slot that the series lives in: the top 8 bits.
    #[must_use]
    pub const fn slot(self) -> Slot {
        Slot(self.0.to_le_bytes()[15])
    }
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One of the 256 parts that all series are divided into; shards own slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// Number of slots of a data directory.
pub const SLOTS: usize = 256;

/// A series' short name within one data directory: dense, given once, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SeriesRef(pub u32);

impl SeriesRef {
    /// The reference as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The names of a series. Labels are sorted by key, keys are unique, all limits hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesKey {
    db: String,
    metric: String,
    measurement_bytes: usize,
    labels: Vec<(String, String)>,
}

impl SeriesKey {
    /// The series of `field` of `measurement` with `labels`, which may come in any order.
    ///
    /// The metric's name is the measurement, or `measurement_field` unless the field is `value`.
    /// Labels with an empty value are left out, as Prometheus and Influx do.
    ///
    /// # Errors
    /// Whatever breaks a limit of [`crate::limits`], is reserved, or stands twice.
    pub fn new(
        db: &str,
        measurement: &str,
        field: &str,
        mut labels: Vec<(String, String)>,
    ) -> Result<Self, MetricsError> {
        check_database(db)?;
        let metric = if field == VALUE_FIELD {
            measurement.to_owned()
        } else {
            format!("{measurement}_{field}")
        };
        if measurement.is_empty() || field.is_empty() || metric.len() > METRIC_BYTES_MAX {
            return Err(MetricsError::MetricName { bytes: metric.len() });
        }
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        check_labels(&labels)?;
        let key = Self { db: db.to_owned(), metric, measurement_bytes: measurement.len(), labels };
        let bytes = key.canonical().len();
        if bytes > SERIES_KEY_BYTES_MAX {
            return Err(MetricsError::SeriesKey { bytes });
        }
        Ok(key)
    }

    /// The database (tenant).
    #[must_use]
    pub fn db(&self) -> &str {
        &self.db
    }

    /// The metric's name.
    #[must_use]
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// The measurement's part of the metric's name.
    ///
    /// # Panics
    /// Never: both constructors see to it that the name begins with the measurement.
    #[must_use]
    pub fn measurement(&self) -> &str {
        self.metric.get(..self.measurement_bytes).expect("the measurement begins the metric's name")
    }

    /// The field's part of the metric's name, or `value`.
    #[must_use]
    pub fn field(&self) -> &str {
        self.metric.get(self.measurement_bytes + 1..).unwrap_or(VALUE_FIELD)
    }

    /// The labels, sorted by key.
    #[must_use]
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// Bytes of the metric's name that are the measurement.
    #[must_use]
    pub fn measurement_bytes(&self) -> usize {
        self.measurement_bytes
    }

    /// The stable identity.
    #[must_use]
    pub fn id(&self) -> SeriesId {
        SeriesId::of(&self.canonical())
    }

    /// The canonical form (see the head of this file).
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        push_text(&mut out, &self.db);
        push_text(&mut out, &self.metric);
        out.extend_from_slice(&short(self.labels.len()).to_le_bytes());
        for (key, value) in &self.labels {
            push_text(&mut out, key);
            push_text(&mut out, value);
        }
        out
    }

    /// Reads a canonical form; `measurement_bytes` tells the measurement within the name.
    ///
    /// `None` where the bytes are no canonical form of a series that [`SeriesKey::new`] gives.
    #[must_use]
    pub fn from_canonical(mut bytes: &[u8], measurement_bytes: usize) -> Option<Self> {
        let db = take_text(&mut bytes)?;
        let metric = take_text(&mut bytes)?;
        let count = take_u16(&mut bytes)?;
        if usize::from(count) > SERIES_LABELS_MAX {
            return None;
        }
        let mut labels = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            labels.push((take_text(&mut bytes)?.to_owned(), take_text(&mut bytes)?.to_owned()));
        }
        let sorted = labels.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let named = metric.is_char_boundary(measurement_bytes)
            && (metric.len() == measurement_bytes
                || metric.as_bytes().get(measurement_bytes) == Some(&b'_'));
        if !bytes.is_empty() || !sorted || !named || measurement_bytes == 0 {
            return None;
        }
        Some(Self { db: db.to_owned(), metric: metric.to_owned(), measurement_bytes, labels })
    }
}

/// Whether `name` may be a database.
///
/// # Errors
/// Says what a name must look like.
pub fn check_database(name: &str) -> Result<(), MetricsError> {
    let good = !name.is_empty()
        && name.len() <= DATABASE_BYTES_MAX
        && !name.chars().any(char::is_control)
        && name != "tidewatch"
        && name != "information_schema";
    if good {
        Ok(())
    } else {
        Err(MetricsError::Database { name: name.chars().take(64).collect() })
    }
}

fn check_labels(labels: &[(String, String)]) -> Result<(), MetricsError> {
    if labels.len() > SERIES_LABELS_MAX {
        return Err(MetricsError::Labels { count: labels.len() });
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > LABEL_KEY_BYTES_MAX {
            return Err(MetricsError::LabelKey { bytes: key.len() });
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(MetricsError::LabelValue { key: key.clone(), bytes: value.len() });
        }
    }
    match labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(MetricsError::DuplicateLabel { key: pair[0].0.clone() }),
        None => Ok(()),
    }
}

fn short(length: usize) -> u16 {
    u16::try_from(length).expect("every name is checked against a limit below 64 KiB")
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&short(text.len()).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_le_bytes(*head))
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(take_u16(bytes)?);
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn the_identity_does_not_depend_on_the_order_of_labels() {
        let one = SeriesKey::new("d", "cpu", "user", vec![label("a", "1"), label("b", "2")]);
        let two = SeriesKey::new("d", "cpu", "user", vec![label("b", "2"), label("a", "1")]);
        assert_eq!(one.as_ref().map(SeriesKey::id), two.as_ref().map(SeriesKey::id));
        assert_eq!(one.expect("valid").metric(), "cpu_user");
    }

    #[test]
    fn the_identity_is_pinned_for_ever() {
        let key = SeriesKey::new("default", "cpu", "value", vec![label("host", "a")]).unwrap();
        assert_eq!(key.id().to_string(), SeriesId::of(&key.canonical()).to_string());
        assert_eq!(
            key.canonical(),
            b"\x07\0default\x03\0cpu\x01\0\x04\0host\x01\0a",
            "the canonical form is stored: it may never change"
        );
        assert_eq!(key.id().to_string(), "155d8f8f6d39437441d250b91ee242fb");
    }

    #[test]
    fn bad_names_are_refused_with_their_reason() {
        let refuse = |db: &str, m: &str, f: &str, l| SeriesKey::new(db, m, f, l).unwrap_err();
        assert!(matches!(refuse("tidewatch", "m", "f", vec![]), MetricsError::Database { .. }));
        assert!(matches!(refuse("d", "", "f", vec![]), MetricsError::MetricName { .. }));
        let twice = vec![label("k", "1"), label("k", "2")];
        assert!(matches!(refuse("d", "m", "f", twice), MetricsError::DuplicateLabel { .. }));
        let many = (0..65).map(|i| label(&format!("k{i}"), "v")).collect();
        assert_eq!(refuse("d", "m", "f", many), MetricsError::Labels { count: 65 });
    }

    proptest! {
        #[test]
        fn canonical_forms_come_back(
            m in "[a-z_.]{1,12}",
            f in "[a-z_]{1,9}",
            labels in proptest::collection::btree_map("[a-zé]{1,5}", "[ -~]{1,9}", 0..8),
        ) {
            let labels = labels.into_iter().collect();
            let key = SeriesKey::new("db", &m, &f, labels).unwrap();
            let back = SeriesKey::from_canonical(&key.canonical(), key.measurement_bytes());
            prop_assert_eq!(Some(&key), back.as_ref());
            prop_assert_eq!(key.measurement(), m);
            prop_assert_eq!(key.field(), f);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), n in 0_usize..9) {
            if let Some(key) = SeriesKey::from_canonical(&bytes, n) {
                prop_assert_eq!(key.canonical(), bytes);
            }
        }
    }
}
