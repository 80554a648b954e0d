//! A directory of segments on a simulated disk, for the tests of this crate.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tidewatch_env::{Disk, SimDisk};
use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::{
    EventTime, Flags, Lsn, SeriesCatalog, SeriesKey, SeriesRef, Severity, UnixNanos,
};

use crate::compact::{Compaction, Prepared, Task, Why};
use crate::events::{AlertRow, DeliveryRow};
use crate::file_meta::FileMeta;
use crate::flush::{Events, Flush, flush};
use crate::head::{Head, RowColumns};
use crate::manifest::Manifest;
use crate::reader::{Projection, SegmentColumns};
use crate::retention::Retention;
use crate::segment::Segment;
use crate::slot_set::SlotSet;
use crate::snapshot::Published;
use crate::view::{FrozenHead, HeadShared};
use crate::{FileKind, LetterLimits, LetterMarkRow, LetterRow, SegmentsError, WindowRow};

/// Values that an encoding, a sum or a comparison is likely to get wrong: both zeros, NaNs that differ
/// in sign, kind and payload, what is beyond all numbers and next to it, subnormal numbers, and the
/// whole numbers behind which not every one is there.
pub(crate) const HARD_VALUES: [f64; 16] = [
    0.0,
    -0.0,
    f64::NAN,
    f64::from_bits(0x7ff0_0000_0000_0002),
    f64::from_bits(0xfff8_dead_beef_0001),
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    f64::MIN_POSITIVE / 3.0,
    5e-324,
    -5e-324,
    9_007_199_254_740_991.0,
    9_007_199_254_740_992.0,
    9_007_199_254_740_994.0,
];

/// A row as tests compare it: bits, so that NaN and the sign of zero count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) series: u32,
    pub(crate) time: i64,
    pub(crate) bits: u64,
    pub(crate) severity: u16,
    pub(crate) flags: u8,
}

impl Row {
    pub(crate) fn new(series: u32, time: i64, value: f64) -> Self {
        Self { series, time, bits: value.to_bits(), severity: 0, flags: 0 }
    }
}

/// For every time in `times` (seconds), one row of every series.
pub(crate) fn rows_of(series: Range<u32>, times: Range<i64>) -> Vec<Row> {
    let at = |time: i64| {
        series.clone().map(move |series| {
            let value = f64::from(series) + time as f64 / 4.0;
            Row::new(series, time * 1_000_000_000, value)
        })
    };
    times.flat_map(at).collect()
}

/// A catalog of `count` series, 10 to a metric, whose references are not in the metrics' order.
pub(crate) fn catalog_of(count: u32) -> Arc<SeriesCatalog> {
    let catalog = SeriesCatalog::new(1_000_000);
    let metrics = count.div_ceil(10);
    for series in 0..count {
        let metric = format!("metric_{:05}", series.wrapping_mul(7_919) % metrics);
        let labels = vec![("series".to_owned(), series.to_string())];
        let key = SeriesKey::new("default", &metric, "value", labels).unwrap();
        catalog.restore(SeriesRef(series), &key).unwrap();
    }
    Arc::new(catalog)
}

pub(crate) fn append(head: &mut Head, rows: &[Row]) {
    let series: Vec<_> = rows.iter().map(|row| SeriesRef(row.series)).collect();
    let times: Vec<_> = rows.iter().map(|row| EventTime::new(row.time)).collect();
    let values: Vec<_> = rows.iter().map(|row| f64::from_bits(row.bits)).collect();
    let severities: Vec<_> = rows.iter().map(|row| Severity::from_steps(row.severity)).collect();
    let flags: Vec<_> = rows.iter().map(|row| Flags::from_bits(row.flags)).collect();
    head.append(&RowColumns {
        series: &series,
        times: &times,
        values: &values,
        severities: &severities,
        flags: &flags,
    });
}

