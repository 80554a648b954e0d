//! The merge from its inputs to a file that lacks only its name.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::TimeUnit;
use tidewatch_env::Disk;
use tidewatch_metrics::{EventTime, Lsn, SeriesCatalog, SeriesRef};

use crate::error::SegmentsError;
use crate::file_meta::FileMeta;
use crate::footer::{SEGMENT_FORMAT, SegmentInfo};
use crate::limits::{GROUP_ROWS_MAX, GROUP_ROWS_MIN, MERGE_INPUTS_MAX};
use crate::merge::gather::{Gather, GroupLimits};
use crate::merge::input::Input;
use crate::merge::merged_file::MergedFile;
use crate::merge::order::SeriesOrder;
use crate::output::{Sealed, TEMPORARY};
use crate::segment::Segment;
use crate::slot_set::SlotSet;

/// What the file is called until it is sealed; no version of the manifest has the number 0.
const MERGED_FILE: &str = "samples-00000000000000000000.parquet";
/// Rows after which the caller is asked whether to go on; up to a row group's more at a time.
const PACE_ROWS: u64 = 16_384;

/// Times of rows that are left out.
pub(crate) type ErasedTimes = RangeInclusive<EventTime>;

/// What is merged.
pub struct Merge<'a> {
    /// Neighbours in the order of the log; at least 1 and at most [`MERGE_INPUTS_MAX`].
    pub inputs: &'a [Arc<Segment>],
    /// Names of the series.
    pub catalog: &'a SeriesCatalog,
    /// Rows that are left out.
    pub erase: &'a dyn Erase,
    /// Called with the rows since the last call, after 16,384 rows or more; `false` gives up.
    pub pace: &'a mut dyn FnMut(u64) -> bool,
}

/// Rows that are not taken over: deleted ones, and those beyond the retention.
pub trait Erase: fmt::Debug {
    /// Times of the rows of `series` in input number `input` that are left out: sorted, disjoint,
    /// usually none. Asked once per input and series.
    fn times(&self, input: usize, series: SeriesRef) -> Vec<RangeInclusive<EventTime>>;
}

/// What came of a merge.
#[derive(Debug)]
pub enum Merged {
    /// The caller gave up; nothing is left of it.
    GivenUp,
    /// No row was taken over, so that there is no file.
    Empty {
        /// Rows left out.
        rows_erased: u64,
    },
    /// The rows are durable in a file that has no name yet.
    Segment {
        /// The file, to be renamed or discarded.
        sealed: Sealed,
        /// What the manifest says about it; `file` is empty.
        meta: Box<FileMeta>,
        /// Rows left out.
        rows_erased: u64,
    },
}

/// Why a merge ends early.
enum Stop {
    GivenUp,
    Failed(SegmentsError),
}

/// Merges the inputs into a file in `dir` that is durable but for its name. One caller at a time;
/// what an earlier attempt left is replaced. Unless it succeeds, nothing is left if that is possible.
///
/// # Errors
/// [`SegmentsError::Corrupt`], [`SegmentsError::UnknownSeries`], and what the disk or the format's
/// library reports.
///
/// # Panics
/// With more than [`MERGE_INPUTS_MAX`] inputs, which is a bug of the caller.
pub fn merge<'a>(
    disk: &'a dyn Disk,
    dir: &'a Path,
    merge: Merge<'a>,
) -> Result<Merged, SegmentsError> {
    let limits = GroupLimits { rows_max: GROUP_ROWS_MAX, rows_min: GROUP_ROWS_MIN };
    merge_in_groups(disk, dir, merge, limits)
}

/// Bytes of the file that a merge is writing; 0 where there is none.
#[must_use]
pub fn merging_bytes(disk: &dyn Disk, dir: &Path) -> u64 {
    disk.len(&dir.join(format!("{MERGED_FILE}{TEMPORARY}"))).unwrap_or(0)
}

