//! The command and its figures.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use tidewatch_eval::limits::SPLITS_MAX;
use tidewatch_eval::{CorpusKind, Question};

use crate::cli::error::CliError;
use crate::cli::eval::corpus_run::{Run, judge};
use crate::cli::eval::models::{ModelName, model_name_parser};
use crate::cli::eval::table::table;

const EXAMPLES: &str = "\
Examples:
  tidewatch eval nab NAB --model all
  tidewatch eval kpi KPI --splits 100 --json
  tidewatch eval nab NAB --level 4 --scores-out scores --plot pictures

A NAB folder holds data/<category>/<file>.csv and labels/combined_windows.json, a KPI folder *.csv or *.csv.gz with
the rows `unix_seconds,value,label`. NAB is judged on onset_severity, KPIs on severity: one level over all series, the
best one unless --level is given. docs/detection.md says what the figures mean.
Exit code 2: there is no such corpus; 4: a row or a label cannot be understood.";

/// `tidewatch eval`
#[derive(Clone, Debug, clap::Subcommand)]
#[command(about = "Judge detectors on labelled series", after_help = EXAMPLES)]
pub(crate) enum EvalCommand {
    /// The Numenta Anomaly Benchmark: its score with three profiles
    #[command(after_help = EXAMPLES)]
    Nab(EvalArgs),
    /// KPIs of the AIOps challenge: F1 of events and of what is found in time, area below precision over recall
    #[command(after_help = EXAMPLES)]
    Kpi(EvalArgs),
}

/// `tidewatch eval nab` and `tidewatch eval kpi`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EvalArgs {
    /// The folder of the corpus
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The detector to judge, or `all`; may be repeated [default: light]
    #[arg(long, value_name = "NAME", value_parser = model_name_parser())]
    model: Vec<ModelName>,
    /// The level of severity to judge at [default: the best one]
    #[arg(long, value_name = "X", value_parser = parse_level)]
    level: Option<f32>,
    /// Also tell what the best level of a random half of the files gives on the other half, so many times
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "level",
        value_parser = clap::value_parser!(u32).range(..=i64::from(SPLITS_MAX)))]
    splits: u32,
    /// Where to write severities and scores, a CSV file per series; below a folder per model where there are several
    #[arg(long, value_name = "DIR")]
    scores_out: Option<PathBuf>,
    /// Where to draw the series, an SVG file each; below a folder per model where there are several
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Judges, and puts out a row per model.
///
/// # Errors
/// If the corpus cannot be read, or a file not be written.
pub(crate) fn run(command: &EvalCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let (kind, args) = match command {
        EvalCommand::Nab(args) => (CorpusKind::Nab, args),
        EvalCommand::Kpi(args) => (CorpusKind::Kpi, args),
    };
    let reports = judge(&Run {
        kind,
        dir: &args.dir,
        models: ModelName::models(&args.model),
        question: Question {
            level: args.level,
            splits: usize::try_from(args.splits).expect("a few thousand splits"),
        },
        scores_out: args.scores_out.as_deref(),
        plot: args.plot.as_deref(),
    })?;
    let text = if args.json {
        format!("{}\n", json!({ "models": reports }))
    } else {
        table(kind, &reports)
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

/// Reads a level of severity.
pub(crate) fn parse_level(text: &str) -> Result<f32, String> {
    let level = text.parse().ok().filter(|level| (0.0..=1_023.0).contains(level));
    level.ok_or_else(|| "a level is a number between 0 and 1023, such as 4".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use tidewatch_eval::Model;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: EvalArgs,
    }

    #[test]
    fn a_level_that_is_given_leaves_nothing_to_choose_on_halves() {
        let parsed = |words: &[&str]| Command::try_parse_from([&["eval", "DIR"], words].concat());
        let args = parsed(&["--splits", "100", "--model", "all"]).unwrap().args;
        assert_eq!((args.splits, args.level, args.model), (100, None, vec![ModelName::All]));
        assert_eq!(parsed(&["--level", "4.5"]).unwrap().args.level, Some(4.5));
        for wrong in [
            &["--level", "4", "--splits", "100"][..],
            &["--level", "NaN"],
            &["--level", "-1"],
            &["--splits", "100000"],
            &["--model", "heavy"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_model_is_listed_in_help_and_understood_by_its_name() {
        let help = Command::command().render_help().to_string();
        let names = Model::ALL.map(Model::name).join(", ");
        assert!(help.contains(&format!("[possible values: {names}, all]")), "{help}");
        for model in Model::ALL {
            let args = Command::try_parse_from(["eval", "DIR", "--model", model.name()]);
            assert_eq!(args.unwrap().args.model, [ModelName::One(model)]);
        }
    }
}
