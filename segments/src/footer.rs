//! What Tidewatch adds to the footer of a segment, as two JSON texts of the key-value metadata.
//!
//! ```text
//! tidewatch.segment:     {"format":1,"first_lsn":…,"last_lsn":…,"slots":"64 hex digits"}
//! tidewatch.row_groups:  [{"rows","offset","bytes","crc32c","first":{"db","metric"},"last":{…},
//!                          "time_min","time_max","late_rows"}, …]
//! ```

use std::path::Path;

use bytes::Buf;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use serde::{Deserialize, Serialize};
use tidewatch_env::DiskFile;
use tidewatch_metrics::Lsn;

use crate::error::SegmentsError;
use crate::file_meta::{FileMeta, RowGroupMeta, lsn};
use crate::limits::FOOTER_BYTES_MAX;
use crate::rollup::{RollupFooter, rollup_of};
use crate::slot_set::SlotSet;

/// The format of segments that this release writes.
pub(crate) const SEGMENT_FORMAT: u64 = 1;
const SEGMENT_KEY: &str = "tidewatch.segment";
const ROW_GROUPS_KEY: &str = "tidewatch.row_groups";

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentInfo {
    pub(crate) format: u64,
    #[serde(with = "lsn")]
    pub(crate) first_lsn: Lsn,
    #[serde(with = "lsn")]
    pub(crate) last_lsn: Lsn,
    pub(crate) slots: SlotSet,
}

/// A footer that was read and checked.
#[derive(Debug)]
pub(crate) struct Footer {
    pub(crate) arrow: ArrowReaderMetadata,
    pub(crate) groups: Vec<RowGroupMeta>,
    pub(crate) rollup: Option<RollupFooter>,
    /// Bytes of memory, about.
    pub(crate) memory_bytes: usize,
}

/// Bytes of a file from an offset on: all that a decoder may look at.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub(crate) file_bytes: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

/// The texts for a segment's footer.
pub(crate) fn key_values(info: &SegmentInfo, groups: &[RowGroupMeta]) -> Vec<KeyValue> {
    let info = serde_json::to_string(info).expect("numbers and text are JSON");
    let groups = serde_json::to_string(groups).expect("numbers and text are JSON");
    vec![
        KeyValue::new(SEGMENT_KEY.to_owned(), info),
        KeyValue::new(ROW_GROUPS_KEY.to_owned(), groups),
    ]
}

/// Reads and checks the footer of a segment.
///
/// # Errors
/// [`SegmentsError::Corrupt`] where it is not what the manifest and the format promise.
pub(crate) fn read_footer(
    file: &dyn DiskFile,
    path: &Path,
    meta: &FileMeta,
) -> Result<Footer, SegmentsError> {
    let part = read_footer_part(file, path, meta)?;
    let parsed = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Skip)
        .parse_and_finish(&part)
        .map_err(SegmentsError::parquet("read the footer of", path))?;
    let corrupt = |reason| SegmentsError::corrupt(path, meta.footer_offset, reason);
    let pairs = parsed.file_metadata().key_value_metadata();
    let text = |key: &str| {
        let pair = pairs.into_iter().flatten().find(|pair| pair.key == key);
        pair.and_then(|pair| pair.value.as_deref()).ok_or_else(|| corrupt("its key is missing"))
    };
    let format: Format = serde_json::from_str(text(SEGMENT_KEY)?)
        .map_err(|_json| corrupt("tidewatch.segment is no JSON with a format"))?;
    if format.format > SEGMENT_FORMAT {
        return Err(SegmentsError::NewerFormat {
            path: path.to_owned(),
            found: format.format,
            known: SEGMENT_FORMAT,
        });
    }
    let info: SegmentInfo = serde_json::from_str(text(SEGMENT_KEY)?)
        .map_err(|_json| corrupt("tidewatch.segment has a bad form"))?;
    if (info.first_lsn, info.last_lsn, info.slots) != (meta.first_lsn, meta.last_lsn, meta.slots) {
        return Err(corrupt("log range or slots differ from the manifest's"));
    }
    let json = text(ROW_GROUPS_KEY)?;
    let groups: Vec<RowGroupMeta> = serde_json::from_str(json)
        .map_err(|_json| corrupt("tidewatch.row_groups has a bad form"))?;
    let rows = parsed.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    if !rows.eq(groups.iter().map(|group| Some(group.rows))) {
        return Err(corrupt("tidewatch.row_groups differs from the row groups"));
    }
    let rollup = rollup_of(pairs).map_err(corrupt)?;
    // The rollup's own footer, once it is read, takes about as much for each of its row groups.
    let group_bytes = (parsed.memory_size() + 2 * json.len()) / groups.len().max(1);
    let rollup_groups = rollup.as_ref().map_or(0, |rollup| rollup.info.groups.len());
    let memory_bytes = parsed.memory_size() + 2 * json.len() + rollup_groups * group_bytes;
    let arrow = ArrowReaderMetadata::try_new(parsed.into(), ArrowReaderOptions::new())
        .map_err(SegmentsError::parquet("read the schema of", path))?;
    Ok(Footer { arrow, groups, rollup, memory_bytes })
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

/// Reads the footer's bytes and compares them with the manifest's checksum.
pub(crate) fn read_footer_part(
    file: &dyn DiskFile,
    path: &Path,
    meta: &FileMeta,
) -> Result<FilePart, SegmentsError> {
    let bytes = meta.bytes.checked_sub(meta.footer_offset);
    let bytes = bytes.filter(|bytes| *bytes <= FOOTER_BYTES_MAX).ok_or_else(|| {
        SegmentsError::corrupt(path, meta.footer_offset, "the footer lies outside of the file")
    })?;
    if file.len().map_err(SegmentsError::io("measure", path))? != meta.bytes {
        return Err(SegmentsError::corrupt(path, meta.bytes, "its length is not the manifest's"));
    }
    let bytes = read_checked(file, path, (meta.footer_offset, bytes), meta.footer_crc32c)?;
    Ok(FilePart { file_bytes: meta.bytes, offset: meta.footer_offset, bytes })
}

/// Reads `(offset, bytes)` of a file and compares the checksum.
pub(crate) fn read_checked(
    file: &dyn DiskFile,
    path: &Path,
    (offset, bytes): (u64, u64),
    crc32c: u32,
) -> Result<Bytes, SegmentsError> {
    let length = usize::try_from(bytes)
        .map_err(|_large| SegmentsError::corrupt(path, offset, "a part exceeds the memory"))?;
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, offset).map_err(SegmentsError::io("read", path))?;
    if crc32c::crc32c(&buffer) != crc32c {
        return Err(SegmentsError::corrupt(path, offset, "the checksum does not match"));
    }
    Ok(buffer.into())
}

impl FilePart {
    fn slice(&self, start: u64, length: Option<usize>) -> Result<Bytes, ParquetError> {
        let inside = start.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let rest = inside.filter(|at| *at <= self.bytes.len()).map(|at| self.bytes.slice(at..));
        match (rest, length) {
            (Some(rest), None) => Ok(rest),
            (Some(rest), Some(length)) if length <= rest.len() => Ok(rest.slice(..length)),
            _ => Err(ParquetError::EOF(format!("byte {start} lies outside of the part"))),
        }
    }
}

impl Length for FilePart {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for FilePart {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.slice(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.slice(start, Some(length))
    }
}
