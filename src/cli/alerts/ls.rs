//! The list.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::alerts::{number, series, text};
use crate::cli::client::ServerArgs;
use crate::cli::error::CliError;
use crate::cli::rows::{Asker, literal};
use crate::cli::since::{is_since, parse_since};
use crate::cli::wal::table;

/// What the list has.
const COLUMNS: [&str; 8] =
    ["key", "state", "rule", "priority", "series", "onset", "last event", "severity"];
/// Signs of a key that tell alerts apart.
const KEY_SHOWN: usize = 12;

/// `tidewatch alerts ls`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only those that are pending or firing
    #[arg(long)]
    open: bool,
    /// Only those of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only those whose last event is at most so old, such as 90m or 24h [default: all]
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Duration>,
    /// Alerts that are shown
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached.
pub(crate) fn run(args: &LsArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let alerts = Asker::new(&args.server)?.rows(statement(args))?;
    let mut text = match args.json {
        true => format!("{}\n", json!({ "alerts": alerts })),
        false if alerts.is_empty() => "no alerts\n".to_owned(),
        false => table(&COLUMNS, &alerts.iter().map(line).collect::<Vec<_>>()),
    };
    if !args.json && u32::try_from(alerts.len()).is_ok_and(|count| count == args.limit) {
        text += &format!("the latest {}; --limit shows more\n", args.limit);
    }
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn statement(args: &LsArgs) -> String {
    let mut chosen = Vec::new();
    if args.open {
        chosen.push("state <> 'resolved'".to_owned());
    }
    if let Some(rule) = &args.rule {
        chosen.push(format!("rule = {}", literal(rule)));
    }
    chosen.extend(args.since.map(|since| is_since("last_event", since)));
    let chosen = match chosen.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", chosen.join(" AND ")),
    };
    // A transition follows the one before it, also within the same moment of event time. An amendment changes nothing.
    format!(
        "SELECT * FROM (
             SELECT key, rule, priority, series_id, metric, labels,
                 CASE max(CASE transition WHEN 'pending' THEN 1 WHEN 'firing' THEN 2
                     WHEN 'resolved' THEN 3 ELSE 0 END)
                     WHEN 1 THEN 'pending' WHEN 2 THEN 'firing' ELSE 'resolved' END AS state,
                 min(onset) AS onset, max(event) AS last_event, max(severity) AS severity,
                 bool_or(historical) AS historical
             FROM tidewatch.alerts
             GROUP BY key, rule, priority, series_id, metric, labels
         ) {chosen} ORDER BY last_event DESC, key LIMIT {}",
        args.limit
    )
}

fn line(alert: &Value) -> Value {
    json!({
        "key": text(alert, "key").chars().take(KEY_SHOWN).collect::<String>(),
        "state": text(alert, "state"),
        "rule": text(alert, "rule"),
        "priority": text(alert, "priority"),
        "series": series(alert),
        "onset": text(alert, "onset"),
        "last event": text(alert, "last_event"),
        "severity": number(alert, "severity"),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::fake_server::{Answer, FakeServer};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: LsArgs,
    }

    #[test]
    fn who_sees_as_many_as_asked_for_is_told_that_there_may_be_more() {
        let row = r#"[{"key":"00","rule":"slow","metric":"latency","labels":"{}"}]"#;
        let server = FakeServer::start(vec![Answer::new(200, row), Answer::new(200, row)]);
        let told = |limit: &str| {
            let words = ["ls", "--url", server.url(), "--limit", limit];
            let mut out = Vec::new();
            run(&Command::try_parse_from(words).unwrap().args, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(told("1").ends_with("\nthe latest 1; --limit shows more\n"));
        assert!(!told("2").contains("--limit"));
    }

    #[test]
    fn alerts_are_listed_with_what_they_are_about() {
        let row = r#"[{"key":"0123456789abcdef0123456789abcdef","rule":"slow","priority":"page",
            "series_id":"00","metric":"latency","labels":"{\"host\":\"a\"}","state":"firing",
            "onset":"2024-01-01T00:00:00Z","last_event":"2024-01-01T00:01:00Z","severity":7.25,
            "historical":false}]"#;
        let server = FakeServer::start(vec![Answer::new(200, row), Answer::new(200, "[]")]);
        let words = ["ls", "--url", server.url(), "--open", "--rule", "it's", "--since", "1h"];
        let args = Command::try_parse_from(words).unwrap().args;
        let mut out = Vec::new();
        run(&args, &mut out).unwrap();
        run(&args, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        for part in ["0123456789ab ", "firing", "latency{host=a}", "7.25", "\nno alerts\n"] {
            assert!(out.contains(part), "{part}: {out}");
        }
        let body: Value = serde_json::from_slice(&server.requests()[0].body).unwrap();
        let chosen = "WHERE state <> 'resolved' AND rule = 'it''s' \
                      AND last_event > now() - INTERVAL '3600 seconds' ORDER";
        assert!(body["q"].as_str().unwrap().contains(chosen), "{body}");
    }
}
