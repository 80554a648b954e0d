//! One alert, with the series around its onset.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::cli::alerts::{number, series, text};
use crate::cli::client::ServerArgs;
use crate::cli::error::CliError;
use crate::cli::rows::{Asker, literal};
use crate::cli::sql::{Curve, draw};
use crate::cli::terminal;
use crate::cli::wal::table;

/// Rows of the series that are drawn.
const SAMPLES_MAX: usize = 20_000;
/// Before the onset at least so much is shown.
const BEFORE_MIN: Duration = Duration::minutes(15);
/// Transitions and attempts that are shown.
const ROWS_MAX: usize = 200;
/// Columns where there is no terminal.
const WIDTH: usize = 100;

/// `tidewatch alerts show`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The alert's key, or the begin of it
    #[arg(value_name = "KEY", value_parser = parse_key)]
    alert: String,
    /// One JSON document: the transitions and the deliveries
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached, or there is not exactly one such alert.
pub(crate) fn run(args: &ShowArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let asker = Asker::new(&args.server)?;
    let transitions = transitions(&asker, args)?;
    let last = transitions.last().cloned().unwrap_or_default();
    let key = text(&last, "key");
    let deliveries = asker.rows(format!(
        "SELECT * FROM tidewatch.deliveries WHERE key = {} \
         ORDER BY started, sink, transition, attempt LIMIT {ROWS_MAX}",
        literal(&key)
    ))?;
    if args.json {
        let document = json!({ "key": key, "transitions": transitions, "deliveries": deliveries });
        return writeln!(out, "{document}").map_err(CliError::output);
    }
    let curve = samples(&asker, &transitions)?;
    let told = told(&transitions, &deliveries, curve.as_ref());
    out.write_all(told.as_bytes()).map_err(CliError::output)
}

fn transitions(asker: &Asker, args: &ShowArgs) -> Result<Vec<Value>, CliError> {
    let transitions = asker.rows(format!(
        "SELECT * FROM tidewatch.alerts WHERE starts_with(key, {}) ORDER BY key, event, \
         CASE transition WHEN 'pending' THEN 1 WHEN 'firing' THEN 2 WHEN 'resolved' THEN 3 ELSE 4 END, \
         fired LIMIT {ROWS_MAX}",
        literal(&args.alert)
    ))?;
    let mut keys: Vec<&Value> = transitions.iter().map(|row| &row["key"]).collect();
    keys.dedup();
    let message = match keys.len() {
        1 => return Ok(transitions),
        0 => "there is no such alert; `tidewatch alerts ls` lists them".to_owned(),
        several => format!("{several} keys or more begin so: give more of it"),
    };
    let url = args.server.url.clone();
    Err(CliError::Refused { url, status: 404, message: format!("key {}: {message}", args.alert) })
}

/// The values of the series from before the onset to after the last event.
fn samples(asker: &Asker, transitions: &[Value]) -> Result<Option<Curve>, CliError> {
    let times = |column: &'static str| transitions.iter().filter_map(move |row| time(row, column));
    let (Some(onset), Some(last)) = (times("onset").min(), times("event").max()) else {
        return Ok(None);
    };
    let lasted = (last - onset).max(Duration::zero());
    let (from, to) = (onset - lasted.max(BEFORE_MIN), last + (lasted / 2).max(BEFORE_MIN / 3));
    let Some(row) = transitions.last() else { return Ok(None) };
    let stamp = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let rows = asker.rows(format!(
        "SELECT time, value FROM tidewatch.samples WHERE series_id = {} AND time >= '{}' \
         AND time <= '{}' AND value IS NOT NULL ORDER BY time LIMIT {SAMPLES_MAX}",
        literal(&text(row, "series_id")),
        stamp(from),
        stamp(to)
    ))?;
    let points = rows.iter().filter_map(|row| {
        Some((time(row, "time")?.timestamp_nanos_opt()?, row["value"].as_f64()?))
    });
    let points: Vec<_> = points.collect();
    Ok((!points.is_empty()).then(|| Curve { name: series(row), points }))
}