/// A data directory with one shard.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) disk: SimDisk,
    pub(crate) catalog: Arc<SeriesCatalog>,
    pub(crate) manifest: Manifest,
    pub(crate) head: Head,
    pub(crate) lsn: Lsn,
}

impl Directory {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let manifest = Manifest::open(&disk, Path::new("/segments")).unwrap();
        let head = Head::new().0;
        Self { disk, catalog: catalog_of(100), manifest, head, lsn: Lsn::ZERO }
    }

    pub(crate) fn dir(&self) -> &'static Path {
        Path::new("/segments")
    }

    pub(crate) fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// What queries see of the directory as it is, beside these heads.
    pub(crate) fn published(&self, heads: Vec<Arc<HeadShared>>) -> Published {
        let catalog = Arc::clone(&self.catalog);
        Published::new(self.shared_disk(), self.dir(), catalog, self.manifest.clone(), heads)
    }

    /// The manifest behind `base` that names the rows of these heads, without events.
    pub(crate) fn flush_frozen(&self, frozen: &[Arc<FrozenHead>], base: &Manifest) -> Manifest {
        let input = Flush {
            frozen,
            slots: SlotSet::ALL,
            catalog: &self.catalog,
            events: Events::default(),
            now: UnixNanos::default(),
        };
        flush(&self.shared_disk(), self.dir(), base, &input).unwrap().manifest
    }

    /// Appends the rows as one record and flushes them.
    pub(crate) fn flush(&mut self, rows: &[Row]) {
        self.try_flush(rows, &[], &[]).unwrap();
    }

    pub(crate) fn try_flush(
        &mut self,
        rows: &[Row],
        alerts: &[AlertRow],
        deliveries: &[DeliveryRow],
    ) -> Result<(), SegmentsError> {
        self.lsn = self.lsn.next();
        append(&mut self.head, rows);
        self.head.publish(self.lsn);
        let frozen: Vec<_> = self.head.freeze().into_iter().collect();
        let input = Flush {
            frozen: &frozen,
            slots: SlotSet::ALL,
            catalog: &self.catalog,
            events: Events { alerts, deliveries, last_lsn: self.lsn, ..Events::default() },
            now: UnixNanos::new(1),
        };
        self.manifest = flush(&self.shared_disk(), self.dir(), &self.manifest, &input)?.manifest;
        Ok(())
    }

    /// Merges all segments.
    pub(crate) fn compact(&mut self) {
        let files: Vec<_> = self.manifest.files_of(FileKind::Samples).cloned().collect();
        let prepared = self.prepare(&self.manifest, &files, Why::Merge(1));
        let place = (&self.shared_disk(), Path::new("/segments"));
        let next = prepared.commit(place, &self.manifest, &[]).unwrap();
        self.manifest = next.expect("nobody overtakes");
    }

    /// Flushes windows alone.
    pub(crate) fn flush_windows(&mut self, windows: &[Arc<WindowRow>]) {
        let input = Flush {
            frozen: &[],
            slots: SlotSet::ALL,
            catalog: &self.catalog,
            events: Events { windows, ..Events::default() },
            now: UnixNanos::new(1),
        };
        let flushed = flush(&self.shared_disk(), self.dir(), &self.manifest, &input);
        self.manifest = flushed.unwrap().manifest;
    }

    /// Flushes letters and marks alone, all of those of records up to `lsn`.
    pub(crate) fn flush_letters(
        &mut self,
        letters: &[Arc<LetterRow>],
        letter_marks: &[LetterMarkRow],
        lsn: u64,
    ) {
        let letters_lsn = Lsn::new(lsn);
        let input = Flush {
            frozen: &[],
            slots: SlotSet::ALL,
            catalog: &self.catalog,
            events: Events { letters, letter_marks, letters_lsn, ..Events::default() },
            now: UnixNanos::new(1),
        };
        let flushed = flush(&self.shared_disk(), self.dir(), &self.manifest, &input);
        self.manifest = flushed.unwrap().manifest;
    }

    /// Carries out the next task that letters make due, and gives what it is about.
    pub(crate) fn expire_letters(&mut self, letters: LetterLimits, now: i64) -> Option<String> {
        let compaction = Compaction {
            retention: &KeepAll,
            now: UnixNanos::new(now),
            force: false,
            letters,
            catalog: &self.catalog,
        };
        let task = compaction.next_task(&self.manifest)?;
        assert_eq!((task.why, task.inputs.len()), (Why::Letters, 1));
        let file = task.inputs[0].file.clone();
        let place = (&self.shared_disk(), self.dir());
        let prepared = compaction.prepare(place, &self.manifest, task, &mut |_rows| true);
        let next = prepared.unwrap().unwrap().commit(place, &self.manifest, &[]).unwrap();
        self.manifest = next.expect("nobody overtakes");
        Some(file)
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        let metas = self.manifest.files_of(FileKind::Samples);
        metas.map(|meta| Segment::open(self.shared_disk(), self.dir(), Arc::clone(meta))).collect()
    }

    /// Carries out a task with these segments of `manifest`, without retention.
    pub(crate) fn prepare(
        &self,
        manifest: &Manifest,
        files: &[Arc<FileMeta>],
        why: Why,
    ) -> Prepared {
        let compaction = Compaction {
            retention: &KeepAll,
            now: UnixNanos::new(1),
            force: true,
            letters: LetterLimits::default(),
            catalog: &self.catalog,
        };
        let task = Task { inputs: files.to_vec(), why };
        let place = (&self.shared_disk(), self.dir());
        compaction.prepare(place, manifest, task, &mut |_rows| true).unwrap().unwrap()
    }

    /// All rows of all segments, in their order.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.segments().iter().flat_map(rows_in).collect()
    }
}

