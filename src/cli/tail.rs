//! `tidewatch tail`: samples as they become durable.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Method;

use crate::cli::client::{Client, Post, ServerArgs, query_value};
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

/// No tail lasts longer.
const TAIL_MAX: Duration = Duration::from_hours(7 * 24);
/// What connecting may take beside the time that is followed.
const MARGIN: Duration = Duration::from_secs(30);
/// Bytes of a line: a row with all of its labels.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// From this severity on a row stands out.
const STANDS_OUT: f64 = 6.0;

const EXAMPLES: &str = "\
Examples:
  # All samples, or those of a metric and of some hosts
  tidewatch tail
  tidewatch tail --metric cpu_user --where 'host=~web-.*' --where region!=eu

  # What is unusual, of all metrics that begin with http
  tidewatch tail --metric '~ http.*' --severity-min 6

  # The next hundred as JSON
  tidewatch tail --limit 100 --json | jq .value

Rows are shown once they are on the disk and scored, those of an earlier time too. Beyond 1,000 rows a second,
or what --rows-per-second says, rows are skipped, and it is told how many. A server lets 16 clients follow.
Exit code 3: the server was not reached, or has ended.";

/// `tidewatch tail`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Show samples as they arrive", after_help = EXAMPLES)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The metric: a name, or '~ expression', '!= name', '!~ expression'
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// A condition on a label: label=x, label!=x, label=~expression or label!~expression; can be
    /// given several times
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// Only rows that are at least so unusual
    #[arg(long, value_name = "SEVERITY")]
    severity_min: Option<f32>,
    /// Only of this database [default: all]
    #[arg(long)]
    db: Option<String>,
    /// Rows that are shown a second; others are skipped, and counted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rows_per_second: Option<u32>,
    /// End after so many rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    seconds: Option<u64>,
    /// A JSON document per row
    #[arg(long)]
    json: bool,
}

/// Runs the command to its limit, or until the server or the user ends it.
///
/// # Errors
/// If the server is not reached, refuses, or ends.
pub(crate) fn run(args: &TailArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let client = Client::new(&args.server, Arc::new(Stop::default()))?;
    let seconds = args.seconds.map(Duration::from_secs);
    let response = client.request(
        &Method::GET,
        &Post {
            path: &path(args),
            content_type: "application/x-ndjson",
            headers: &[],
            body: &[],
            timeout: seconds.unwrap_or(TAIL_MAX) + MARGIN,
        },
    )?;
    if !response.status().is_success() {
        return Err(client.refused(response));
    }
    let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut lines = BufReader::new(response.into_body().into_reader());
    let (mut line, mut rows) = (String::new(), 0);
    while args.limit.is_none_or(|limit| rows < limit) {
        line.clear();
        let read = (&mut lines).take(LINE_BYTES_MAX).read_line(&mut line);
        if read.map_err(|error| client.not_reached(error))? == 0 {
            return match args.seconds {
                Some(_) => Ok(()),
                None => Err(client.not_reached("it has ended the connection")),
            };
        }
        let row: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(row) = row.as_object() else { continue };
        if args.json {
            out.write_all(line.as_bytes()).map_err(CliError::output)?;
        } else {
            out.write_all(told(row, is_coloured).as_bytes()).map_err(CliError::output)?;
        }
        // Somebody looks on; and a full line helps whoever reads through a pipe.
        out.flush().map_err(CliError::output)?;
        rows += u64::from(row.contains_key("time"));
    }
    Ok(())
}

fn path(args: &TailArgs) -> String {
    let mut parameters: Vec<String> = Vec::new();
    let mut add = |name: &str, text: &str| parameters.push(format!("{name}={}", query_value(text)));
    for (name, text) in [("db", &args.db), ("metric", &args.metric)] {
        if let Some(text) = text {
            add(name, text);
        }
    }
    for condition in &args.conditions {
        add("where", condition);
    }
    for (name, number) in [
        ("severity_min", args.severity_min.map(|least| least.to_string())),
        ("rows_per_second", args.rows_per_second.map(|rate| rate.to_string())),
        ("seconds", args.seconds.map(|seconds| seconds.to_string())),
    ] {
        if let Some(number) = number {
            add(name, &number);
        }
    }
    format!("/api/v1/tail?{}", parameters.join("&"))
}