fn told(transitions: &[Value], deliveries: &[Value], curve: Option<&Curve>) -> String {
    // An amendment is about a window; the alert stays as it is.
    let mut latest = transitions.iter().rev();
    let last = latest.clone().find(|row| row["transition"] != "amended").or_else(|| latest.next());
    let Some(last) = last else { return String::new() };
    let priority = match text(last, "priority") {
        none if none.is_empty() => none,
        priority => format!(" ({priority})"),
    };
    let mut told = format!(
        "{}: {}{priority}\n{}\n{}\n\n",
        text(last, "transition"),
        text(last, "rule"),
        series(last),
        sentence(transitions),
    );
    if let Some(curve) = curve {
        let is_terminal = std::io::stdout().is_terminal();
        let width = if is_terminal { terminal::size().0 } else { WIDTH };
        told.push_str(&draw(std::slice::from_ref(curve), width));
        told.push('\n');
    }
    let of = |columns: &[&str], rows: &[Value]| {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| columns.iter().map(|c| ((*c).to_owned(), json!(text(row, c)))).collect())
            .collect();
        table(columns, &rows)
    };
    told.push_str(&of(&["event", "transition", "reason", "fired"], transitions));
    told.push('\n');
    match deliveries.is_empty() {
        true => told.push_str("nobody was told\n"),
        false => told.push_str(&of(
            &["started", "transition", "sink", "attempt", "outcome", "status", "error"],
            deliveries,
        )),
    }
    told
}

/// What the anomaly looks like, and value, expectation, severity and channel of the firing, or of the first transition.
///
/// The last transition knows best what it was.
fn sentence(transitions: &[Value]) -> String {
    let firing = transitions.iter().find(|row| row["transition"] == "firing");
    let Some(row) = firing.or(transitions.first()) else { return String::new() };
    let kinds = transitions.iter().rev().map(|row| text(row, "kind"));
    let kind = kinds.filter(|kind| !kind.is_empty()).map(|kind| kind.replace('_', " ")).next();
    let kind = kind.map(|kind| format!("{kind}: ")).unwrap_or_default();
    let mut parts = vec![format!("{kind}value {}", number(row, "value"))];
    if row["expected"].is_number() {
        parts.push(format!("expected {}", number(row, "expected")));
    }
    let (lower, upper) = (number(row, "lower"), number(row, "upper"));
    match (lower.is_empty(), upper.is_empty()) {
        (false, false) => parts.push(format!("band {lower} to {upper}")),
        (false, true) => parts.push(format!("at least {lower}")),
        (true, false) => parts.push(format!("at most {upper}")),
        (true, true) => {}
    }
    parts.push(format!("severity {}", number(row, "severity")));
    match text(row, "channel").as_str() {
        "" | "none" => {}
        channel => parts.push(format!("channel {channel}")),
    }
    format!("{}; onset {}", parts.join(", "), text(row, "onset"))
}

fn time(row: &Value, column: &str) -> Option<DateTime<Utc>> {
    let text = row[column].as_str()?;
    Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

fn parse_key(text: &str) -> Result<String, String> {
    let is_key = (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    match is_key {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("a key is hexadecimal, and at least 4 of its digits are needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(kind: &str, event: &str, expected: &Value) -> Value {
        json!({
            "key": "00aa", "rule": "slow", "priority": "page", "series_id": "01", "metric": "m",
            "labels": "{\"host\":\"a\"}", "transition": kind, "reason": "why", "event": event,
            "onset": "2024-01-01T00:00:00Z", "severity": 7.5, "value": 54.0, "expected": expected,
            "lower": 32.6, "upper": null, "channel": "level", "kind": kind_of(kind), "fired": "2024-01-01T00:02:00Z",
        })
    }

    /// A resolution knows more than what came before.
    fn kind_of(transition: &str) -> Value {
        match transition {
            "pending" => Value::Null,
            "firing" => json!("spike"),
            _ => json!("level_shift"),
        }
    }

    #[test]
    fn an_alert_is_told_with_its_reason_and_who_was_told() {
        let transitions = [
            transition("pending", "2024-01-01T00:00:10Z", &Value::Null),
            transition("firing", "2024-01-01T00:01:00Z", &json!(34.0)),
            transition("resolved", "2024-01-01T00:09:00Z", &json!(34.0)),
        ];
        let curve = Curve { name: "m{host=a}".to_owned(), points: vec![(0, 1.0), (9, 2.0)] };
        let told = told(&transitions, &[], Some(&curve));
        let begin = "resolved: slow (page)\nm{host=a}\n\
            level shift: value 54, expected 34, at least 32.6, severity 7.5, channel level; onset 2024-01-01T00:00:00Z\n";
        assert!(told.starts_with(begin), "{told}");
        for part in ["└──", "2024-01-01T00:00:10Z", "pending", "nobody was told"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn a_key_is_hexadecimal() {
        assert_eq!(parse_key("00AAff12"), Ok("00aaff12".to_owned()));
        for text in ["", "abc", "xyz1", "00' OR 1=1"] {
            assert!(parse_key(text).is_err(), "{text}");
        }
    }
}
