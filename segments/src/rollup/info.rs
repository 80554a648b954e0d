//! Where a segment's rollup is, as the key `tidewatch.rollup` of the footer tells it.
//!
//! ```text
//! {"format":1,"offset","bytes","footer_offset","footer_crc32c","groups":[row group, …]}
//! ```
//!
//! Offsets of the footer and of row groups are from the beginning of the rollup.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use crate::file_meta::RowGroupMeta;

/// The format of rollups that this release writes. Others are not read; the rows tell all that they would.
pub(crate) const ROLLUP_FORMAT: u64 = 1;
const ROLLUP_KEY: &str = "tidewatch.rollup";

/// Where a segment's rollup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RollupInfo {
    pub(crate) format: u64,
    /// Where it begins in the segment.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) footer_offset: u64,
    pub(crate) footer_crc32c: u32,
    pub(crate) groups: Vec<RowGroupMeta>,
}

/// A rollup as far as the segment's footer knows it.
#[derive(Debug)]
pub(crate) struct RollupFooter {
    pub(crate) info: RollupInfo,
    /// The rollup's own footer, once it was read.
    pub(crate) arrow: OnceLock<ArrowReaderMetadata>,
    /// ATOMICS: a flag on its own guards no other memory, hence relaxed.
    pub(crate) is_damaged: AtomicBool,
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

/// The text for a segment's footer.
pub(crate) fn rollup_key_value(info: &RollupInfo) -> KeyValue {
    let info = serde_json::to_string(info).expect("numbers and text are JSON");
    KeyValue::new(ROLLUP_KEY.to_owned(), info)
}

/// The rollup that the texts of a footer tell of; `None` where there is none of a known format.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn rollup_of(
    pairs: Option<&Vec<KeyValue>>,
) -> Result<Option<RollupFooter>, &'static str> {
    let pair = pairs.into_iter().flatten().find(|pair| pair.key == ROLLUP_KEY);
    let Some(text) = pair.and_then(|pair| pair.value.as_deref()) else { return Ok(None) };
    let format: Format =
        serde_json::from_str(text).map_err(|_json| "tidewatch.rollup is no JSON with a format")?;
    if format.format > ROLLUP_FORMAT {
        return Ok(None);
    }
    let info: RollupInfo =
        serde_json::from_str(text).map_err(|_json| "tidewatch.rollup has a bad form")?;
    let (arrow, is_damaged) = (OnceLock::new(), AtomicBool::new(false));
    Ok(Some(RollupFooter { info, arrow, is_damaged }))
}
