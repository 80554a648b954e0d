//! What a salvage tells: exactly what is gone.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidewatch_env::{Disk, read_file};
use tidewatch_metrics::Lsn;
use tidewatch_segments::{FileKind, SegmentsSalvage, SlotSet};

use crate::config::EngineConfig;
use crate::left_out::LeftOut;
use crate::salvage::REPORT;
use crate::salvage::choice::Choice;

/// Bytes of a report that are read.
const REPORT_BYTES_MAX: u64 = 64 << 20;

/// What was damaged, what is missing for it, and what was set aside; `report.json` of a salvage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageReport {
    /// Salvages of a data directory are numbered.
    pub number: u64,
    /// Where the damaged files and this report are.
    pub directory: String,
    /// When, in nanoseconds since 1970.
    pub time_nanos: i64,
    /// The program's version.
    pub version: String,
    /// Records that the log lacks, in its order. What segments hold of them is not lost.
    pub missing: Vec<MissingRecords>,
    /// Files of the log that were repaired.
    pub log_files: Vec<DamagedLogFile>,
    /// An unknown part of the log's end is gone.
    pub log_cut: Option<CutLog>,
    /// Rows of records that are whole, left out because the names of their series are lost.
    pub left_out_rows: u64,
    /// The same by record; the first ones only if there are many.
    pub left_out: Vec<LeftOutRecord>,
    /// Checkpoints that were set aside.
    pub checkpoints: Vec<DamagedCheckpoint>,
    /// The operators know nothing of what was before this record: no checkpoint could be taken.
    pub state_lost_before: Option<u64>,
    /// Files of the manifest that were set aside.
    pub manifest: Vec<DamagedDelta>,
    /// Rows of lost versions of the manifest that the log has no more; empty if it has them all.
    pub manifest_rows: Vec<LostRows>,
    /// Files of segments that were set aside.
    pub segments: Vec<LostSegment>,
    /// Files that a lost version of the manifest may have named, set aside.
    pub unnamed: Vec<String>,
    /// Series of lost files whose names were found in the log.
    pub series_found: u64,
    /// References whose series have no name any more.
    pub series_missing: u64,
}

/// Records that are missing without a break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRecords {
    /// The first one.
    pub from_lsn: u64,
    /// The last one.
    pub to_lsn: u64,
    /// How many.
    pub records: u64,
    /// The file in the log's directory that states the gap.
    pub file: String,
    /// Where in the damaged file nothing can be read.
    pub offset: u64,
    /// How many bytes; 0 where they are gone.
    pub bytes: u64,
}

/// A repaired file of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedLogFile {
    /// Its name in the log's directory.
    pub file: String,
    /// The first damaged byte, about.
    pub offset: u64,
    /// What is wrong there.
    pub problem: String,
}

/// A log without its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutLog {
    /// The log's last file.
    pub file: String,
    /// Where it can be read to.
    pub offset: u64,
}

/// Rows of one record that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutRecord {
    /// The record.
    pub lsn: u64,
    /// How many of its rows.
    pub rows: u64,
}

/// A checkpoint that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedCheckpoint {
    /// Its number.
    pub number: u64,
    /// Why.
    pub problem: String,
}

/// A file of the manifest that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedDelta {
    /// Its path in the directory of segments.
    pub file: String,
    /// Why.
    pub problem: String,
}

/// Rows that are missing: those of these slots, of records behind one and up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRows {
    /// The slots.
    pub slots: SlotSet,
    /// The last record before them.
    pub after_lsn: u64,
    /// The last record of them.
    pub to_lsn: u64,
}

/// A file of samples, series, alerts or deliveries that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostSegment {
    /// Its name in the directory of segments.
    pub file: String,
    /// What it holds.
    pub kind: FileKind,
    /// How many rows.
    pub rows: u64,
    /// The slots of its rows.
    pub slots: SlotSet,
    /// The record of its earliest row.
    pub first_lsn: u64,
    /// Its rows belong to records up to this one.
    pub last_lsn: u64,
    /// Earliest event time, nanoseconds since 1970.
    pub time_min: i64,
    /// Latest event time, nanoseconds since 1970.
    pub time_max: i64,
    /// Why; empty if it is whole and its rows come from the log with those of a damaged one.
    pub problem: String,
    /// Whether all of its rows come back from the log; else they are missing.
    pub from_log: bool,
}

impl SalvageReport {
    pub(crate) fn of(
        log: &tidewatch_wal::Salvage,
        segments: &SegmentsSalvage,
        choice: &Choice,
    ) -> Self {
        let mut report = Self::default();
        for repair in log.repairs() {
            report.log_files.push(DamagedLogFile {
                file: repair.file.clone(),
                offset: repair.offset,
                problem: repair.damage.to_string(),
            });
            report.missing.extend(repair.gaps.iter().map(|gap| MissingRecords {
                from_lsn: gap.gap.from.get(),
                to_lsn: gap.gap.to.get(),
                records: gap.gap.records(),
                file: repair.file.clone(),
                offset: gap.offset,
                bytes: gap.bytes,
            }));
            if let Some(offset) = repair.cut_at {
                report.log_cut = Some(CutLog { file: repair.file.clone(), offset });
            }
        }
        report.manifest = segments
            .deltas()
            .iter()
            .map(|delta| DamagedDelta { file: delta.file.clone(), problem: delta.problem.clone() })
            .collect();
        if segments.lost_versions() && report.manifest.is_empty() {
            let file = "manifest".to_owned();
            report.manifest.push(DamagedDelta { file, problem: "its end is missing".to_owned() });
        }
        report.unnamed = segments.unnamed().to_vec();
        report.segments = lost(segments, choice);
        report
    }

