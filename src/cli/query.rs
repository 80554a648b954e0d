//! `tidewatch query`: one SQL statement, asked of a running server or of a stopped data directory.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;
use ureq::Body;
use ureq::http::Response;

use crate::cli::client::{Client, Post, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::stop::Stop;
use crate::config::units::parse_duration;

/// Bytes of a statement: what the server takes.
pub(crate) const STATEMENT_BYTES_MAX: u64 = 64 * 1_024;
/// The wait for an answer where no time limit is given: above the server's own limits.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);
/// What connecting and sending may take beside the statement itself.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  # What is there, and the last values of a metric
  tidewatch query 'SELECT metric, labels, rows FROM tidewatch.series LIMIT 20'
  tidewatch query 'SELECT time, value, severity FROM cpu ORDER BY time DESC LIMIT 10'

  # A statement from a file, as CSV
  tidewatch query --format csv - < report.sql > report.csv

  # A Parquet file for other programs
  tidewatch query --format parquet 'SELECT * FROM cpu' > cpu.parquet

  # A data directory that no server works on
  tidewatch query --data-dir ./tidewatch-data 'SELECT count(*) FROM tidewatch.samples'

Exit code 3: the server was not reached; 4: the statement was refused.";

/// Who is asked, and how the answers are written.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AskArgs {
    /// The server that is asked.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Ask a stopped data directory, read-only, instead of a server
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How the rows are written
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    pub(crate) format: Format,
    /// The database whose metrics need no schema before their names
    #[arg(long, default_value = "default")]
    pub(crate) db: String,
    /// The longest time that a statement may take, such as 30s [default: the server's]
    #[arg(long, value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,
}

/// `tidewatch query`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Ask one SQL statement", after_help = EXAMPLES)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// The statement, or - to read it from standard input
    #[arg(value_name = "SQL")]
    sql: String,
}

impl QueryArgs {
    /// Refuses to write a file for other programs to a terminal.
    ///
    /// # Errors
    /// If that is asked for.
    pub(crate) fn check_output(&self, is_terminal: bool) -> Result<(), CliError> {
        match is_terminal {
            true => self.ask.format.check_text("write it to a file with > FILE"),
            false => Ok(()),
        }
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Pretty,
    /// An array of objects
    Json,
    /// An object per line
    Jsonl,
    /// Comma-separated, with a header
    Csv,
    /// A Parquet file
    Parquet,
    /// A stream of Arrow's inter-process format
    Arrow,
}

impl Format {
    /// The name in the HTTP interface.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// Whether it is a file for other programs, and no text for a terminal.
    pub(crate) const fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }

    /// Refuses what is no text; `remedy` is what to do instead.
    ///
    /// # Errors
    /// If it is a file for other programs.
    pub(crate) fn check_text(self, remedy: &str) -> Result<(), CliError> {
        match self.is_binary() {
            true => {
                let problem = format!("the format {} is no text: {remedy}", self.name());
                Err(CliError::Usage { problem })
            }
            false => Ok(()),
        }
    }
}

/// One statement to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The text.
    pub(crate) sql: String,
    /// The default database.
    pub(crate) db: String,
    /// How rows are written.
    pub(crate) format: Format,
    /// The longest time that it may take.
    pub(crate) timeout: Option<Duration>,
}

/// Answers a statement from a stopped data directory.
pub(crate) type Local<'a> =
    &'a mut dyn FnMut(&Path, &Statement, &mut dyn Write) -> Result<(), CliError>;

/// Asks the statement and puts out its rows; `local` is who answers for a data directory.
///
/// # Errors
/// If the server is not reached, or refuses the statement.
pub(crate) fn run(args: &QueryArgs, local: Local<'_>, out: &mut dyn Write) -> Result<(), CliError> {
    let AskArgs { server, data_dir, format, db, timeout } = &args.ask;
    let statement = Statement {
        sql: statement(&args.sql, &mut std::io::stdin().lock())?,
        db: db.clone(),
        format: *format,
        timeout: *timeout,
    };
    match data_dir {
        Some(data_dir) => local(data_dir, &statement, out),
        None => ask(&Client::new(server, Arc::new(Stop::default()))?, &statement, out),
    }
}

/// Asks a server, and puts out the rows as they come.
///
/// # Errors
/// If the server is not reached, or refuses the statement.
pub(crate) fn ask(
    client: &Client,
    statement: &Statement,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let mut rows = send(client, statement)?.into_body().into_reader();
    let mut buffer = vec![0; 64 * 1_024];
    let mut last = b'\n';
    loop {
        let count = rows.read(&mut buffer).map_err(|error| client.not_reached(error))?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
            break;
        };
        out.write_all(read).map_err(CliError::output)?;
        last = read.last().copied().unwrap_or(last);
    }
    if last != b'\n' && !statement.format.is_binary() {
        out.write_all(b"\n").map_err(CliError::output)?;
    }
    out.flush().map_err(CliError::output)
}

/// Sends a statement to a server, which takes it.
///
/// # Errors
/// If the server is not reached, or refuses the statement.
pub(crate) fn send(client: &Client, statement: &Statement) -> Result<Response<Body>, CliError> {
    let Statement { sql, db, format, timeout } = statement;
    let mut body = json!({ "q": sql, "db": db, "format": format.name() });
    if let Some(timeout) = timeout {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        body["timeout_ms"] = milliseconds.max(1).into();
    }
    let response = client.post(&Post {
        path: "/api/v3/query_sql",
        content_type: "application/json",
        headers: &[],
        body: body.to_string().as_bytes(),
        timeout: timeout.map_or(ANSWER_TIMEOUT, |timeout| timeout + ANSWER_MARGIN),
    })?;
    match response.status().is_success() {
        true => Ok(response),
        false => Err(client.refused(response)),
    }
}

