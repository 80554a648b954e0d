//! Series with labels.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::EvalError;
use crate::kpi_corpus::KpiCorpus;
use crate::nab_corpus::NabCorpus;
use crate::series::Series;

/// Which benchmark a corpus comes from: its layout, and how it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorpusKind {
    /// The Numenta Anomaly Benchmark: `data/<category>/<file>.csv` and `labels/combined_windows.json`.
    Nab,
    /// The KPIs of the AIOps challenge of 2018: `*.csv` or `*.csv.gz`, rows `unix_seconds,value,label`, no header.
    Kpi,
}

/// One file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name within the corpus, with `/` between folders and the ending `.csv`.
    pub name: String,
}

/// A series and where something is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct LabelledSeries {
    /// The rows.
    pub series: Series,
    /// Ranges of rows that are labelled: in order, apart, none empty.
    pub windows: Vec<Range<usize>>,
}

/// Series with labels, read one by one.
#[derive(Clone, Debug)]
pub struct Corpus {
    files: Vec<CorpusFile>,
    labels: Labels,
}

/// Where labels come from.
#[derive(Clone, Debug)]
enum Labels {
    Nab(NabCorpus),
    Kpi,
}

impl Corpus {
    /// Looks for the files of the corpus in `dir`, and reads its labels where they are in a file of their own.
    ///
    /// # Errors
    /// If there are no such files, none for a label, or no label for one.
    pub fn open(kind: CorpusKind, dir: &Path) -> Result<Self, EvalError> {
        match kind {
            CorpusKind::Nab => {
                let corpus = NabCorpus::open(dir)?;
                Ok(Self { files: corpus.files(), labels: Labels::Nab(corpus) })
            }
            CorpusKind::Kpi => Ok(Self { files: KpiCorpus::files(dir)?, labels: Labels::Kpi }),
        }
    }

    /// The files, in the order of their names.
    #[must_use]
    pub fn files(&self) -> &[CorpusFile] {
        &self.files
    }

    /// Reads one of the [files](Self::files).
    ///
    /// # Errors
    /// The first row that cannot be understood, with its line, or the label that fits no row.
    pub fn read(&self, file: &CorpusFile) -> Result<LabelledSeries, EvalError> {
        match &self.labels {
            Labels::Nab(corpus) => corpus.read(file),
            Labels::Kpi => KpiCorpus::read(&file.path),
        }
    }
}
