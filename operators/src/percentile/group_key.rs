//! What tells groups apart.

use tidewatch_metrics::fields::FieldWriter;
use tidewatch_metrics::{GroupId, SeriesKey};
use twox_hash::XxHash3_128;

use crate::matcher::label_of;

/// A group of series: a database, and the values of the labels that a rule groups by, in its order.
///
/// A label that a series does not have is the empty text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) db: String,
    pub(crate) values: Vec<String>,
}

impl GroupKey {
    /// The group of a series.
    pub(crate) fn of(key: &SeriesKey, by: &[String]) -> Self {
        let values = by.iter().map(|label| label_of(key, label).to_owned());
        Self { db: key.db().to_owned(), values: values.collect() }
    }

    /// The labels that its series have of those grouped `by`, in the order of the keys.
    pub(crate) fn labels(&self, by: &[String]) -> Vec<(String, String)> {
        let labels = by.iter().zip(&self.values).filter(|(_, value)| !value.is_empty());
        let mut labels: Vec<_> = labels.map(|(k, v)| (k.clone(), v.clone())).collect();
        labels.sort_unstable();
        labels
    }

    /// What tells the group from those of all percentiles; `rule` is the hash of its own.
    pub(crate) fn id(&self, rule: u128) -> GroupId {
        let mut out = FieldWriter::default();
        out.u128(rule);
        out.text(&self.db);
        self.values.iter().for_each(|value| out.text(value));
        GroupId(XxHash3_128::oneshot(out.as_bytes()))
    }

    /// Bytes that it takes, as they are counted.
    pub(crate) fn bytes(&self) -> usize {
        let texts: usize = self.values.iter().map(|value| value.len() + size_of::<String>()).sum();
        size_of::<Self>() + self.db.len() + texts
    }
}
