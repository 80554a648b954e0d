//! Prometheus remote write, straight to columns: 1.0 and 2.0.
//!
//! Samples are taken as they are: NaN, the stale marker 0x7ff0000000000002 among them, and infinities. Native
//! histograms are refused, and what else of their series there is is stored; exemplars, metadata and start
//! timestamps are counted. A body that is no message is refused as a whole, a series with bad labels by itself.

mod sample;
mod snappy;
pub(crate) mod v1;
pub(crate) mod v2;

pub(crate) use snappy::unpack_behind;
pub use snappy::{SnappyError, unpack, unpacked_len};

use crate::decode::item_errors::ItemReason;
use crate::decode::series_batch::{SeriesError, SeriesNames};
use crate::decode::wire::Malformed;

/// The label that is the metric's name.
const NAME_LABEL: &str = "__name__";

impl From<Malformed> for SeriesError {
    fn from(malformed: Malformed) -> Self {
        Self::Message { at: malformed.at }
    }
}

/// Labels as they came, of which one is the metric's name.
fn named(mut labels: Vec<(String, String)>) -> Result<SeriesNames, ItemReason> {
    let name = labels.iter().position(|(key, _)| key == NAME_LABEL);
    let (_, metric) = labels.remove(name.ok_or(ItemReason::MissingName)?);
    if labels.iter().any(|(key, _)| key == NAME_LABEL) {
        return Err(ItemReason::MalformedLabel);
    }
    let names = SeriesNames { metric, labels };
    names.check()?;
    Ok(names)
}

#[cfg(test)]
mod oracle_tests;
