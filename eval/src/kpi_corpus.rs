//! The layout of the KPIs of the AIOps challenge.

use std::collections::BTreeSet;
use std::io::{BufRead, Read as _};
use std::ops::Range;
use std::path::Path;

use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::corpus::{CorpusFile, LabelledSeries};
use crate::error::{EvalError, RowProblem};
use crate::input::{hold, open};
use crate::limits::KPI_LINE_BYTES_MAX;
use crate::nab_corpus::entries;

/// A folder of files with the rows `unix_seconds,value,label`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KpiCorpus;

/// One row.
struct KpiRow<'a> {
    time: EventTime,
    text: &'a str,
    value: f64,
    labelled: bool,
}

impl KpiCorpus {
    /// All `*.csv` and `*.csv.gz` of the folder.
    pub(crate) fn files(dir: &Path) -> Result<Vec<CorpusFile>, EvalError> {
        let (mut found, mut names) = (Vec::new(), BTreeSet::new());
        for path in entries(dir)?.into_iter().filter(|path| path.is_file()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let name = name.strip_suffix(".gz").unwrap_or(name).to_owned();
            if !name.ends_with(".csv") {
                continue;
            }
            if !names.insert(name.clone()) {
                return Err(EvalError::Twice { path: dir.join(name) });
            }
            found.push(CorpusFile { path, name });
        }
        if found.is_empty() {
            return Err(EvalError::Empty { dir: dir.to_owned(), wanted: "*.csv or *.csv.gz" });
        }
        Ok(found)
    }

    /// Reads a series; labelled rows that follow each other are one window.
    pub(crate) fn read(path: &Path) -> Result<LabelledSeries, EvalError> {
        let mut input = open(path)?;
        let mut labelled = LabelledSeries::default();
        let (mut bytes, mut line) = (Vec::new(), 0);
        loop {
            bytes.clear();
            line += 1;
            let limit = u64::try_from(KPI_LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = input.by_ref().take(limit).read_until(b'\n', &mut bytes);
            if read.map_err(EvalError::io("read", path))? == 0 {
                return Ok(labelled);
            }
            if bytes.len() == KPI_LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
                return Err(EvalError::row(path, line, RowProblem::TooLong));
            }
            let text = bytes.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let row = parse(text).map_err(|problem| EvalError::row(path, line, problem))?;
            hold(path, &labelled.series)?;
            if row.labelled {
                push_labelled(&mut labelled.windows, labelled.series.len());
            }
            labelled.series.push(row.time, row.value, row.text);
        }
    }
}

fn push_labelled(windows: &mut Vec<Range<usize>>, row: usize) {
    match windows.last_mut() {
        Some(last) if last.end == row => last.end = row + 1,
        Some(_) | None => windows.push(row..row + 1),
    }
}

fn parse(line: &[u8]) -> Result<KpiRow<'_>, RowProblem> {
    let line = str::from_utf8(line).map_err(|_not_text| RowProblem::NotThreeColumns)?;
    let mut columns = line.split(',').map(str::trim);
    let (Some(text), Some(value), Some(label), None) =
        (columns.next(), columns.next(), columns.next(), columns.next())
    else {
        return Err(RowProblem::NotThreeColumns);
    };
    let seconds: i64 = text.parse().map_err(|_not_whole| RowProblem::NotSeconds)?;
    let nanos = seconds.checked_mul(NANOS_PER_SECOND).ok_or(RowProblem::NotSeconds)?;
    let value = match value {
        "" => f64::NAN,
        value => value.parse().map_err(|_not_a_number| RowProblem::InvalidValue)?,
    };
    let labelled = match label {
        "0" => false,
        "1" => true,
        _ => return Err(RowProblem::NotALabel),
    };
    Ok(KpiRow { time: EventTime::new(nanos), text, value, labelled })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::corpus::{Corpus, CorpusKind};

    fn read(text: &str) -> Result<LabelledSeries, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.csv"), text).unwrap();
        let corpus =
            Corpus::open(CorpusKind::Kpi, dir.path()).map_err(|error| error.to_string())?;
        corpus.read(&corpus.files()[0]).map_err(|error| error.to_string())
    }

    #[test]
    fn labelled_rows_that_follow_each_other_are_one_window() {
        let read = read("60,1.5,1\r\n120,2,0\n\n180,,1\n240,4,1\n300,nan,0\n360,5,1").unwrap();
        assert_eq!(read.windows, [0..1, 2..4, 5..6]);
        assert_eq!(read.series.times()[1].nanos(), 120_000_000_000);
        assert!(read.series.values()[2].is_nan() && read.series.values()[4].is_nan());
        assert_eq!(read.series.time_text(5), "360");
    }

    #[test]
    fn a_row_of_another_shape_is_told_with_its_line() {
        for (text, told) in [
            ("timestamp,value,label\n", "line 1: the time is not a number of seconds"),
            ("60,1,0\n120,1\n", "line 2: not `unix_seconds,value,label`"),
            ("60,1,0\n\n120,1,2\n", "line 3: the label is neither 0 nor 1"),
            ("60,one,0\n", "line 1: invalid value"),
            ("9223372036854775807,1,0\n", "line 1: the time is not a number of seconds"),
            (&format!("60,1,0\n120,{},0\n", "1".repeat(2_000)), "line 2: row is too long"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.ends_with(told), "{told}: {error}");
        }
    }

    #[test]
    fn files_are_found_packed_or_not_and_never_twice() {
        let dir = tempfile::tempdir().unwrap();
        let empty = Corpus::open(CorpusKind::Kpi, dir.path()).unwrap_err().to_string();
        assert!(empty.ends_with("holds no *.csv or *.csv.gz"), "{empty}");
        for name in ["b.csv.gz", "a.csv", "README.md"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let corpus = Corpus::open(CorpusKind::Kpi, dir.path()).unwrap();
        let names: Vec<_> = corpus.files().iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a.csv", "b.csv"]);
        fs::write(dir.path().join("b.csv"), "").unwrap();
        let twice = Corpus::open(CorpusKind::Kpi, dir.path()).unwrap_err().to_string();
        assert!(twice.contains("b.csv\" is there twice"), "{twice}");
    }
}
