//! What tells groups apart.

use tidewatch_metrics::SeriesKey;

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

    /// Bytes that it takes, as they are counted.
    pub(crate) fn bytes(&self) -> usize {
        let texts: usize = self.values.iter().map(|value| value.len() + size_of::<String>()).sum();
        size_of::<Self>() + self.db.len() + texts
    }
}
