//! One file of the manifest.
//!
//! ```text
//! {"format":3,"crc32c":"8 hex digits","delta":{…}}\n      crc32c of the format's digits (since format 3) and the delta's bytes
//! ```
//!
//! The text has one line end, at its end, and no byte 0. A file that does not end so, or that holds
//! a byte 0 (a sector that never reached the disk), was torn while it was created; any other that
//! does not check was damaged afterwards.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tidewatch_metrics::Lsn;

use crate::deletes::Delete;
use crate::error::SegmentsError;
use crate::file_meta::{FileMeta, FlushedSlots, lsn};

/// The format of deltas that this release writes.
pub(crate) const DELTA_FORMAT: u64 = 3;
/// The first format whose checksum is of the format as well.
const FORMAT_IN_CHECKSUM: u64 = 3;
const HEAD: &str = "{\"format\":";
const CRC: &str = ",\"crc32c\":\"";
const BODY: &str = "\",\"delta\":";
const END: &str = "}\n";

/// What changed from one version of the manifest to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta {
    /// The version that this delta makes.
    pub(crate) number: u64,
    /// The version before.
    pub(crate) previous: u64,
    /// Whether this names everything, so that earlier deltas are not needed.
    pub(crate) full: bool,
    /// Files that came.
    pub(crate) added: Vec<FileMeta>,
    /// Names of files that went.
    pub(crate) removed: Vec<String>,
    /// Slots whose rows are in files up to another record than before.
    pub(crate) flushed: Vec<FlushedSlots>,
    /// References below this have been looked at for the files of series.
    pub(crate) series_end: u32,
    /// References below `series_end` that stood for no series then.
    pub(crate) series_missing: Vec<RefRange>,
    /// Deletes that came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) deletes: Vec<Delete>,
    /// Records of deletes that no file needs any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) deletes_done: Vec<u64>,
    /// The greatest last record of a file that went with rows that had expired or had no room.
    #[serde(default, with = "lsn")]
    pub(crate) dropped_lsn: Lsn,
    /// Files that went because they are damaged; they stay on the disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) quarantined: Vec<FileMeta>,
    /// Deletes of records up to this one are known.
    #[serde(default, with = "lsn")]
    pub(crate) deletes_lsn: Lsn,
    /// Letters of records up to this one are in files, or gone.
    #[serde(default, with = "lsn")]
    pub(crate) letters_lsn: Lsn,
}

/// References from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefRange {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Why bytes are no delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadDelta {
    /// Torn while it was created.
    Torn,
    /// Complete, and damaged.
    Damaged(&'static str),
    /// From a later release.
    Newer(u64),
}

impl Delta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_string(self).expect("numbers and text are JSON");
        let crc = checksum(DELTA_FORMAT, &body);
        format!("{HEAD}{DELTA_FORMAT}{CRC}{crc:08x}{BODY}{body}{END}").into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadDelta> {
        if !bytes.ends_with(END.as_bytes()) || bytes.contains(&0) {
            return Err(BadDelta::Torn);
        }
        let text = str::from_utf8(bytes).map_err(|_utf8| BadDelta::Damaged("it is no text"))?;
        let (format, rest) = text
            .strip_prefix(HEAD)
            .and_then(|rest| rest.split_once(CRC))
            .ok_or(BadDelta::Damaged("it does not begin as a delta"))?;
        let format = match format.parse() {
            Ok(known @ 1..=DELTA_FORMAT) => known,
            Ok(newer) if newer > DELTA_FORMAT => return Err(BadDelta::Newer(newer)),
            _ => return Err(BadDelta::Damaged("its format is no number")),
        };
        let (crc, body) = rest
            .split_once(BODY)
            .and_then(|(crc, rest)| Some((crc, rest.strip_suffix(END)?)))
            .ok_or(BadDelta::Damaged("it has no body"))?;
        if crc != format!("{:08x}", checksum(format, body)) {
            return Err(BadDelta::Damaged("the checksum does not match"));
        }
        serde_json::from_str(body).map_err(|_json| BadDelta::Damaged("its body has a bad form"))
    }
}

/// The checksum of a delta. With the format in it, a flipped bit makes no delta of an earlier format.
fn checksum(format: u64, body: &str) -> u32 {
    let begun = match format {
        0..FORMAT_IN_CHECKSUM => 0,
        _ => crc32c::crc32c(format.to_string().as_bytes()),
    };
    crc32c::crc32c_append(begun, body.as_bytes())
}

impl BadDelta {
    pub(crate) fn error(self, path: &Path) -> SegmentsError {
        match self {
            Self::Torn => SegmentsError::corrupt(path, 0, "it is cut or holds a lost sector"),
            Self::Damaged(reason) => SegmentsError::corrupt(path, 0, reason),
            Self::Newer(found) => {
                SegmentsError::NewerFormat { path: path.to_owned(), found, known: DELTA_FORMAT }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::EventTime;

    use super::*;
    use crate::file_meta::MetricName;
    use crate::slot_set::SlotSet;

    fn delta() -> Delta {
        Delta {
            number: 7,
            previous: 6,
            full: false,
            added: Vec::new(),
            removed: vec!["a\nb\0".to_owned()],
            flushed: vec![FlushedSlots { lsn: Lsn::new(9), slots: SlotSet::ALL }],
            series_end: 12,
            series_missing: vec![RefRange { start: 3, end: 5 }],
            deletes: vec![Delete {
                lsn: Lsn::new(8),
                metric: MetricName { db: "d".to_owned(), metric: "m".to_owned() },
                from: EventTime::MIN,
                to: EventTime::new(7),
            }],
            deletes_done: vec![4],
            dropped_lsn: Lsn::new(3),
            quarantined: Vec::new(),
            deletes_lsn: Lsn::new(8),
            letters_lsn: Lsn::new(5),
        }
    }

    #[test]
    fn a_delta_comes_back() {
        assert_eq!(Delta::decode(&delta().encode()), Ok(delta()));
    }

    #[test]
    fn a_delta_of_an_earlier_format_is_read_and_its_checksum_is_of_its_body_alone() {
        let body = serde_json::to_string(&delta()).unwrap();
        let body = body.replace(",\"letters_lsn\":5", "");
        let crc = crc32c::crc32c(body.as_bytes());
        let text = format!("{HEAD}2{CRC}{crc:08x}{BODY}{body}{END}");
        let expected = Delta { letters_lsn: Lsn::ZERO, ..delta() };
        assert_eq!(Delta::decode(text.as_bytes()), Ok(expected));
        let later = text.replacen("\"format\":2", "\"format\":3", 1);
        assert!(matches!(Delta::decode(later.as_bytes()), Err(BadDelta::Damaged(_))));
    }

    #[test]
    fn every_cut_is_torn_and_every_flip_is_found() {
        let bytes = delta().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Delta::decode(&bytes[..cut]), Err(BadDelta::Torn), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Delta::decode(&flipped).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_lost_sector_is_torn_and_a_later_format_is_told() {
        let mut bytes = delta().encode();
        bytes[20] = 0;
        assert_eq!(Delta::decode(&bytes), Err(BadDelta::Torn));
        let text = String::from_utf8(delta().encode()).unwrap();
        let newer = text.replacen("\"format\":3", "\"format\":4", 1);
        assert_eq!(Delta::decode(newer.as_bytes()), Err(BadDelta::Newer(4)));
    }
}
