//! `tidewatch series`: what there are many of.

use std::io::Write;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::cli::client::{Post, ServerArgs, query_value};
use crate::cli::error::CliError;
use crate::cli::rows::{Asker, literal};
use crate::cli::service::internal;
use crate::cli::wal::table;

/// The catalog is in memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  # Which metrics have the most series
  tidewatch series top

  # Which labels have the most values, and which clients registered the most series
  tidewatch series top --by label --limit 5
  tidewatch series top --by client

A label with a value per request, user or container makes a series per value: look at --by label first.
--by label and --by client ask what only a key of the scope admin may know, where keys are in use.
Clients are counted since the start of the server.";

/// `tidewatch series`
#[derive(Debug, clap::Subcommand)]
#[command(about = "See which metrics, labels and clients make many series", after_help = EXAMPLES)]
pub(crate) enum SeriesCommand {
    /// What has the most series, or values
    #[command(after_help = EXAMPLES)]
    Top(TopArgs),
}

/// `tidewatch series top`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// What is counted: series of each metric, values of each label, series of each client
    #[arg(long, value_enum, default_value_t = By::Metric)]
    by: By,
    /// Only of this database [default: all]
    #[arg(long)]
    db: Option<String>,
    /// Rows that are shown
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Metric,
    Label,
    Client,
}

impl By {
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Metric => &["db", "metric", "series"],
            Self::Label => &["db", "metric", "label", "values"],
            Self::Client => &["client", "series"],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Label => "label",
            Self::Client => "client",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached, or refuses.
pub(crate) fn run(command: &SeriesCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let SeriesCommand::Top(args) = command;
    if args.by == By::Client && args.db.is_some() {
        let problem = "--db and --by client: clients are counted over all databases".to_owned();
        return Err(CliError::Usage { problem });
    }
    let asker = Asker::new(&args.server)?;
    let rows = match args.by {
        By::Metric => asker.rows(metrics(args))?,
        By::Label | By::Client => counted(&asker, args)?,
    };
    let text = match args.json {
        true => format!("{}\n", json!({ "by": args.by.name(), "rows": rows })),
        false => table(args.by.columns(), &rows),
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn metrics(args: &TopArgs) -> String {
    let chosen = args.db.as_ref().map(|db| format!("WHERE db = {}", literal(db)));
    format!(
        "SELECT db, metric, count(*) AS series FROM tidewatch.series {} \
         GROUP BY db, metric ORDER BY series DESC, db, metric LIMIT {}",
        chosen.unwrap_or_default(),
        args.limit
    )
}

fn counted(asker: &Asker, args: &TopArgs) -> Result<Vec<Value>, CliError> {
    let mut path = format!("/api/v1/admin/series/top?by={}&limit={}", args.by.name(), args.limit);
    if let Some(db) = &args.db {
        path.push_str(&format!("&db={}", query_value(db)));
    }
    let response = asker.client.request(
        &Method::GET,
        &Post {
            path: &path,
            content_type: "application/json",
            headers: &[],
            body: &[],
            timeout: ANSWER_TIMEOUT,
        },
    )?;
    if !response.status().is_success() {
        return Err(asker.client.refused(response));
    }
    let text = response.into_body().read_to_string();
    let text = text.map_err(|error| asker.client.not_reached(error))?;
    let answer: Value = serde_json::from_str(&text)
        .map_err(|error| internal("reading the server's answer", error))?;
    Ok(answer["rows"].as_array().cloned().unwrap_or_default())
}
