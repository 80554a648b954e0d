//! One file as batches of line protocol.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tidewatch_connectors::decode::{CsvError, CsvOptions, CsvReader, RowErrors};
use tidewatch_metrics::EventTime;

use crate::cli::error::{Cause, CliError};
use crate::cli::progress::Progress;
use crate::cli::write::csv_lines::LinePrefix;
use crate::cli::write::json::{JsonDocument, JsonLines};
use crate::cli::write::lines::{LINE_BYTES_MAX, Line, LineCutter};

/// A batch ends when it has grown to this: below the 10 MiB of JSON and 32 MiB of lines that the server takes.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes read from a file at once.
const READ_BYTES: usize = 256 * 1_024;
/// How gzip files begin.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What is read: a file or standard input, decompressed.
type Input = Box<dyn BufRead + Send>;

/// How a file is to be read.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// Line protocol, as it is.
    Lines,
    /// A document `{"metrics":[…]}`, which is cut into such documents.
    Json,
    /// A JSON object per line, as it is.
    JsonLines,
    /// CSV, all of it one series.
    Csv {
        /// The columns.
        options: CsvOptions,
        /// The series.
        prefix: LinePrefix,
    },
}

impl Form {
    /// The type of its requests' bodies.
    pub(crate) const fn content_type(&self) -> &'static str {
        match self {
            Self::Lines | Self::Csv { .. } => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    /// Rows that the server takes in one request.
    pub(crate) const fn rows_max(&self) -> usize {
        match self {
            Self::Lines | Self::Csv { .. } => 1_000_000,
            Self::Json | Self::JsonLines => 10_000,
        }
    }

    /// Whether its rows are JSON.
    pub(crate) const fn is_json(&self) -> bool {
        matches!(self, Self::Json | Self::JsonLines)
    }
}

/// What one batch holds, beside its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Rows in the body.
    pub(crate) rows: u64,
    /// Rows that were refused here and are not in the body.
    pub(crate) refused: u64,
    /// Why, for some of them.
    pub(crate) notes: Vec<String>,
    /// The line or sample of the file with which the body begins; `None` where the body has other ones.
    pub(crate) first_line: Option<u64>,
}

/// A file that is being read.
#[derive(Debug)]
pub(crate) struct Source {
    reader: Reader,
}

enum Reader {
    Lines(LineCutter<Input>),
    Json(JsonDocument),
    JsonLines(JsonLines<Input>),
    Csv(Box<CsvSource>),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lines(_) => "Lines",
            Self::Json(_) => "Json",
            Self::JsonLines(_) => "JsonLines",
            Self::Csv(_) => "Csv",
        })
    }
}

struct CsvSource {
    reader: CsvReader<Input>,
    prefix: LinePrefix,
    errors: RowErrors,
    times: Vec<EventTime>,
    values: Vec<f64>,
}

impl Source {
    /// Opens `path`, where `-` is standard input; gzip is told by its first bytes.
    ///
    /// # Errors
    /// If it cannot be opened, or is CSV without the columns.
    pub(crate) fn open(path: &Path, form: &Form, progress: &Progress) -> Result<Self, CliError> {
        let fail = |action, source: Cause| CliError::File { action, path: path.to_owned(), source };
        let raw: Box<dyn Read + Send> = if path.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(path).map_err(|error| fail("open", error.into()))?)
        };
        let counted = BufReader::with_capacity(READ_BYTES, progress.reading(raw));
        let input = unpacked(counted).map_err(|error| fail("read", error.into()))?;
        Self::new(input, form).map_err(|cause| fail("read", cause))
    }

    fn new(input: Input, form: &Form) -> Result<Self, Cause> {
        let reader = match form {
            Form::Lines => Reader::Lines(LineCutter::new(input)),
            Form::Json => Reader::Json(JsonDocument::read(input)?),
            Form::JsonLines => Reader::JsonLines(JsonLines::new(input)),
            Form::Csv { options, prefix } => Reader::Csv(Box::new(CsvSource {
                reader: CsvReader::new(input, options)?,
                prefix: prefix.clone(),
                errors: RowErrors::default(),
                times: Vec::new(),
                values: Vec::new(),
            })),
        };
        Ok(Self { reader })
    }

    /// Replaces `body` by the next batch of at most `rows_max` rows; `None` at the end of the file.
    ///
    /// # Errors
    /// If reading fails.
    pub(crate) fn next(
        &mut self,
        rows_max: usize,
        body: &mut Vec<u8>,
    ) -> Result<Option<Batch>, Cause> {
        body.clear();
        match &mut self.reader {
            Reader::Lines(cutter) => Ok(next_lines(cutter, rows_max, body)?),
            Reader::Json(document) => Ok(document.next(rows_max, body)),
            Reader::JsonLines(lines) => Ok(lines.next(rows_max, body)?),
            Reader::Csv(source) => Ok(source.next(rows_max, body)?),
        }
    }
}