fn merge_in_groups<'a>(
    disk: &'a dyn Disk,
    dir: &'a Path,
    merge: Merge<'a>,
    limits: GroupLimits,
) -> Result<Merged, SegmentsError> {
    assert!(merge.inputs.len() <= MERGE_INPUTS_MAX, "the planner bounds a merge");
    let outcome = Run::begin(disk, dir, merge, limits).and_then(Run::finish);
    if !matches!(outcome, Ok(Merged::Segment { .. })) {
        remove_temporary(disk, dir);
    }
    match outcome {
        Ok(merged) => Ok(merged),
        Err(Stop::GivenUp) => Ok(Merged::GivenUp),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Removes what was written, if there is anything. Should that fail, the next merge replaces it, or
/// the next start removes it.
fn remove_temporary(disk: &dyn Disk, dir: &Path) {
    let temporary = dir.join(format!("{MERGED_FILE}{TEMPORARY}"));
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(path = %temporary.display(), %error, "unfinished merge stays");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A merge under way.
struct Run<'a> {
    order: SeriesOrder,
    inputs: Vec<Input>,
    erase: &'a dyn Erase,
    pace: &'a mut dyn FnMut(u64) -> bool,
    gather: Gather,
    file: MergedFile<'a>,
    /// Log range and slots of all inputs.
    info: SegmentInfo,
    rows_erased: u64,
    /// Rows since the last call of `pace`.
    unpaced: u64,
    /// The inputs that have rows of the series at hand, by their next row: the first one last.
    heads: Vec<NextRow>,
}

impl<'a> Run<'a> {
    fn begin(
        disk: &'a dyn Disk,
        dir: &'a Path,
        merge: Merge<'a>,
        limits: GroupLimits,
    ) -> Result<Self, Stop> {
        let Merge { inputs: segments, catalog, erase, pace } = merge;
        let order = SeriesOrder::of(catalog);
        let open = |segment: &Arc<Segment>| Input::open(segment, &order);
        let inputs = segments.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let unit = time_unit(&inputs)?;
        Ok(Self {
            file: MergedFile::new(disk, dir, MERGED_FILE, unit),
            gather: Gather::new(limits),
            info: info(segments),
            order,
            inputs,
            erase,
            pace,
            rows_erased: 0,
            unpaced: 0,
            heads: Vec::new(),
        })
    }

    fn finish(mut self) -> Result<Merged, Stop> {
        while let Some(place) = self.inputs.iter().filter_map(Input::place).min() {
            self.merge_series(place)?;
        }
        if self.gather.rows() > 0 {
            self.file.write_group(&self.gather, self.gather.rows(), &self.order)?;
        }
        self.ask(1)?;
        let Self { file, info, order, rows_erased, .. } = self;
        Ok(match file.seal(&info, &order)? {
            Some((sealed, meta)) => Merged::Segment { sealed, meta: Box::new(meta), rows_erased },
            None => Merged::Empty { rows_erased },
        })
    }

    /// Takes over the rows of one series: always from the input whose next row has the least time,
    /// the earlier input at equal times, as many rows as come before those of every other input.
    fn merge_series(&mut self, place: u32) -> Result<(), Stop> {
        let metric = self.order.metric(place);
        for number in 0..self.inputs.len() {
            let input = &mut self.inputs[number];
            if input.place() == Some(place) {
                let series = input.series();
                self.gather.begin(series, metric);
                input.begin(self.erase.times(number, series), &self.order)?;
                self.note_next_row(number);
            }
        }
        while let Some(next) = self.heads.pop() {
            let piece = self.piece(next);
            self.gather_piece(piece, metric)?;
            self.inputs[piece.input].take(piece.rows, &self.order)?;
            self.note_next_row(piece.input);
            self.unpaced += piece.rows as u64;
            self.ask(PACE_ROWS)?;
        }
        self.ask(PACE_ROWS)
    }

    /// Puts an input to its place among the others, unless it has no more rows of the series.
    fn note_next_row(&mut self, number: usize) {
        let input = &mut self.inputs[number];
        let erased = std::mem::take(&mut input.rows_erased);
        if let Some(time) = input.rows().times.first() {
            let next = NextRow { time: *time, input: number };
            let place = self.heads.partition_point(|other| *other > next);
            self.heads.insert(place, next);
        }
        self.rows_erased += erased;
        self.unpaced += erased;
    }

    /// The rows from `next` on that come before those of every other input.
    fn piece(&self, next: NextRow) -> Piece {
        let times = self.inputs[next.input].rows().times;
        let rows = self.heads.last().map_or(times.len(), |bound| {
            times.partition_point(|time| NextRow { time: *time, ..next } < *bound)
        });
        Piece { input: next.input, rows }
    }

    fn gather_piece(&mut self, piece: Piece, metric: usize) -> Result<(), Stop> {
        let mut from = 0;
        while from < piece.rows {
            if let Some(rows) = self.gather.full_group(metric) {
                self.file.write_group(&self.gather, rows, &self.order)?;
                self.gather.remove_front(rows);
            }
            let to = piece.rows.min(from + self.gather.room());
            self.gather.push(&self.inputs[piece.input].rows().slice(from..to));
            from = to;
        }
        Ok(())
    }

    /// Asks the caller whether to go on, once it has not been asked for `rows`.
    fn ask(&mut self, rows: u64) -> Result<(), Stop> {
        if self.unpaced < rows {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.unpaced);
        if (self.pace)(rows) { Ok(()) } else { Err(Stop::GivenUp) }
    }
}

/// Where an input stands: in the order in which rows are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NextRow {
    time: i64,
    input: usize,
}

/// The first rows of an input that are next in the order.
#[derive(Clone, Copy, Debug)]
struct Piece {
    input: usize,
    rows: usize,
}

impl From<SegmentsError> for Stop {
    fn from(error: SegmentsError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Debug for Merge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

/// The coarsest unit that is exact for all inputs.
fn time_unit(inputs: &[Input]) -> Result<TimeUnit, SegmentsError> {
    let mut finest = TimeUnit::Millisecond;
    for input in inputs {
        finest = finest.max(input.time_unit()?);
    }
    Ok(finest)
}

fn info(inputs: &[Arc<Segment>]) -> SegmentInfo {
    let metas = || inputs.iter().map(|segment| segment.meta());
    let mut slots = SlotSet::default();
    metas().for_each(|meta| meta.slots.iter().for_each(|slot| slots.insert(slot)));
    SegmentInfo {
        format: SEGMENT_FORMAT,
        first_lsn: metas().map(|meta| meta.first_lsn).min().unwrap_or(Lsn::ZERO),
        last_lsn: metas().map(|meta| meta.last_lsn).max().unwrap_or(Lsn::ZERO),
        slots,
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