/// Keeps all rows for ever.
#[derive(Debug)]
struct KeepAll;

impl Retention for KeepAll {
    fn keep_nanos(&self, _series: &SeriesEntry) -> Option<i64> {
        None
    }

    fn keeps(&self) -> &[Option<i64>] {
        &[None]
    }

    fn rules(&self) -> u64 {
        0
    }
}

/// All rows of a segment.
pub(crate) fn rows_in(segment: &Segment) -> Vec<Row> {
    let reader = segment.reader().unwrap();
    let mut columns = SegmentColumns::default();
    let mut rows = Vec::new();
    for group in 0..reader.groups().len() {
        reader.read(group, Projection::ALL, &mut columns).unwrap();
        rows.extend(rows_from(&columns));
    }
    rows
}

fn rows_from(columns: &SegmentColumns) -> Vec<Row> {
    let series = columns.series_ref.as_ref().unwrap().values();
    let times = columns.time.as_ref().unwrap().values();
    let values = columns.value.as_ref().unwrap().values();
    let severities = columns.severity.as_ref().unwrap().values();
    let flags = columns.flags.as_ref().unwrap().values();
    let row = |i: usize| Row {
        series: series[i],
        time: times[i],
        bits: values[i].to_bits(),
        severity: severities[i],
        flags: flags[i],
    };
    (0..columns.rows).map(row).collect()
}

/// The same rows in the order of a segment, by plain comparison.
pub(crate) fn sorted(catalog: &SeriesCatalog, rows: &[Row]) -> Vec<Row> {
    let mut keyed: Vec<_> = rows
        .iter()
        .map(|row| {
            let key = catalog.get(SeriesRef(row.series)).unwrap().key();
            (key.db().to_owned(), key.metric().to_owned(), row.series, row.time, *row)
        })
        .collect();
    // Stable: rows of one series and time stay in the order of their arrival.
    keyed.sort_by(|a, b| (&a.0, &a.1, a.2, a.3).cmp(&(&b.0, &b.1, b.2, b.3)));
    keyed.into_iter().map(|(.., row)| row).collect()
}
