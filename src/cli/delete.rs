//! `tidewatch delete`: removes the samples of a metric from a running server.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::{Client, Post, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

/// Counting and hiding the rows take less.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

const EXAMPLES: &str = "\
Examples:
  # How many samples would go
  tidewatch delete --dry-run --before 2026-01-01T00:00:00Z cpu_usage

  # A wrong hour
  tidewatch delete --from 2026-03-01T08:00:00Z --before 2026-03-01T09:00:00Z cpu_usage

Samples that are written afterwards are not concerned. Queries no longer see the deleted ones once the
command ends; their room on the disk is free when their segments have been compacted.";

/// `tidewatch delete`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Delete the samples of a metric", after_help = EXAMPLES)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The metric's database
    #[arg(long, default_value = "default")]
    db: String,
    /// Delete samples from this time on, RFC 3339 [default: from the first one]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Delete samples before this time, RFC 3339
    #[arg(long, value_name = "TIME")]
    before: String,
    /// Only count the samples
    #[arg(long)]
    dry_run: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
    /// The metric
    #[arg(value_name = "METRIC")]
    metric: String,
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached, or refuses.
pub(crate) fn run(args: &DeleteArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let client = Client::new(&args.server, Arc::new(Stop::default()))?;
    let body = json!({
        "metric": args.metric, "db": args.db, "from": args.from, "before": args.before,
        "dry_run": args.dry_run,
    });
    let response = client.post(&Post {
        path: "/api/v1/admin/delete",
        content_type: "application/json",
        headers: &[],
        body: body.to_string().as_bytes(),
        timeout: ANSWER_TIMEOUT,
    })?;
    if !response.status().is_success() {
        return Err(client.refused(response));
    }
    let text = response.into_body().read_to_string().map_err(|error| client.not_reached(error))?;
    let text = if args.json { format!("{text}\n") } else { told(&text, args.dry_run) };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn told(answer: &str, dry_run: bool) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let (count, metric) = (&answer["deletedCount"], &answer["metricName"]);
    if dry_run {
        format!("{count} samples of {metric} would be deleted\n")
    } else {
        format!("{count} samples of {metric} deleted (record {})\n", answer["lsn"])
    }
}
