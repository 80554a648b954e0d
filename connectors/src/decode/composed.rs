//! Names of a series that do not stand together in a body, put together once per sample and read once per series.
//!
//! ```text
//! key  = part …          part = kind u8, length u32 LE, bytes
//! ```
//!
//! Equal bytes are equal names, whatever body they come from.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::limits::SERIES_LABELS_MAX;

use crate::decode::item_errors::ItemReason;
use crate::decode::json::{labels_of_object, unescape};
use crate::decode::otlp::attribute;
use crate::decode::series_batch::SeriesNames;

/// Bytes that the keys of one message may take: it may name itself once, and have a million samples.
pub(crate) const MESSAGE_NAMES_BYTES_MAX: usize = 64 << 20;

/// What a part holds. All text is UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Part {
    /// The metric's name.
    Metric,
    /// The same as it stands between the quotes of JSON.
    JsonMetric,
    /// What the name goes on with.
    Suffix,
    /// A label's key; its value is the next part.
    Key,
    /// A label's value.
    Value,
    /// The same as it stands between the quotes of JSON.
    JsonValue,
    /// An object of JSON whose members are labels.
    JsonLabels,
    /// An attribute of a data point of OpenTelemetry: the labels before the first one win over it.
    Attribute,
    /// An attribute of a resource, behind all others: these win over it.
    ResourceAttribute,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Metric,
        Self::JsonMetric,
        Self::Suffix,
        Self::Key,
        Self::Value,
        Self::JsonValue,
        Self::JsonLabels,
        Self::Attribute,
        Self::ResourceAttribute,
    ];

    /// Appends the part to a key.
    #[inline]
    pub(crate) fn append(self, bytes: &[u8], key: &mut Vec<u8>) {
        let length =
            u32::try_from(bytes.len()).expect("a body is checked to be shorter than 4 GiB");
        key.push(self as u8);
        key.extend_from_slice(&length.to_le_bytes());
        key.extend_from_slice(bytes);
    }
}

/// The first part of a key, and what is behind it.
fn split_part(key: &[u8]) -> Option<(Part, &[u8], &[u8])> {
    let (kind, rest) = key.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((*Part::ALL.get(usize::from(*kind))?, bytes, rest))
}

/// The names that a key stands for.
pub(crate) fn names(mut key: &[u8]) -> Result<SeriesNames, ItemReason> {
    let mut names = SeriesNames { metric: String::new(), labels: Vec::new() };
    let mut label = String::new();
    let (mut before_attributes, mut before_resource) = (None, None);
    while let Some((part, bytes, rest)) = split_part(key) {
        let plain = || std::str::from_utf8(bytes).map_err(|_not_utf8| ItemReason::NotUtf8);
        let quoted = || unescape(bytes).map_err(|_syntax| ItemReason::BadJson);
        let count = names.labels.len();
        match part {
            Part::Metric | Part::Suffix => names.metric.push_str(plain()?),
            Part::JsonMetric => names.metric = quoted()?,
            Part::Key => plain()?.clone_into(&mut label),
            Part::Value => names.labels.push((std::mem::take(&mut label), plain()?.to_owned())),
            Part::JsonValue => names.labels.push((std::mem::take(&mut label), quoted()?)),
            Part::JsonLabels => labels_of_object(bytes, &mut names.labels)?,
            Part::Attribute => {
                let own = *before_attributes.get_or_insert(count);
                names.push_weaker(own, attribute(bytes)?);
            }
            Part::ResourceAttribute => {
                let own = *before_resource.get_or_insert(count);
                names.push_weaker(own, attribute(bytes)?);
            }
        }
        // Empty ones do not count; far more than these nobody sends.
        if names.labels.len() > 2 * SERIES_LABELS_MAX {
            return Err(ItemReason::TooManyLabels);
        }
        key = rest;
    }
    names.check()?;
    Ok(names)
}
