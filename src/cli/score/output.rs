//! Scored rows as text.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};
use serde_json::json;
use tidewatch_eval::Series;
use tidewatch_metrics::EventTime;
use tidewatch_operators::Judgement;

/// The columns of every format.
const COLUMNS: [&str; 9] = [
    "time",
    "value",
    "severity",
    "onset_severity",
    "score",
    "expected",
    "lower",
    "upper",
    "channel",
];
/// The first column of numbers, and the one behind the last.
const NUMBERS: std::ops::Range<usize> = 1..8;
/// Digits of numbers that people read.
const DIGITS: i32 = 6;

/// A header and a line per row; what is absent is empty.
pub(super) fn write_csv(
    out: &mut dyn Write,
    series: &Series,
    rows: &[Judgement],
) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))?;
    for cells in cells(series, rows, |number| format!("{number:?}")) {
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

/// An array of an object per row; what is absent is null.
pub(super) fn write_json(
    out: &mut dyn Write,
    series: &Series,
    rows: &[Judgement],
) -> io::Result<()> {
    write!(out, "[")?;
    for (index, ((time, value), row)) in columns(series, rows).enumerate() {
        let channel = Some(row.channel().name()).filter(|name| !name.is_empty());
        let object = json!({
            "time": time_text(time), "value": value,
            "severity": row.severity.to_f32(), "onset_severity": row.onset_severity().to_f32(),
            "score": shortest(row.severity.score()),
            "expected": row.expected, "lower": row.lower, "upper": row.upper, "channel": channel,
        });
        write!(out, "{}{object}", if index == 0 { "" } else { ",\n" })?;
    }
    writeln!(out, "]")
}

/// A table for people, numbers with six digits.
pub(super) fn write_pretty(
    out: &mut dyn Write,
    series: &Series,
    rows: &[Judgement],
) -> io::Result<()> {
    let mut widths = COLUMNS.map(str::len);
    for cells in cells(series, rows, short) {
        for (width, cell) in widths.iter_mut().zip(&cells) {
            *width = cell.len().max(*width);
        }
    }
    let header = COLUMNS.map(str::to_owned);
    for cells in std::iter::once(header).chain(cells(series, rows, short)) {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            line += &match NUMBERS.contains(&column) {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn columns<'a>(
    series: &'a Series,
    rows: &'a [Judgement],
) -> impl Iterator<Item = ((EventTime, f64), &'a Judgement)> {
    series.times().iter().copied().zip(series.values().iter().copied()).zip(rows)
}

/// The columns of each row; `number` writes those that may have many digits.
fn cells<'a>(
    series: &'a Series,
    rows: &'a [Judgement],
    number: impl Fn(f64) -> String + 'a,
) -> impl Iterator<Item = [String; 9]> + 'a {
    columns(series, rows).map(move |((time, value), row)| {
        let known = |it: f64| if it.is_nan() { String::new() } else { number(it) };
        [
            time_text(time),
            known(value),
            row.severity.to_f32().to_string(),
            row.onset_severity().to_f32().to_string(),
            row.severity.score().to_string(),
            known(row.expected),
            known(row.lower),
            known(row.upper),
            row.channel().name().to_owned(),
        ]
    })
}

/// The number with the digits that tell it from other floats of its width, and no more.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_not_a_number| f64::from(number))
}

fn time_text(time: EventTime) -> String {
    DateTime::from_timestamp_nanos(time.nanos()).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A number with six digits, or with a power of ten where that would need many zeros.
fn short(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude >= 1e9 || (magnitude > 0.0 && magnitude < 1e-4) {
        return format!("{number:.5e}");
    }
    let before = if magnitude >= 1.0 { magnitude.log10().floor() } else { 0.0 };
    let behind =
        (0..DIGITS).rev().find(|digits| f64::from(*digits) <= f64::from(DIGITS - 1) - before);
    let behind = usize::try_from(behind.unwrap_or_default()).unwrap_or_default();
    format!("{number:.behind$}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidewatch_eval::{Model, score_series};
    use tidewatch_operators::SeriesDetector;

    use super::*;

    /// A spike among sixty rows, one without a value, and one that is late.
    fn scored() -> (Series, Vec<Judgement>) {
        let mut series = Series::default();
        for row in 0..60_i64 {
            let value = if row == 57 {
                900.0
            } else {
                [10.0, 10.5, 9.75][usize::try_from(row % 3).unwrap()]
            };
            let value = if row == 50 { f64::NAN } else { value };
            let row = if row == 59 { 3 } else { row };
            series.push(EventTime::new(row * 60_500_000_000), value, "");
        }
        let mut rows = Vec::new();
        score_series(&mut SeriesDetector::new(Model::Light), &series, &mut rows);
        (series, rows)
    }

    fn text(write: impl Fn(&mut dyn Write, &Series, &[Judgement]) -> io::Result<()>) -> String {
        let (series, rows) = scored();
        let mut out = Vec::new();
        write(&mut out, &series, &rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_absent_is_empty_in_csv_and_null_in_json() {
        let csv = text(write_csv);
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines.len(), 61);
        assert_eq!(
            lines[0],
            "time,value,severity,onset_severity,score,expected,lower,upper,channel"
        );
        assert_eq!(lines[1], "1970-01-01T00:00:00Z,10.0,0,0,0,,,,");
        assert_eq!(lines[51], "1970-01-01T00:50:25Z,,0,0,0,,,,");
        assert_eq!(lines[60], "1970-01-01T00:03:01.500Z,9.75,0,0,0,,,,");
        assert!(
            lines[58].contains(",900.0,") && lines[58].ends_with(",deviation"),
            "{}",
            lines[58]
        );
        let rows: Value = serde_json::from_str(&text(write_json)).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 60);
        for (row, line) in rows.as_array().unwrap().iter().zip(&lines[1..]) {
            let cells = COLUMNS.iter().zip(line.split(','));
            for (column, cell) in cells {
                let told = match &row[*column] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    number => number.to_string(),
                };
                // The reader of JSON rounds its last bit; the writer does not.
                let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-12 * b.abs();
                let numbers = told.parse().ok().zip(cell.parse().ok());
                let same = told == cell || numbers.is_some_and(near);
                assert!(same, "{column}: {told} {cell}");
            }
        }
    }

    #[test]
    fn people_read_columns_one_below_the_other() {
        let pretty = text(write_pretty);
        let lines: Vec<_> = pretty.lines().collect();
        assert_eq!(lines.len(), 61);
        let end = lines[0].find("  severity").unwrap() + 10;
        assert!(
            lines[1..].iter().all(|line| line.as_bytes()[end - 1].is_ascii_digit()),
            "{pretty}"
        );
    }

    #[test]
    fn numbers_for_people_have_six_digits() {
        for (number, told) in [
            (0.0, "0.00000"),
            (18.324_918_5, "18.3249"),
            (-251_643.4, "-251643"),
            (123_456_789.0, "123456789"),
            (0.001_234_56, "0.00123"),
            (1.5e12, "1.50000e12"),
            (-3e-7, "-3.00000e-7"),
        ] {
            assert_eq!(short(number), told);
        }
    }
}
