//! The command.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use tidewatch_connectors::decode::{CsvOptions, Precision};
use tidewatch_eval::{Model, Picture, read_csv, score_series};
use tidewatch_operators::SeriesDetector;

use crate::assemble::DEFAULT_MODEL;
use crate::cli::error::CliError;
use crate::cli::eval::{model_parser, parse_level, write_svg};
use crate::cli::score::output::{write_csv, write_json, write_pretty};

const EXAMPLES: &str = "\
Examples:
  tidewatch score cpu.csv
  tidewatch score cpu.csv --plot cpu.svg --format csv > scored.csv
  tidewatch score export.csv --time-column at --value-column load --format json

One row per row of the file. Times are RFC 3339, YYYY-MM-DD HH:MM:SS (UTC), or numbers of seconds, milli-, micro- or
nanoseconds, told by their size. Rows that are not later than one before them, and rows without a value, get severity 0.
score = severity / (severity + 4).
Exit code 2: there is no such file; 4: a row cannot be understood.";

/// How rows are put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A header and a line per row
    Csv,
    /// An array of objects
    Json,
    /// A table for people
    Pretty,
}

/// `tidewatch score`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Score the rows of a CSV file as the server would, and draw them", after_help = EXAMPLES)]
pub(crate) struct ScoreArgs {
    /// A CSV file with a header, packed by gzip or not
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// The detector
    #[arg(long, value_name = "NAME", default_value = DEFAULT_MODEL.name(), value_parser = model_parser())]
    model: Model,
    /// The header of the column of times
    #[arg(long, value_name = "NAME", default_value = "timestamp")]
    time_column: String,
    /// The header of the column of values
    #[arg(long, value_name = "NAME", default_value = "value")]
    value_column: String,
    /// Where to draw the series
    #[arg(long, value_name = "F.svg")]
    plot: Option<PathBuf>,
    /// The level of severity from which on the picture marks rows
    #[arg(long, value_name = "X", default_value_t = 4.0, value_parser = parse_level)]
    level: f32,
    /// How rows are put out [default: pretty on a terminal, csv elsewhere]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Scores the file, draws it if that is wanted, and puts out its rows.
///
/// # Errors
/// If the file cannot be read, a row of it not be understood, or the picture not be written.
pub(crate) fn run(args: &ScoreArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let options = CsvOptions {
        time_column: args.time_column.clone(),
        value_column: args.value_column.clone(),
        precision: Precision::Auto,
    };
    let series = read_csv(&args.file, &options).map_err(CliError::input)?;
    let mut rows = Vec::new();
    score_series(&mut SeriesDetector::new(args.model), &series, &mut rows);
    if let Some(path) = &args.plot {
        let name = args.file.file_name().unwrap_or_default().to_string_lossy();
        let title = format!("{name} · {}", args.model.name());
        let (series, rows, windows) = (&series, &rows[..], &[][..]);
        let picture = Picture { title: &title, series, rows, windows, level: args.level.into() };
        write_svg(path, &picture)?;
    }
    let format = args.format.unwrap_or_else(|| match io::stdout().is_terminal() {
        true => Format::Pretty,
        false => Format::Csv,
    });
    let written = match format {
        Format::Csv => write_csv(out, &series, &rows),
        Format::Json => write_json(out, &series, &rows),
        Format::Pretty => write_pretty(out, &series, &rows),
    };
    written.map_err(CliError::output)
}