    /// Whether nothing was damaged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log_files.is_empty()
            && self.checkpoints.is_empty()
            && self.manifest.is_empty()
            && self.segments.is_empty()
            && self.state_lost_before.is_none()
    }

    /// One line.
    ///
    /// # Panics
    /// Never: numbers and text are JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string(self).expect("numbers and text are JSON");
        json.push('\n');
        json
    }

    /// What is lost depends on where replay begins.
    pub(crate) fn take_lost_rows(&mut self, choice: &Choice) {
        if !self.manifest.is_empty() {
            let lost = choice.lost_rows().into_iter();
            let lost = lost.map(|((after, to), slots)| {
                let (after_lsn, to_lsn) = (after.get(), to.get());
                LostRows { slots, after_lsn, to_lsn }
            });
            self.manifest_rows = lost.collect();
        }
    }

    pub(crate) fn take_left_out(&mut self, left_out: &LeftOut) {
        self.left_out_rows = left_out.rows;
        let records = left_out.records.iter();
        self.left_out =
            records.map(|(lsn, rows)| LeftOutRecord { lsn: lsn.get(), rows: *rows }).collect();
    }
}

/// Files that were damaged, and whole ones whose rows the log has.
fn lost(segments: &SegmentsSalvage, choice: &Choice) -> Vec<LostSegment> {
    let files = segments.manifest().files().iter().filter_map(|meta| {
        let damaged = segments.data().iter().find(|(damaged, _)| damaged.file == meta.file);
        let from_log = choice.restores(meta);
        (damaged.is_some() || from_log).then(|| LostSegment {
            file: meta.file.clone(),
            kind: meta.kind,
            rows: meta.rows,
            slots: meta.slots,
            first_lsn: meta.first_lsn.get(),
            last_lsn: meta.last_lsn.get(),
            time_min: meta.time_min.nanos(),
            time_max: meta.time_max.nanos(),
            problem: damaged.map(|(_, problem)| problem.clone()).unwrap_or_default(),
            from_log,
        })
    });
    files.collect()
}

/// What earlier salvages say of files of samples whose rows are missing: their slots and last records.
///
/// A report that is gone or cannot be read says nothing: it is of use to people and to comparisons only.
pub(crate) fn lost_segments(disk: &dyn Disk, config: &EngineConfig) -> Vec<(SlotSet, Lsn)> {
    let dir = config.data_dir.join("salvage");
    let names = disk.list(&dir).unwrap_or_default();
    let mut lost = Vec::new();
    for report in names.iter().filter_map(|name| read_report(disk, &dir.join(name).join(REPORT))) {
        let files = report.segments.iter();
        let files = files.filter(|file| file.kind == FileKind::Samples && !file.from_log);
        lost.extend(files.map(|file| (file.slots, Lsn::new(file.last_lsn))));
        lost.extend(report.manifest_rows.iter().map(|rows| (rows.slots, Lsn::new(rows.to_lsn))));
    }
    lost
}

fn read_report(disk: &dyn Disk, path: &Path) -> Option<SalvageReport> {
    serde_json::from_slice(&read_file(disk, path, REPORT_BYTES_MAX).ok()?).ok()
}

impl fmt::Display for SalvageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "salvaged; damaged files and report.json are in \"{}\"", self.directory)?;
        for gap in &self.missing {
            writeln!(
                f,
                "  log: records {} to {} ({}) are missing, {} at byte {}",
                gap.from_lsn, gap.to_lsn, gap.records, gap.file, gap.offset
            )?;
        }
        for file in &self.log_files {
            writeln!(f, "  log: {} was repaired: {}", file.file, file.problem)?;
        }
        if let Some(cut) = &self.log_cut {
            writeln!(
                f,
                "  log: the end of {} is gone; how many records stood there is not known",
                cut.file
            )?;
        }
        if self.left_out_rows > 0 {
            writeln!(
                f,
                "  log: {} rows of other records are left out: the names of their series are lost",
                self.left_out_rows
            )?;
        }
        for delta in &self.manifest {
            writeln!(f, "  manifest: {}: {}", delta.file, delta.problem)?;
        }
        if !self.manifest.is_empty() && self.manifest_rows.is_empty() {
            writeln!(f, "  manifest: the rows of later versions come back from the log")?;
        }
        for rows in &self.manifest_rows {
            writeln!(
                f,
                "  manifest: rows of {} slots in records {} to {} may be missing",
                rows.slots.iter().count(),
                rows.after_lsn + 1,
                rows.to_lsn
            )?;
        }
        for file in self.segments.iter().filter(|file| !file.problem.is_empty()) {
            let fate = if file.from_log { "come back from the log" } else { "are missing" };
            writeln!(f, "  segments: the {} rows of {} {fate}", file.rows, file.file)?;
        }
        if self.series_missing > 0 {
            writeln!(f, "  segments: {} references of series have no name", self.series_missing)?;
        }
        for checkpoint in &self.checkpoints {
            writeln!(f, "  checkpoint {}: {}", checkpoint.number, checkpoint.problem)?;
        }
        if let Some(lsn) = self.state_lost_before {
            writeln!(
                f,
                "  state: no checkpoint can be taken; detectors and alerts begin anew with record \
                 {lsn}"
            )?;
        }
        Ok(())
    }
}
