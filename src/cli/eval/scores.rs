//! Scores and pictures as files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tidewatch_eval::{Picture, Series};
use tidewatch_operators::Judgement;

use crate::cli::error::CliError;

const HEADER: &str = "timestamp,value,severity,onset_severity,score,channel";

/// Writes what a model says of a series: a row for each of its rows, with the time as it was written there.
pub(super) fn write_scores(
    path: &Path,
    series: &Series,
    rows: &[Judgement],
) -> Result<(), CliError> {
    let mut out = BufWriter::new(create(path)?);
    let written = write_rows(&mut out, series, rows).and_then(|()| out.flush());
    written.map_err(|source| failed("write", path, source))
}

fn write_rows(out: &mut dyn Write, series: &Series, rows: &[Judgement]) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for (index, (row, value)) in rows.iter().zip(series.values()).enumerate() {
        write!(out, "{},", series.time_text(index))?;
        if !value.is_nan() {
            write!(out, "{value:?}")?;
        }
        let (severity, onset) = (row.severity.to_f32(), row.onset_severity().to_f32());
        let (score, channel) = (row.severity.score(), row.channel().name());
        writeln!(out, ",{severity},{onset},{score},{channel}")?;
    }
    Ok(())
}

/// Writes a picture.
pub(crate) fn write_svg(path: &Path, picture: &Picture<'_>) -> Result<(), CliError> {
    let written = create(path)?.write_all(picture.svg().as_bytes());
    written.map_err(|source| failed("write", path, source))
}

/// Makes a file, and the folders that it is in.
fn create(path: &Path) -> Result<File, CliError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|source| failed("create the folder", dir, source))?;
    }
    File::create(path).map_err(|source| failed("create", path, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> CliError {
    CliError::File { action, path: path.to_owned(), source: source.into() }
}