fn next_lines(
    cutter: &mut LineCutter<Input>,
    rows_max: usize,
    body: &mut Vec<u8>,
) -> std::io::Result<Option<Batch>> {
    let mut batch = Batch { first_line: Some(cutter.line_number()), ..Batch::default() };
    let rows_max = u64::try_from(rows_max).unwrap_or(u64::MAX);
    while batch.rows < rows_max && body.len() < BODY_BYTES_MAX {
        let line_number = cutter.line_number();
        match cutter.next(body)? {
            Line::Row => batch.rows += 1,
            Line::Blank => {}
            Line::TooLong => {
                batch.refused += 1;
                batch.notes.push(format!("line {line_number}: longer than {LINE_BYTES_MAX} bytes"));
                // What follows has other numbers in the body than in the file.
                return Ok(Some(batch));
            }
            Line::End if body.is_empty() => return Ok(None),
            Line::End => break,
        }
    }
    Ok(Some(batch))
}

impl CsvSource {
    fn next(&mut self, rows_max: usize, body: &mut Vec<u8>) -> Result<Option<Batch>, CsvError> {
        self.times.clear();
        self.values.clear();
        let (told, refused) = (self.errors.first().len(), self.errors.total());
        let rows_max = rows_max.min(BODY_BYTES_MAX / self.prefix.line_bytes_max()).max(1);
        let read = self.reader.next_batch(
            rows_max,
            &mut self.times,
            &mut self.values,
            &mut self.errors,
        )?;
        if read == 0 {
            return Ok(None);
        }
        for (time, value) in self.times.iter().zip(&self.values) {
            self.prefix.push_line(body, *time, *value);
        }
        let told = self.errors.first().iter().skip(told);
        Ok(Some(Batch {
            rows: u64::try_from(self.times.len()).expect("a batch is small"),
            refused: self.errors.total() - refused,
            notes: told.map(|row| format!("line {}: {}", row.line_number, row.reason)).collect(),
            first_line: None,
        }))
    }
}

/// `input`, decompressed if it is gzip.
fn unpacked(mut input: BufReader<impl Read + Send + 'static>) -> std::io::Result<Input> {
    if input.fill_buf()?.starts_with(&GZIP_MAGIC) {
        let unpacked = MultiGzDecoder::new(input);
        return Ok(Box::new(BufReader::with_capacity(READ_BYTES, unpacked)));
    }
    Ok(Box::new(input))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn csv_form() -> Form {
        let prefix = LinePrefix::new("default", "m", &[("k".to_owned(), "v".to_owned())]).unwrap();
        Form::Csv { options: CsvOptions::default(), prefix }
    }

    fn batches(form: &Form, text: &[u8], rows_max: usize) -> Vec<(Batch, String)> {
        let input = unpacked(BufReader::new(std::io::Cursor::new(text.to_vec()))).unwrap();
        let mut source = Source::new(input, form).unwrap();
        let mut body = Vec::new();
        let mut all = Vec::new();
        while let Some(batch) = source.next(rows_max, &mut body).unwrap() {
            all.push((batch, String::from_utf8(body.clone()).unwrap()));
        }
        all
    }

    #[test]
    fn line_protocol_is_cut_into_batches_of_rows_and_nothing_is_changed() {
        let text = "# head\na v=1\n\nb v=2\nc v=\"\n\" 3\n";
        let all = batches(&Form::Lines, text.as_bytes(), 2);
        let rows: Vec<_> = all.iter().map(|(batch, _)| (batch.rows, batch.first_line)).collect();
        assert_eq!(rows, [(2, Some(1)), (1, Some(5))]);
        let bodies: String = all.into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies, text);
    }

    #[test]
    fn bodies_are_bounded_in_bytes_too() {
        let line = format!("m,t={} v=1\n", "x".repeat(1_000_000));
        let all = batches(&Form::Lines, line.repeat(20).as_bytes(), 1_000);
        assert_eq!(all.iter().map(|(batch, _)| batch.rows).sum::<u64>(), 20);
        assert!(all.iter().all(|(_, body)| body.len() < BODY_BYTES_MAX + line.len()));
    }

    #[test]
    fn csv_rows_become_lines_and_bad_ones_are_named() {
        let text = "timestamp,value\n1970-01-01 00:00:01,2.5\nx,1\n1970-01-01T00:00:02Z,-3\n5,\n";
        let all = batches(&csv_form(), text.as_bytes(), 2);
        assert_eq!(all[0].1, "m,k=v value=2.5 1000000000\n");
        assert_eq!(all[1].1, "m,k=v value=-3.0 2000000000\n");
        let notes: Vec<_> = all.iter().flat_map(|(batch, _)| batch.notes.clone()).collect();
        assert_eq!(notes, ["line 3: invalid time", "line 5: empty value"]);
        let counts: Vec<_> = all.iter().map(|(batch, _)| (batch.rows, batch.refused)).collect();
        assert_eq!(counts, [(1, 1), (1, 1)]);
    }

    #[test]
    fn gzip_is_told_by_its_first_bytes() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"timestamp,value\n1,2\n").unwrap();
        let packed = encoder.finish().unwrap();
        let all = batches(&csv_form(), &packed, 10);
        assert_eq!(all[0].1, "m,k=v value=2.0 1000000000\n");
    }

    #[test]
    fn a_csv_file_without_the_columns_says_which_it_has() {
        let input = unpacked(BufReader::new(&b"time,v\n1,2\n"[..])).unwrap();
        let error = Source::new(input, &csv_form()).unwrap_err().to_string();
        assert!(error.contains("\"timestamp\"") && error.contains("\"time\", \"v\""), "{error}");
    }
}