/// The statement as given, or from `input` if it is `-`.
fn statement(argument: &str, input: &mut dyn Read) -> Result<String, CliError> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        let read = input.take(STATEMENT_BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| CliError::File {
            action: "read the statement from",
            path: PathBuf::from("-"),
            source: error.into(),
        })?;
    }
    let problem = if u64::try_from(text.len()).unwrap_or(u64::MAX) > STATEMENT_BYTES_MAX {
        format!("the statement is longer than {STATEMENT_BYTES_MAX} bytes")
    } else if text.trim().is_empty() {
        "the statement is empty".to_owned()
    } else {
        return Ok(text);
    };
    Err(CliError::Usage { problem })
}

pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|timeout| !timeout.is_zero())
        .ok_or_else(|| "a time has its unit, such as 500ms, 30s or 1m30s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::cli::fake_server::{Answer, FakeServer};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: QueryArgs,
    }

    fn query(words: &[&str]) -> (Result<(), CliError>, String) {
        let words = std::iter::once("query").chain(words.iter().copied());
        let args = Command::try_parse_from(words).expect("good arguments").args;
        let mut out = Vec::new();
        let mut local = |dir: &Path, statement: &Statement, out: &mut dyn Write| {
            writeln!(out, "{} {}", dir.display(), statement.sql).map_err(CliError::output)
        };
        let result = run(&args, &mut local, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_rows_come_out_as_the_server_sent_them() {
        let server = FakeServer::start(vec![Answer::new(200, "a,b\n1,\"x\"\n")]);
        let words = ["--format", "csv", "--db", "lab", "--timeout", "1m30s", "SELECT 1"];
        let (result, out) = query(&[&["--url", server.url()], &words[..]].concat());
        result.expect("an answer");
        assert_eq!(out, "a,b\n1,\"x\"\n");
        let request = &server.requests()[0];
        assert_eq!(request.first_line, "POST /api/v3/query_sql HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let expected =
            json!({ "q": "SELECT 1", "db": "lab", "format": "csv", "timeout_ms": 90_000 });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_document_without_line_end_gets_one() {
        let server = FakeServer::start(vec![Answer::new(200, "[]")]);
        let (_, out) = query(&["--url", server.url(), "--format", "json", "SELECT 1"]);
        assert_eq!(out, "[]\n");
    }

    #[test]
    fn files_for_other_programs_come_out_byte_for_byte_and_never_on_a_terminal() {
        for (format, is_binary) in [("parquet", true), ("arrow", true), ("csv", false)] {
            let server = FakeServer::start(vec![Answer::new(200, "PAR1\u{1}PAR1")]);
            let words = ["--url", server.url(), "--format", format, "SELECT 1"];
            let (result, out) = query(&words);
            result.expect("an answer");
            assert_eq!(
                out,
                if is_binary { "PAR1\u{1}PAR1" } else { "PAR1\u{1}PAR1\n" },
                "{format}"
            );
            let args = Command::try_parse_from(["query", "--format", format, "SELECT 1"]);
            let refused = args.expect("good arguments").args.check_output(true);
            let code = refused.map_err(|error| error.exit_code());
            assert_eq!(code, if is_binary { Err(2) } else { Ok(()) }, "{format}");
        }
    }

    #[test]
    fn a_refused_statement_ends_with_4_and_the_servers_code() {
        for (status, code) in [(400, "INVALID_QUERY"), (403, "FORBIDDEN"), (504, "QUERY_TIMEOUT")] {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"why","details":{{}}}}}}"#);
            let server = FakeServer::start(vec![Answer::new(status, &body)]);
            let (result, out) = query(&["--url", server.url(), "DROP TABLE x"]);
            let error = result.unwrap_err();
            assert_eq!((error.exit_code(), out.as_str()), (4, ""), "{error}");
            assert!(error.to_string().contains(&format!("{code}: why")), "{error}");
        }
    }

    #[test]
    fn a_failing_server_is_an_internal_error_and_a_missing_one_is_not_reached() {
        let server = FakeServer::start(vec![Answer::new(500, "")]);
        let (result, _) = query(&["--url", server.url(), "SELECT 1"]);
        assert_eq!(result.unwrap_err().exit_code(), 1);
        let (result, _) = query(&["--url", server.url(), "SELECT 1"]);
        assert_eq!(result.unwrap_err().exit_code(), 3, "it hangs up");
    }

    #[test]
    fn a_data_directory_is_asked_without_a_server() {
        let (result, out) = query(&["--data-dir", "/d", "SELECT 1"]);
        result.expect("the directory answers");
        assert_eq!(out, "/d SELECT 1\n");
    }

    #[test]
    fn statements_come_from_standard_input_and_are_bounded() {
        let read = |text: &str| statement("-", &mut text.as_bytes());
        assert_eq!(read("SELECT 2").unwrap(), "SELECT 2");
        assert_eq!(read(" \n").unwrap_err().exit_code(), 2);
        assert_eq!(read(&"x".repeat(70_000)).unwrap_err().exit_code(), 2);
        assert_eq!(statement("", &mut std::io::empty()).unwrap_err().exit_code(), 2);
    }
}