/// A row as a line for people.
fn told(row: &serde_json::Map<String, Value>, is_coloured: bool) -> String {
    if let Some(skipped) = row.get("skipped") {
        let count = skipped.as_u64().map_or_else(|| "some".to_owned(), |count| count.to_string());
        return format!("… {count} rows skipped: {}\n", text(row, "reason"));
    }
    let labels = row.get("labels").and_then(Value::as_object);
    let labels = labels
        .into_iter()
        .flatten()
        .map(|(label, value)| format!("{label}={}", clean(value.as_str().unwrap_or_default())));
    let labels = labels.collect::<Vec<_>>().join(",");
    let db = match text(row, "db") {
        db if db == "default" => String::new(),
        db => format!("{db}."),
    };
    let value = row.get("value").map_or_else(String::new, Value::to_string);
    let severity = row.get("severity").and_then(Value::as_f64).unwrap_or_default();
    let name = format!("{db}{}{{{labels}}}", text(row, "metric"));
    let line = format!("{:<30} {name:<40} {value:>14}", text(row, "time"));
    match (severity > 0.0, severity >= STANDS_OUT && is_coloured) {
        (false, _) => format!("{line}\n"),
        (true, false) => format!("{line}  severity {severity:.1}\n"),
        (true, true) => format!("\x1b[1;31m{line}  severity {severity:.1}\x1b[0m\n"),
    }
}

fn text(row: &serde_json::Map<String, Value>, key: &str) -> String {
    clean(row.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// Names come from whoever writes: they must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::fake_server::{Answer, FakeServer};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: TailArgs,
    }

    fn tail(words: &[&str]) -> (Result<(), CliError>, String) {
        let words = std::iter::once("tail").chain(words.iter().copied());
        let args = Command::try_parse_from(words).expect("good arguments").args;
        let mut out = Vec::new();
        let result = run(&args, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    const ROWS: &str = "\n\
        {\"time\":\"2024-01-01T00:00:00Z\",\"db\":\"default\",\"metric\":\"cpu\",\"labels\":{\"host\":\"a\\u001b\"},\"value\":1.5,\"severity\":0.0}\n\
        {\"skipped\":7,\"reason\":\"why\"}\n\
        {\"time\":\"2024-01-01T00:00:01Z\",\"db\":\"lab\",\"metric\":\"m\",\"labels\":{},\"value\":null,\"severity\":7.25}\n";

    #[test]
    fn rows_are_told_in_lines_and_the_servers_end_is_no_success() {
        let server = FakeServer::start(vec![Answer::new(200, ROWS)]);
        let (result, out) = tail(&["--url", server.url()]);
        let row =
            |time: &str, name: &str, value: &str| format!("{time:<30} {name:<40} {value:>14}");
        let expected = [
            row("2024-01-01T00:00:00Z", "cpu{host=a?}", "1.5"),
            "… 7 rows skipped: why".to_owned(),
            row("2024-01-01T00:00:01Z", "lab.m{}", "null") + "  severity 7.2",
        ];
        assert_eq!(out.lines().collect::<Vec<_>>(), expected);
        assert_eq!(result.unwrap_err().exit_code(), 3);
    }

    #[test]
    fn a_limit_counts_rows_and_conditions_are_sent_as_they_are() {
        let server = FakeServer::start(vec![Answer::new(200, ROWS)]);
        let words = ["--json", "--limit", "1", "--metric", "~ c.*", "--where", "host!~a b"];
        let (result, out) = tail(&[&["--url", server.url()], &words[..]].concat());
        result.expect("the limit is reached");
        assert_eq!(out.lines().count(), 1, "{out}");
        let line = &server.requests()[0].first_line;
        assert_eq!(line, "GET /api/v1/tail?metric=~%20c.%2A&where=host%21~a%20b HTTP/1.1");
    }
}
