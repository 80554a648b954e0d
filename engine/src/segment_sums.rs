//! What segments hold and what replay puts out for the same rows, as sums that no order changes.

use std::path::Path;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, SeriesCatalog, SeriesRef};
use tidewatch_segments::{FileKind, Projection, Segment, SegmentColumns, SlotSet, list};
use twox_hash::XxHash3_64;

use crate::EngineError;
use crate::verify_shard::ScoredRow;

/// The sums of all segments of a data directory.
#[derive(Debug)]
pub(crate) struct SegmentSums {
    catalog: Arc<SeriesCatalog>,
    segments: Vec<SumPair>,
    /// Per slot the segments that hold its rows, by their last record.
    by_slot: Vec<Vec<(Lsn, usize)>>,
    rows: u64,
}

#[derive(Debug)]
struct SumPair {
    segment: Segment,
    /// Whether replay puts all of its rows out.
    is_compared: bool,
    stored: Sum,
    replayed: Sum,
}

/// Number of rows and a wrapping sum of a mixture of each one's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hash: u64,
}

impl SegmentSums {
    /// The segments in `dir` all of whose rows are behind `covered`, per slot, which replay passes over;
    /// series are found in `catalog` once replay has registered them. `lost` are segments that are gone:
    /// their slots and last records.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        catalog: &Arc<SeriesCatalog>,
        covered: &[Lsn; SLOTS],
        lost: &[(SlotSet, Lsn)],
    ) -> Result<Self, EngineError> {
        let mut sums = Self {
            catalog: Arc::clone(catalog),
            segments: Vec::new(),
            by_slot: vec![Vec::new(); SLOTS],
            rows: 0,
        };
        for meta in list(&**disk, dir)? {
            if meta.kind != FileKind::Samples {
                continue;
            }
            for slot in meta.slots.iter() {
                sums.by_slot[usize::from(slot.0)].push((meta.last_lsn, sums.segments.len()));
            }
            let replayed_before = meta.slots.iter().map(|slot| covered[usize::from(slot.0)]).max();
            let is_compared = replayed_before.is_none_or(|covered| covered < meta.first_lsn);
            let segment = Segment::open(Arc::clone(disk), dir, meta);
            let (stored, replayed) = (Sum::default(), Sum::default());
            sums.segments.push(SumPair { segment, is_compared, stored, replayed });
        }
        for (slots, last) in lost {
            // A place without a segment: rows that it took are not compared.
            slots.iter().for_each(|slot| {
                sums.by_slot[usize::from(slot.0)].push((*last, usize::MAX));
            });
        }
        for segments in &mut sums.by_slot {
            segments.sort_unstable();
        }
        Ok(sums)
    }

    /// Replayed rows that segments hold.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Replay put this row out.
    pub(crate) fn replayed(&mut self, row: &ScoredRow) {
        let Some(entry) = self.catalog.get(row.series) else { return };
        let segments = &self.by_slot[usize::from(entry.id.slot().0)];
        // The first flush that reached this record took the row.
        let at = segments.partition_point(|(last, _)| *last < row.lsn);
        if let Some((_, segment)) = segments.get(at)
            && let Some(pair) = self.segments.get_mut(*segment)
        {
            let bits = RowBits {
                id: entry.id.get(),
                time: row.time.nanos(),
                value: row.value.to_bits(),
                severity: row.severity.steps(),
                flags: row.flags.bits(),
            };
            if pair.is_compared {
                pair.replayed.add(&bits);
                self.rows += 1;
            }
        }
    }

    /// Reads the segments; tells the first one whose rows differ from the replayed ones.
    pub(crate) fn difference(&mut self) -> Result<Option<String>, EngineError> {
        let mut columns = SegmentColumns::default();
        for pair in self.segments.iter_mut().filter(|pair| pair.is_compared) {
            pair.read(&self.catalog, &mut columns)?;
            if pair.stored != pair.replayed {
                let meta = pair.segment.meta();
                return Ok(Some(format!(
                    "segment {} (records {} to {}): {} rows stored, {} replayed, and their \
                     severities or values differ",
                    meta.file, meta.first_lsn, meta.last_lsn, pair.stored.rows, pair.replayed.rows
                )));
            }
        }
        Ok(None)
    }
}

impl SumPair {
    fn read(
        &mut self,
        catalog: &SeriesCatalog,
        columns: &mut SegmentColumns,
    ) -> Result<(), EngineError> {
        let reader = self.segment.reader()?;
        for group in 0..reader.groups().len() {
            reader.read(group, Projection::ALL, columns)?;
            self.add(catalog, columns);
        }
        Ok(())
    }

    fn add(&mut self, catalog: &SeriesCatalog, columns: &SegmentColumns) {
        let SegmentColumns {
            series_ref: Some(series),
            time: Some(time),
            value: Some(value),
            severity: Some(severity),
            flags: Some(flags),
            ..
        } = columns
        else {
            return;
        };
        for row in 0..columns.rows {
            // A series that the log does not know makes the sums differ, as it should.
            let entry = catalog.get(SeriesRef(series.value(row)));
            self.stored.add(&RowBits {
                id: entry.map_or(0, |entry| entry.id.get()),
                time: time.value(row),
                value: value.value(row).to_bits(),
                severity: severity.value(row),
                flags: flags.value(row),
            });
        }
    }
}

/// Every bit of a stored row.
#[derive(Clone, Copy, Debug)]
struct RowBits {
    id: u128,
    time: i64,
    value: u64,
    severity: u16,
    flags: u8,
}

impl Sum {
    fn add(&mut self, row: &RowBits) {
        let mut bytes = [0; 35];
        bytes[..16].copy_from_slice(&row.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&row.time.to_le_bytes());
        bytes[24..32].copy_from_slice(&row.value.to_le_bytes());
        bytes[32..34].copy_from_slice(&row.severity.to_le_bytes());
        bytes[34] = row.flags;
        self.rows += 1;
        self.hash = self.hash.wrapping_add(XxHash3_64::oneshot(&bytes));
    }
}
