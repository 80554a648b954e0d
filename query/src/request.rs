//! What is asked, and what is answered.

use std::time::Duration;

use bytes::Bytes;
use tidewatch_metrics::Lsn;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// An array of row objects.
    #[default]
    Json,
    /// A row object per line.
    JsonLines,
    /// A header and a line per row.
    Csv,
    /// A table for people.
    Pretty,
    /// A Parquet file.
    Parquet,
    /// A stream of Arrow's inter-process format.
    Arrow,
}

impl Format {
    /// The names of all formats, for those who are told of them.
    pub const NAMES: &str = "json, jsonl, csv, pretty, parquet, arrow";

    /// The format with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "jsonl" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            "pretty" => Some(Self::Pretty),
            "parquet" => Some(Self::Parquet),
            "arrow" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// The `Content-Type` of answers.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Pretty => "text/plain; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// A statement and how to answer it.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// One SQL statement.
    pub sql: String,
    /// The schema of tables that are named without one.
    pub db: String,
    /// How the answer is written.
    pub format: Format,
    /// The deadline; the default of the limits if `None`, and never more than the greatest one.
    pub timeout: Option<Duration>,
}

/// An answer in full.
#[derive(Clone, Debug)]
pub struct QueryAnswer {
    /// The answer as its format has it.
    pub body: Bytes,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// What it took.
    pub stats: QueryStats,
}

/// What a query took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueryStats {
    /// Rows of the answer.
    pub rows: u64,
    /// Rows read of segments, their rollups, and heads.
    pub rows_scanned: u64,
    /// Those of rollups: each stands for the rows of a series and hour.
    pub rollup_rows: u64,
    /// Bytes read of segments and heads.
    pub bytes_scanned: u64,
    /// Segments of the snapshot that were considered, once per scan of a table.
    pub segments: u64,
    /// Segments of them that were not read.
    pub segments_pruned: u64,
    /// Segments that are damaged, and whose rows are missing.
    pub segments_quarantined: u64,
    /// Milliseconds from the request to the whole answer.
    pub ms: f64,
    /// The last record that the query saw.
    pub lsn: Lsn,
}

impl QueryStats {
    /// The value of the header `Tidewatch-Stats`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let quarantined = match self.segments_quarantined {
            0 => String::new(),
            missing => format!("\"segments_quarantined\":{missing},"),
        };
        let rolled = match self.rollup_rows {
            0 => String::new(),
            rows => format!("\"rollup_rows\":{rows},"),
        };
        format!(
            "{{\"rows\":{},\"rows_scanned\":{},{rolled}\"bytes_scanned\":{},\"segments\":{},\
             \"segments_pruned\":{},{quarantined}\"ms\":{},\"lsn\":{}}}",
            self.rows,
            self.rows_scanned,
            self.bytes_scanned,
            self.segments,
            self.segments_pruned,
            (self.ms * 1_000.0).round() / 1_000.0,
            self.lsn,
        )
    }
}
