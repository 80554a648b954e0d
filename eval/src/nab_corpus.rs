//! The layout of the Numenta Anomaly Benchmark.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use tidewatch_connectors::decode::CsvOptions;
use tidewatch_connectors::decode::time::parse_date_time;
use tidewatch_metrics::EventTime;

use crate::corpus::{CorpusFile, LabelledSeries};
use crate::error::{BadWindow, EvalError, WindowProblem};
use crate::input::read_csv;
use crate::limits::{FILES_MAX, LABELS_BYTES_MAX};
use crate::series::Series;

/// A folder with `data/<category>/<file>.csv` and `labels/combined_windows.json`.
#[derive(Clone, Debug)]
pub(crate) struct NabCorpus {
    dir: PathBuf,
    labels: PathBuf,
    windows: BTreeMap<String, Vec<[String; 2]>>,
}

impl NabCorpus {
    /// Reads the labels, and holds them against the files: each has to have an entry, and each entry a file.
    pub(crate) fn open(dir: &Path) -> Result<Self, EvalError> {
        let labels = dir.join("labels").join("combined_windows.json");
        let corpus = Self { windows: read_labels(&labels)?, labels, dir: dir.join("data") };
        for name in corpus.windows.keys() {
            if !is_name(name) {
                return Err(corpus.refused(name, WindowProblem::NotAName));
            }
        }
        if corpus.windows.is_empty() {
            return Err(EvalError::Empty { dir: corpus.labels, wanted: "labels" });
        }
        for file in csv_files(&corpus.dir)? {
            let name = file.strip_prefix(&corpus.dir).unwrap_or(&file);
            let parts = name.components().map(|part| part.as_os_str().to_string_lossy());
            if !corpus.windows.contains_key(&parts.collect::<Vec<_>>().join("/")) {
                return Err(EvalError::NoLabels { file, labels: corpus.labels });
            }
        }
        Ok(corpus)
    }

    /// One file for each entry of the labels.
    pub(crate) fn files(&self) -> Vec<CorpusFile> {
        let named = |name: &String| CorpusFile { path: self.dir.join(name), name: name.clone() };
        self.windows.keys().map(named).collect()
    }

    /// Reads a series and finds the rows at which its windows begin and end.
    pub(crate) fn read(&self, file: &CorpusFile) -> Result<LabelledSeries, EvalError> {
        let series = read_csv(&file.path, &CsvOptions::default())?;
        let named = self.windows.get(&file.name).map(Vec::as_slice).unwrap_or_default();
        let windows = found(&series, named).map_err(|problem| self.refused(&file.name, problem))?;
        Ok(LabelledSeries { series, windows })
    }

    fn refused(&self, file: &str, problem: WindowProblem) -> EvalError {
        let window = Box::new(BadWindow { file: file.to_owned(), problem });
        EvalError::Window { path: self.labels.clone(), window }
    }
}

fn read_labels(path: &Path) -> Result<BTreeMap<String, Vec<[String; 2]>>, EvalError> {
    let failed = || EvalError::io("read the labels in", path);
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed())?;
    file.take(LABELS_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed())?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LABELS_BYTES_MAX {
        let path = path.to_owned();
        return Err(EvalError::TooMany { path, limit: LABELS_BYTES_MAX, noun: "bytes" });
    }
    serde_json::from_slice(&text)
        .map_err(|source| EvalError::Labels { path: path.to_owned(), source })
}

/// Whether a name leads to a CSV file below the folder that it is in.
fn is_name(name: &str) -> bool {
    let path = Path::new(name);
    path.components().all(|part| matches!(part, Component::Normal(_)))
        && path.extension().is_some_and(|ending| ending == "csv")
}

/// All files `<folder>/<file>.csv`, in order.
fn csv_files(dir: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let mut found = Vec::new();
    for category in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        let files = entries(&category)?.into_iter();
        found.extend(files.filter(|path| path.extension().is_some_and(|ending| ending == "csv")));
    }
    Ok(found)
}

/// What is in a folder, in order.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let failed = || EvalError::io("read the folder", dir);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed())? {
        if found.len() == FILES_MAX {
            let limit = u64::try_from(FILES_MAX).unwrap_or(u64::MAX);
            return Err(EvalError::TooMany { path: dir.to_owned(), limit, noun: "files" });
        }
        found.push(entry.map_err(failed())?.path());
    }
    found.sort();
    Ok(found)
}

