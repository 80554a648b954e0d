//! `tidewatch alerts`: which there are, and why one fired.

mod ls;
mod show;

use std::io::Write;

use serde_json::Value;

use crate::cli::error::CliError;

const EXAMPLES: &str = "\
Examples:
  # What is going on
  tidewatch alerts ls --open

  # The alerts of a rule within the last day
  tidewatch alerts ls --rule 'checkout slow' --since 24h

  # Why one fired, who was told, and the series around its onset; the begin of the key is enough
  tidewatch alerts show 3f8a91c2

All of it is in the tables tidewatch.alerts and tidewatch.deliveries, for `tidewatch query`.
Exit code 3: the server was not reached; 4: there is no such alert.";

/// `tidewatch alerts`
#[derive(Debug, clap::Subcommand)]
#[command(about = "See alerts: which there are, and why one fired", after_help = EXAMPLES)]
pub(crate) enum AlertsCommand {
    /// List alerts, the latest ones first
    #[command(after_help = EXAMPLES)]
    Ls(ls::LsArgs),
    /// Show one: its transitions, its deliveries, and the series around its onset
    #[command(after_help = EXAMPLES)]
    Show(show::ShowArgs),
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached, or there is no such alert.
pub(crate) fn run(command: &AlertsCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        AlertsCommand::Ls(args) => ls::run(args, out),
        AlertsCommand::Show(args) => show::run(args, out),
    }
}

/// A cell as text; nothing for NULL. Names come from whoever writes: they must not steer the terminal.
pub(crate) fn text(row: &Value, column: &str) -> String {
    let text = match &row[column] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The metric with its labels, as `cpu{host=web-1}`.
pub(crate) fn series(row: &Value) -> String {
    let labels: Value = serde_json::from_str(&text(row, "labels")).unwrap_or_default();
    let labels = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()));
    let labels: String = labels.collect::<Vec<_>>().join(",");
    format!("{}{{{labels}}}", text(row, "metric"))
}

/// A number with three digits behind the point at most.
fn number(row: &Value, column: &str) -> String {
    match row[column].as_f64() {
        Some(number) => {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        None => String::new(),
    }
}
