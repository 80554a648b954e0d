//! Rows of a CSV file as times and values.
//!
//! RFC 4180 with a header line; LF or CR LF; a byte order mark is passed over, as are blank lines. Memory is
//! bounded: a row beyond the limits is refused and the next one is read.
#![deny(clippy::indexing_slicing)]

use std::fmt;
use std::io::BufRead;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use tidewatch_metrics::EventTime;

use crate::decode::number::signed;
use crate::decode::precision::Precision;
use crate::decode::time::{TimeFault, parse_date_time};

/// Bytes of one row without its quotes.
pub const ROW_BYTES_MAX: usize = 1 << 20;
/// Columns of one row.
pub const COLUMNS_MAX: usize = 4_096;
/// Refused rows that are kept one by one; the others are only counted.
pub const ROW_ERRORS_KEPT_MAX: usize = 1_000;

/// Which columns are read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// The header of the column of times.
    pub time_column: String,
    /// The header of the column of values.
    pub value_column: String,
    /// The unit of times that are numbers.
    pub precision: Precision,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            time_column: "timestamp".to_owned(),
            value_column: "value".to_owned(),
            precision: Precision::Auto,
        }
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// Reading failed.
    #[error("could not read CSV after line {line_number}")]
    Io {
        /// The last line that was read.
        line_number: u64,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file has no header line within the limits.
    #[error("CSV has no header line")]
    NoHeader,
    /// The header lacks a column.
    #[error("CSV has no column \"{column}\", but {found}")]
    NoColumn {
        /// The wanted column.
        column: String,
        /// The columns that are there, quoted.
        found: String,
    },
    /// Two columns have the name of one that is read.
    #[error("CSV has more than one column \"{column}\": rename all but one of them")]
    ColumnTwice {
        /// The wanted column.
        column: String,
    },
}

/// Why a row is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowReason {
    /// More bytes than [`ROW_BYTES_MAX`] or more columns than [`COLUMNS_MAX`].
    RowTooLong,
    /// The row ends before the column of the time or the value.
    MissingColumn,
    /// More columns than the header has, and not all of them are empty: which one is meant nobody knows.
    ExtraColumn,
    /// The time is neither a number nor a date with a time.
    InvalidTime,
    /// The time does not fit into 64 bits of nanoseconds.
    TimeOutOfRange,
    /// No value.
    EmptyValue,
    /// The value is no number.
    InvalidValue,
    /// NaN, an infinity, or a number too large for a 64-bit float.
    NotFinite,
}

impl fmt::Display for RowReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RowTooLong => "row is too long",
            Self::MissingColumn => "row has too few columns",
            Self::ExtraColumn => "row has more columns than the header; quote fields with a comma",
            Self::InvalidTime => "invalid time",
            Self::TimeOutOfRange => "time beyond the range of nanoseconds",
            Self::EmptyValue => "empty value",
            Self::InvalidValue => "invalid value",
            Self::NotFinite => "value is not a finite number",
        })
    }
}

/// One refused row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The line that the row begins on, from 1; the header counts.
    pub line_number: u64,
    /// Why.
    pub reason: RowReason,
}

/// The refused rows of a file.
///
/// Invariant: `first` holds the first [`ROW_ERRORS_KEPT_MAX`] of them; `total` counts all.
#[derive(Clone, Debug, Default)]
pub struct RowErrors {
    first: Vec<RowError>,
    total: u64,
}

impl RowErrors {
    /// The first refused rows, in the order of the file.
    #[must_use]
    pub fn first(&self) -> &[RowError] {
        &self.first
    }

    /// All refused rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    fn push(&mut self, error: RowError) {
        self.total += 1;
        if self.first.len() < ROW_ERRORS_KEPT_MAX {
            self.first.push(error);
        }
    }
}

/// One row with a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CsvRow<'a> {
    /// The line that the row begins on, from 1; the header counts.
    pub line_number: u64,
    /// The time as it is written, without blanks about it.
    pub time_text: &'a [u8],
    /// The time.
    pub time: EventTime,
    /// The value, or why there is none.
    pub value: Result<f64, RowReason>,
}

