//! Files of samples, packed or not.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tidewatch_connectors::decode::{CsvError, CsvOptions, CsvReader, RowReason};

use crate::error::{EvalError, RowProblem};
use crate::limits::{ROWS_MAX, TIME_BYTES_MAX};
use crate::series::Series;

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1_024;
/// How gzip files begin.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a file; gzip is told by its first bytes.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>, EvalError> {
    let file = File::open(path).map_err(EvalError::io("open", path))?;
    let mut input = BufReader::with_capacity(READ_BYTES, file);
    let begin = input.fill_buf().map_err(EvalError::io("read", path))?;
    if begin.starts_with(&GZIP_MAGIC) {
        Ok(Box::new(BufReader::with_capacity(READ_BYTES, MultiGzDecoder::new(input))))
    } else {
        Ok(Box::new(input))
    }
}

/// Reads one series from a CSV file with a header, packed by gzip or not.
///
/// Times are RFC 3339, the same with a blank and without a zone (then UTC), or numbers of seconds, milli-, micro- or
/// nanoseconds, told by their magnitude: as `tidewatch write` reads them. An empty value, NaN and an infinity make a
/// row without a value.
///
/// # Errors
/// The first row whose time or value cannot be understood, with its line; a file that cannot be read, lacks a
/// column, or has more than [`ROWS_MAX`] rows.
pub fn read_csv(path: &Path, options: &CsvOptions) -> Result<Series, EvalError> {
    let failed = |source: CsvError| EvalError::Csv { path: path.to_owned(), source: source.into() };
    let mut reader = CsvReader::new(open(path)?, options).map_err(failed)?;
    let mut series = Series::default();
    while let Some(row) = reader.next_row().map_err(failed)? {
        let row = row.map_err(|error| {
            EvalError::row(path, error.line_number, RowProblem::Csv(error.reason))
        })?;
        let refused = |problem| EvalError::row(path, row.line_number, problem);
        let value = match row.value {
            Ok(value) => value,
            Err(RowReason::EmptyValue | RowReason::NotFinite) => f64::NAN,
            Err(reason) => return Err(refused(RowProblem::Csv(reason))),
        };
        let text = std::str::from_utf8(row.time_text).unwrap_or_default();
        if text.is_empty() || text.len() > TIME_BYTES_MAX {
            return Err(refused(RowProblem::TimeTooLong));
        }
        hold(path, &series)?;
        series.push(row.time, value, text);
    }
    Ok(series)
}

/// Refuses the row that is one too many.
pub(crate) fn hold(path: &Path, series: &Series) -> Result<(), EvalError> {
    if series.len() < ROWS_MAX {
        return Ok(());
    }
    let limit = u64::try_from(ROWS_MAX).unwrap_or(u64::MAX);
    Err(EvalError::TooMany { path: path.to_owned(), limit, noun: "rows" })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(text: &[u8]) -> Result<Series, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        read_csv(file.path(), &CsvOptions::default()).map_err(|error| match &error {
            EvalError::Csv { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        })
    }

    #[test]
    fn rows_without_a_value_stay_and_times_keep_their_form() {
        let series =
            read(b"value,timestamp\n1.5,2014-04-01 00:00:00\n,1396310700\nNaN,3000\n-inf,4000\n");
        let series = series.unwrap();
        let seconds: Vec<_> =
            series.times().iter().map(|time| time.nanos() / 1_000_000_000).collect();
        assert_eq!(seconds, [1_396_310_400, 1_396_310_700, 3_000, 4_000]);
        assert_eq!(series.values()[0].to_bits(), 1.5_f64.to_bits());
        assert!(series.values()[1..].iter().all(|value| value.is_nan()));
        let texts: Vec<_> = (0..5).map(|row| series.time_text(row)).collect();
        assert_eq!(texts, ["2014-04-01 00:00:00", "1396310700", "3000", "4000", ""]);
    }

    #[test]
    fn the_first_bad_row_is_told_with_its_line() {
        for (text, told) in [
            (&b"timestamp,value\n1,2\n\nnever,3\n"[..], "line 4: invalid time"),
            (b"timestamp,value\n1,2\n2,many\n", "line 3: invalid value"),
            (b"timestamp,value\n1\n", "line 2: row has too few columns"),
            (b"timestamp,values\n1,2\n", "no column \"value\", but \"timestamp\", \"values\""),
            (b"", "CSV has no header line"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.ends_with(told), "{told}: {error}");
        }
        let long = format!("timestamp,value\n2014-04-01 00:00:00.{},1\n", "0".repeat(60));
        assert!(read(long.as_bytes()).unwrap_err().ends_with("line 2: invalid time"));
    }

    #[test]
    fn packed_files_are_read_as_they_were() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"timestamp,value\n1,2\n").unwrap();
        let series = read(&packed.finish().unwrap()).unwrap();
        assert_eq!((series.len(), series.is_empty()), (1, false));
    }
}
