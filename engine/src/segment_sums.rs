//! What segments hold and what replay puts out for the same rows, as sums that no order changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{EventTime, Lsn, SeriesCatalog, SeriesRef};
use tidewatch_segments::{FileKind, Manifest, Projection, Segment, SegmentColumns, SlotSet};
use twox_hash::XxHash3_64;

use crate::EngineError;
use crate::deletes::DeleteRecord;
use crate::verify_shard::ScoredRow;

/// Deletes with their records, in the order of the log.
pub(crate) type LoggedDeletes = Vec<(Lsn, DeleteRecord)>;

/// The sums of all segments of a data directory.
#[derive(Debug)]
pub(crate) struct SegmentSums {
    catalog: Arc<SeriesCatalog>,
    segments: Vec<SumPair>,
    /// Per slot the segments that hold its rows, by their last record.
    by_slot: Vec<Vec<(Lsn, usize)>>,
    deletes: Deleted,
    rows: u64,
}

/// The deletes of the log: rows that they hide are not compared, whether a segment still has them or not.
#[derive(Debug, Default)]
struct Deleted {
    deletes: LoggedDeletes,
    /// By series those that are about its metric, by their places.
    of_series: BTreeMap<SeriesRef, Vec<usize>>,
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
    /// their slots and last records; `deletes` are those of the log.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        catalog: &Arc<SeriesCatalog>,
        covered: &[Lsn; SLOTS],
        (lost, deletes): (&[(SlotSet, Lsn)], LoggedDeletes),
    ) -> Result<Self, EngineError> {
        let manifest = Manifest::open_read_only(&**disk, dir)?;
        let mut sums = Self {
            catalog: Arc::clone(catalog),
            segments: Vec::new(),
            by_slot: vec![Vec::new(); SLOTS],
            deletes: Deleted { deletes, of_series: BTreeMap::new() },
            rows: 0,
        };
        for meta in manifest.files_of(FileKind::Samples).cloned() {
            for slot in meta.slots.iter() {
                let end = meta.end_of(slot).unwrap_or(meta.last_lsn);
                sums.by_slot[usize::from(slot.0)].push((end, sums.segments.len()));
            }
            let replayed_before = meta.slots.iter().map(|slot| covered[usize::from(slot.0)]).max();
            let has_expired = meta.rows_erased > 0 && meta.retained.is_some();
            let is_whole = !has_expired && meta.first_lsn > manifest.dropped_lsn();
            let is_compared =
                is_whole && replayed_before.is_none_or(|covered| covered < meta.first_lsn);
            let segment = Segment::open(Arc::clone(disk), dir, meta);
            let (stored, replayed) = (Sum::default(), Sum::default());
            sums.segments.push(SumPair { segment, is_compared, stored, replayed });
        }
        let damaged = manifest.quarantined().iter().map(|meta| (meta.slots, meta.last_lsn));
        let damaged: Vec<_> = damaged.collect();
        for (slots, last) in lost.iter().chain(&damaged) {
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
        if self.deletes.hide(row.series, &entry, row.time, |delete| row.lsn < delete) {
            return;
        }
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
            pair.read(&self.catalog, &mut self.deletes, &mut columns)?;
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
        deletes: &mut Deleted,
        columns: &mut SegmentColumns,
    ) -> Result<(), EngineError> {
        let reader = self.segment.reader()?;
        for group in 0..reader.groups().len() {
            reader.read(group, Projection::ALL, columns)?;
            self.add(catalog, deletes, columns);
        }
        Ok(())
    }

    fn add(&mut self, catalog: &SeriesCatalog, deletes: &mut Deleted, columns: &SegmentColumns) {
        let last = self.segment.meta().last_lsn;
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
            let series = SeriesRef(series.value(row));
            let entry = catalog.get(series);
            let at = EventTime::new(time.value(row));
            let reaches = |delete: Lsn| last <= delete;
            if entry.as_ref().is_some_and(|entry| deletes.hide(series, entry, at, reaches)) {
                continue;
            }
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

impl Deleted {
    /// Whether a delete that `reaches` the row's record hides it.
    fn hide(
        &mut self,
        series: SeriesRef,
        entry: &SeriesEntry,
        time: EventTime,
        reaches: impl Fn(Lsn) -> bool,
    ) -> bool {
        if self.deletes.is_empty() {
            return false;
        }
        let deletes = &self.deletes;
        let of_series = self.of_series.entry(series).or_insert_with(|| {
            let key = entry.key();
            let is_meant = |delete: &DeleteRecord| {
                delete.metric.db == key.db() && delete.metric.metric == key.metric()
            };
            (0..deletes.len()).filter(|place| is_meant(&deletes[*place].1)).collect()
        });
        of_series
            .iter()
            .map(|place| &deletes[*place])
            .any(|(lsn, delete)| reaches(*lsn) && delete.from <= time && time <= delete.to)
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