/// Reads a CSV file batch by batch, or row by row.
///
/// Invariant: the first `row_bytes` of `row` are the last row's fields without quotes, one after another;
/// the first `row_fields` of `ends` are where they end.
pub struct CsvReader<R> {
    input: R,
    parser: Reader,
    row: Box<[u8]>,
    row_bytes: usize,
    ends: Box<[usize]>,
    row_fields: usize,
    /// Of the header.
    columns: usize,
    time_index: usize,
    value_index: usize,
    precision: Precision,
}

impl<R> fmt::Debug for CsvReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvReader").field("line", &self.parser.line()).finish_non_exhaustive()
    }
}

/// What reading one row came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Read { line_number: u64 },
    TooLong { line_number: u64 },
    End,
}

impl<R: BufRead> CsvReader<R> {
    /// Reads the header and finds the columns.
    ///
    /// # Errors
    /// If there is no header, or a column is not in it, or reading fails.
    pub fn new(input: R, options: &CsvOptions) -> Result<Self, CsvError> {
        let mut reader = Self {
            input,
            parser: ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build(),
            row: vec![0; ROW_BYTES_MAX].into_boxed_slice(),
            row_bytes: 0,
            ends: vec![0; COLUMNS_MAX].into_boxed_slice(),
            row_fields: 0,
            columns: 0,
            time_index: 0,
            value_index: 0,
            precision: options.precision,
        };
        match reader.read_row()? {
            Row::Read { .. } => {}
            Row::TooLong { .. } | Row::End => return Err(CsvError::NoHeader),
        }
        reader.columns = reader.row_fields;
        reader.time_index = reader.column(&options.time_column)?;
        reader.value_index = reader.column(&options.value_column)?;
        Ok(reader)
    }

    /// Reads up to `rows_max` rows: the good ones are appended to `times` and `values`, the others to `errors`.
    ///
    /// Gives the number of rows read, refused ones included; 0 at the end of the file.
    ///
    /// # Errors
    /// If reading fails.
    pub fn next_batch(
        &mut self,
        rows_max: usize,
        times: &mut Vec<EventTime>,
        values: &mut Vec<f64>,
        errors: &mut RowErrors,
    ) -> Result<usize, CsvError> {
        let mut rows = 0;
        while rows < rows_max {
            match self.read_row()? {
                Row::End => break,
                Row::TooLong { line_number } => {
                    errors.push(RowError { line_number, reason: RowReason::RowTooLong });
                }
                Row::Read { line_number } => match self.sample() {
                    Ok((time, value)) => {
                        times.push(time);
                        values.push(value);
                    }
                    Err(reason) => errors.push(RowError { line_number, reason }),
                },
            }
            rows += 1;
        }
        Ok(rows)
    }