/// The rows of each window: from the first row at its begin to the first row at its end, both included, as NAB has it.
fn found(series: &Series, windows: &[[String; 2]]) -> Result<Vec<Range<usize>>, WindowProblem> {
    let mut first_rows = BTreeMap::new();
    for (row, time) in series.times().iter().enumerate() {
        first_rows.entry(*time).or_insert(row);
    }
    let mut rows: Vec<Range<usize>> = Vec::new();
    for [begin, end] in windows {
        let (first, last) = (row_at(&first_rows, begin)?, row_at(&first_rows, end)?);
        let behind = rows.last().map_or(0, |before| before.end);
        if last < first || first < behind {
            return Err(WindowProblem::Order(begin.clone()));
        }
        rows.push(first..last + 1);
    }
    Ok(rows)
}

fn row_at(first_rows: &BTreeMap<EventTime, usize>, text: &str) -> Result<usize, WindowProblem> {
    let time = parse_date_time(text.as_bytes())
        .map_err(|_fault| WindowProblem::NotATime(text.to_owned()))?;
    first_rows.get(&time).copied().ok_or_else(|| WindowProblem::NoRow(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Corpus, CorpusKind};

    fn made(labels: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("labels")).unwrap();
        fs::create_dir_all(dir.path().join("data/a")).unwrap();
        fs::write(dir.path().join("labels/combined_windows.json"), labels).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join("data").join(name), text).unwrap();
        }
        dir
    }

    fn refused(labels: &str, files: &[(&str, &str)]) -> String {
        let dir = made(labels, files);
        let read = |corpus: Corpus| -> Result<(), EvalError> {
            corpus.files().iter().try_for_each(|file| corpus.read(file).map(drop))
        };
        let error = Corpus::open(CorpusKind::Nab, dir.path()).and_then(read).unwrap_err();
        error.to_string()
    }

    const ROWS: &str = "timestamp,value\n2014-04-01 00:00:00,1\n2014-04-01 00:05:00,2\n\
                        2014-04-01 00:05:00,3\n2014-04-01 00:10:00,4\n";

    #[test]
    fn windows_are_rows_from_the_first_at_the_begin_to_the_first_at_the_end() {
        let labels = r#"{"a/x.csv":[["2014-04-01 00:05:00.000000","2014-04-01 00:10:00.000000"]],"a/y.csv":[]}"#;
        let dir = made(labels, &[("a/x.csv", ROWS), ("a/y.csv", ROWS), ("a/README.md", "")]);
        let corpus = Corpus::open(CorpusKind::Nab, dir.path()).unwrap();
        let names: Vec<_> = corpus.files().iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a/x.csv", "a/y.csv"]);
        assert_eq!(corpus.read(&corpus.files()[0]).unwrap().windows, vec![1..4]);
        assert!(corpus.read(&corpus.files()[1]).unwrap().windows.is_empty());
    }

    #[test]
    fn labels_and_files_that_do_not_fit_each_other_are_told() {
        let window = |begin: &str, end: &str| format!(r#"{{"a/x.csv":[["{begin}","{end}"]]}}"#);
        let x = [("a/x.csv", ROWS)];
        for (labels, files, told) in [
            ("{\n\"a/x.csv\":\n[[1]]}", &x[..], "could not read the labels"),
            ("{}", &x, "holds no labels"),
            (r#"{"a/x.csv":[]}"#, &[], "could not open"),
            (r#"{"a/x.csv":[]}"#, &[x[0], ("a/z.csv", ROWS)], "a/z.csv\" has no entry in"),
            (r#"{"../x.csv":[]}"#, &x, "no name of a file below data/"),
            (&window("soon", "later"), &x, "\"soon\" is no time"),
            (
                &window("2014-04-01 00:00:01", "2014-04-01 00:05:00"),
                &x,
                "no row at 2014-04-01 00:00:01",
            ),
            (&window("2014-04-01 00:05:00", "2014-04-01 00:00:00"), &x, "ends before it begins"),
        ] {
            let error = refused(labels, files);
            assert!(error.contains(told), "{told}: {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let error = Corpus::open(CorpusKind::Nab, dir.path()).unwrap_err().to_string();
        assert!(error.contains("could not read the labels in"), "{error}");
    }
}
