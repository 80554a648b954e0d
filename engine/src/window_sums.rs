//! Windows of percentiles that replay comes to, compared with those in files and with hashes in the log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, Transition, UnixNanos};
use tidewatch_operators::percentile::Outcome;
use tidewatch_operators::{Counts, WindowSet};
use tidewatch_segments::{EventFile, FileKind, Manifest, SegmentsError, percentiles_batch};
use twox_hash::XxHash3_64;

use crate::EngineError;
use crate::checkpoint::WindowsMark;
use crate::dispatch::RulesInForce;
use crate::windows::{decode_windows, window_row};

/// The windows of a replay, and what is known of those of the live run.
#[derive(Debug)]
pub(crate) struct WindowSums {
    set: WindowSet,
    /// What came of records up to this one is in the checkpoint that replay begins at.
    counted: Lsn,
    /// First and last record of each file.
    files: Vec<(Lsn, Lsn)>,
    /// By tick, what files hold of the windows that closed at it.
    stored: BTreeMap<Lsn, Sum>,
    /// By tick, the hash of all windows that the log notes.
    marks: BTreeMap<Lsn, u64>,
    compared: u64,
}

/// What a record came to.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// What is not as it was live.
    pub(crate) differences: Vec<String>,
    pub(crate) transitions: Vec<Transition>,
}

/// Rows as a wrapping sum of their hashes: equal sums, equal rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hashes: u64,
}

impl WindowSums {
    /// For a replay that takes windows from behind the record `counted`.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        counted: Lsn,
        marks: Vec<WindowsMark>,
    ) -> Result<Self, EngineError> {
        let manifest = Manifest::open_read_only(&**disk, dir)?;
        let marks = marks.into_iter().map(|mark| (mark.lsn, mark.state_hash));
        let mut sums = Self {
            set: WindowSet::default(),
            counted,
            files: Vec::new(),
            stored: BTreeMap::new(),
            marks: marks.collect(),
            compared: 0,
        };
        for meta in manifest.files_of(FileKind::Percentiles).filter(|m| m.last_lsn > counted) {
            sums.files.push((meta.first_lsn, meta.last_lsn));
            let file = EventFile::open(Arc::clone(disk), dir, Arc::clone(meta));
            for batch in file.read()? {
                add_rows(&mut sums.stored, &batch).map_err(|_form| {
                    EngineError::from(SegmentsError::Corrupt {
                        path: dir.join(&meta.file),
                        offset: 0,
                        reason: "its columns are not those of windows",
                    })
                })?;
            }
        }
        sums.stored.retain(|lsn, _| *lsn > counted);
        Ok(sums)
    }

    /// Takes the windows of the checkpoint; `false` where the bytes are none.
    pub(crate) fn restore(&mut self, at: Lsn, rules: &RulesInForce, state: &[u8]) -> bool {
        let Some(set) = decode_windows(rules, state) else { return false };
        (self.set, self.counted) = (set, at);
        true
    }

    /// A tick, with what all shards have counted.
    pub(crate) fn tick(&mut self, at: Lsn, now: UnixNanos, counts: Vec<Counts>) -> Replayed {
        if at <= self.counted {
            return Replayed::default();
        }
        let outcome = self.set.tick(counts, at, now);
        self.compare(at, outcome)
    }

    /// Rules come into force, behind what all shards have counted.
    pub(crate) fn rules(&mut self, at: Lsn, rules: &RulesInForce, counts: Vec<Counts>) -> Replayed {
        if at <= self.counted {
            return Replayed::default();
        }
        self.set.set_alerts_max_age(rules.alerts_max_age_nanos);
        let outcome = self.set.set_rules(counts, Arc::clone(&rules.rules), at, rules.received);
        self.compare(at, outcome)
    }

    /// Windows compared so far.
    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }

    /// Windows that files hold and that a replay up to `to` did not come to.
    pub(crate) fn missing(&self, to: Lsn) -> Option<String> {
        let (at, sum) = self.stored.range(..=to).next()?;
        Some(format!("{} rows of windows that closed at record {at} are not replayed", sum.rows))
    }

    fn compare(&mut self, at: Lsn, outcome: Outcome) -> Replayed {
        let mut differences = Vec::new();
        if self.files.iter().any(|(first, last)| (*first..=*last).contains(&at)) {
            let stored = self.stored.remove(&at).unwrap_or_default();
            let replayed = sum_of(at, &outcome);
            if stored == replayed {
                let closed = u64::try_from(outcome.closed.len()).unwrap_or(u64::MAX);
                self.compared = self.compared.saturating_add(closed);
            } else {
                differences.push(format!(
                    "windows that closed at record {at}: live {stored:?}, replayed {replayed:?}"
                ));
            }
        }
        if let Some(live) = self.marks.remove(&at) {
            let replayed = self.set.state_hash();
            if live != replayed {
                differences.push(format!(
                    "windows after record {at}: live {live:016x}, replayed {replayed:016x}"
                ));
            }
        }
        Replayed { differences, transitions: outcome.transitions }
    }
}

fn sum_of(at: Lsn, outcome: &Outcome) -> Sum {
    let rows = outcome.closed.iter().map(|window| Arc::new(window_row(at, window)));
    let rows: Vec<_> = rows.collect();
    let mut sums = BTreeMap::new();
    add_rows(&mut sums, &percentiles_batch(&rows)).expect("the batch has the columns of windows");
    sums.remove(&at).unwrap_or_default()
}

/// Adds the rows of a file up, by their tick.
fn add_rows(sums: &mut BTreeMap<Lsn, Sum>, batch: &RecordBatch) -> Result<(), ArrowError> {
    let fields =
        batch.schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(batch.columns())?;
    let ticks = batch.column_by_name("lsn").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    let ticks = ticks.ok_or_else(|| ArrowError::SchemaError("lsn".to_owned()))?;
    for (row, lsn) in rows.iter().zip(ticks.values()) {
        let sum = sums.entry(Lsn::new(*lsn)).or_default();
        sum.rows = sum.rows.wrapping_add(1);
        sum.hashes = sum.hashes.wrapping_add(XxHash3_64::oneshot(row.as_ref()));
    }
    Ok(())
}