    /// Reads the next row, whatever its value is; `None` at the end of the file.
    ///
    /// # Errors
    /// If reading fails, and in the inner result why the row is refused; the next one can be read then.
    pub fn next_row(&mut self) -> Result<Option<Result<CsvRow<'_>, RowError>>, CsvError> {
        let line_number = match self.read_row()? {
            Row::End => return Ok(None),
            Row::TooLong { line_number } => {
                return Ok(Some(Err(RowError { line_number, reason: RowReason::RowTooLong })));
            }
            Row::Read { line_number } => line_number,
        };
        Ok(Some(self.row(line_number).map_err(|reason| RowError { line_number, reason })))
    }

    fn row(&self, line_number: u64) -> Result<CsvRow<'_>, RowReason> {
        let time_text = self.field(self.time_index).ok_or(RowReason::MissingColumn)?.trim_ascii();
        let value = self.field(self.value_index).ok_or(RowReason::MissingColumn)?;
        let mut extra = (self.columns..self.row_fields).filter_map(|index| self.field(index));
        if extra.any(|field| !field.trim_ascii().is_empty()) {
            return Err(RowReason::ExtraColumn);
        }
        let time = parse_time(time_text, self.precision)?;
        Ok(CsvRow { line_number, time_text, time, value: parse_value(value.trim_ascii()) })
    }

    fn sample(&self) -> Result<(EventTime, f64), RowReason> {
        let row = self.row(0)?;
        Ok((row.time, row.value?))
    }

    fn column(&self, column: &str) -> Result<usize, CsvError> {
        let fields = (0..self.row_fields).map(|index| self.field(index).unwrap_or_default());
        let mut names = fields.map(|field| String::from_utf8_lossy(field.trim_ascii()));
        if names.clone().filter(|name| name == column).count() > 1 {
            return Err(CsvError::ColumnTwice { column: column.to_owned() });
        }
        names.clone().position(|name| name == column).ok_or_else(|| {
            let quoted = names.by_ref().take(16).map(|name| format!("{name:?}"));
            let found = quoted.collect::<Vec<_>>().join(", ");
            CsvError::NoColumn { column: column.to_owned(), found }
        })
    }

    fn field(&self, index: usize) -> Option<&[u8]> {
        let ends = self.ends.get(..self.row_fields)?;
        let start = match index.checked_sub(1) {
            Some(before) => *ends.get(before)?,
            None => 0,
        };
        self.row.get(start..*ends.get(index)?)
    }

    /// Reads the next row that is not blank.
    fn read_row(&mut self) -> Result<Row, CsvError> {
        loop {
            self.skip_line_ends()?;
            let line_number = self.parser.line();
            let row = self.read_record(line_number)?;
            let blank = self.row_fields == 1 && self.row.get(..self.row_bytes) == Some(b"\r");
            if !(blank && matches!(row, Row::Read { .. })) {
                return Ok(row);
            }
        }
    }

    /// Passes over empty lines, so that a row's line number is that of its first byte.
    fn skip_line_ends(&mut self) -> Result<(), CsvError> {
        loop {
            let buffer = fill(&mut self.input, self.parser.line())?;
            let count = buffer.iter().take_while(|byte| **byte == b'\n').count();
            let whole = count > 0 && count == buffer.len();
            self.input.consume(count);
            let lines = u64::try_from(count).unwrap_or(u64::MAX);
            self.parser.set_line(self.parser.line().saturating_add(lines));
            if !whole {
                return Ok(());
            }
        }
    }

    fn read_record(&mut self, line_number: u64) -> Result<Row, CsvError> {
        self.row_bytes = 0;
        self.row_fields = 0;
        let mut too_long = false;
        loop {
            let buffer = fill(&mut self.input, self.parser.line())?;
            let output = self.row.get_mut(self.row_bytes..).unwrap_or_default();
            let ends = self.ends.get_mut(self.row_fields..).unwrap_or_default();
            let (result, read, written, ended) = self.parser.read_record(buffer, output, ends);
            self.input.consume(read);
            self.row_bytes += written;
            self.row_fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                // The rest of the row is read into the same room and forgotten.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    too_long = true;
                    self.row_bytes = 0;
                    self.row_fields = 0;
                }
                ReadRecordResult::Record if too_long => return Ok(Row::TooLong { line_number }),
                ReadRecordResult::Record => return Ok(Row::Read { line_number }),
                ReadRecordResult::End => return Ok(Row::End),
            }
        }
    }
}

fn fill<R: BufRead>(input: &mut R, line_number: u64) -> Result<&[u8], CsvError> {
    input.fill_buf().map_err(|source| CsvError::Io { line_number, source })
}

fn parse_time(text: &[u8], precision: Precision) -> Result<EventTime, RowReason> {
    if let Some(number) = signed(text, 0).filter(|number| number.end == text.len()) {
        let time = number.value.and_then(|number| precision.scale(number));
        return time.ok_or(RowReason::TimeOutOfRange);
    }
    parse_date_time(text).map_err(|fault| match fault {
        TimeFault::Invalid => RowReason::InvalidTime,
        TimeFault::OutOfRange => RowReason::TimeOutOfRange,
    })
}

fn parse_value(text: &[u8]) -> Result<f64, RowReason> {
    if text.is_empty() {
        return Err(RowReason::EmptyValue);
    }
    match fast_float2::parse::<f64, _>(text) {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(RowReason::NotFinite),
        Err(_) => Err(RowReason::InvalidValue),
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
