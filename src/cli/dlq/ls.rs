//! The list.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::client::ServerArgs;
use crate::cli::dlq::chosen::{Chosen, clause, name_of};
use crate::cli::error::CliError;
use crate::cli::rows::Asker;
use crate::cli::wal::table;

/// What the list has.
const COLUMNS: [&str; 7] =
    ["letter", "state", "source", "topic:partition", "received", "bytes", "reason"];
/// What the list by reason has.
const COLUMNS_BY_REASON: [&str; 5] = ["letters", "state", "source", "last", "reason"];

/// By what letters are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The reason, with source and state.
    Reason,
}

/// `tidewatch dlq ls`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    chosen: Chosen,
    /// Also those that were replayed or dropped
    #[arg(long)]
    all: bool,
    /// Count them instead of listing them
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Letters that are shown
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
    let rows = Asker::new(&args.server)?.rows(statement(args))?;
    let text = match (args.json, args.by) {
        (true, None) => format!("{}\n", json!({ "letters": rows })),
        (true, Some(By::Reason)) => format!("{}\n", json!({ "reasons": rows })),
        (false, _) if rows.is_empty() => "no letters\n".to_owned(),
        (false, None) => table(&COLUMNS, &rows.iter().map(line).collect::<Vec<_>>()),
        (false, Some(By::Reason)) => table(&COLUMNS_BY_REASON, &rows),
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn statement(args: &LsArgs) -> String {
    let mut conditions = args.chosen.conditions();
    if !args.all {
        conditions.push("state = 'open'".to_owned());
    }
    let (clause, limit) = (clause(&conditions), args.limit);
    match args.by {
        None => format!(
            "SELECT lsn, \"offset\", state, source, topic, partition, time, received, bytes, reason \
             FROM tidewatch.dlq {clause} ORDER BY lsn DESC, \"offset\" DESC LIMIT {limit}"
        ),
        Some(By::Reason) => format!(
            "SELECT count(*) AS letters, state, source, max(received) AS last, reason \
             FROM tidewatch.dlq {clause} GROUP BY state, source, reason \
             ORDER BY letters DESC, source, reason, state LIMIT {limit}"
        ),
    }
}

fn line(row: &Value) -> Value {
    let topic = row["topic"].as_str().unwrap_or_default();
    json!({
        "letter": name_of(row).map(|name| name.to_string()),
        "state": row["state"], "source": row["source"],
        "topic:partition": format!("{topic}:{}", row["partition"]),
        "received": row["received"], "bytes": row["bytes"], "reason": row["reason"],
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
    fn open_letters_are_listed_or_counted_and_the_filters_are_conditions() {
        let row = r#"[{"lsn":4711,"offset":120,"state":"open","source":"main","topic":"m","partition":3,
            "time":null,"received":"2026-01-01T00:00:00Z","bytes":7,"reason":"not valid JSON"}]"#;
        let counted = r#"[{"letters":9,"state":"open","source":"main","last":"x","reason":"y"}]"#;
        let answers = [row, counted, "[]"].map(|body| Answer::new(200, body));
        let server = FakeServer::start(answers.into());
        let url = server.url();
        let words = ["ls", "--url", url, "--source", "it's", "--topic", "m", "--since", "1h"];
        let list = Command::try_parse_from(words).unwrap().args;
        let by = ["ls", "--url", url, "--by", "reason", "--all"];
        let by = Command::try_parse_from(by).unwrap().args;
        let mut out = Vec::new();
        for args in [&list, &by, &list] {
            run(args, &mut out).unwrap();
        }
        let out = String::from_utf8(out).unwrap();
        for part in ["4711:120", "m:3", "not valid JSON", " 9 ", "\nno letters\n"] {
            assert!(out.contains(part), "{part}: {out}");
        }
        let asked = |number: usize| -> String {
            let body: Value = serde_json::from_slice(&server.requests()[number].body).unwrap();
            body["q"].as_str().unwrap().to_owned()
        };
        let conditions = "WHERE source = 'it''s' AND topic = 'm' \
                          AND received > now() - INTERVAL '3600 seconds' AND state = 'open' ORDER";
        assert!(asked(0).contains(conditions), "{}", asked(0));
        assert!(!asked(1).contains("WHERE"), "{}", asked(1));
    }
}
