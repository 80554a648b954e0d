//! The command line.

mod access;
mod alerts;
mod bench;
mod check;
mod client;
mod delete;
mod demo;
mod dlq;
mod error;
mod eval;
#[cfg(test)]
mod fake_server;
mod generate;
mod keys;
mod progress;
mod query;
mod replay;
mod rows;
mod score;
mod segments;
mod series;
mod serve;
mod service;
mod signals;
mod since;
mod sql;
mod stop;
mod stopped;
mod tail;
mod terminal;
mod top;
mod wal;
mod write;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::error::CliError;

const ABOUT: &str =
    "A durable stream-processing engine for metrics: write, score, ask in SQL, be alerted";
const EXAMPLES: &str = "\
Start here:
  tidewatch demo                                       see it at work, without configuration
  tidewatch serve                                      run the server on 127.0.0.1:8850
  curl -d 'cpu,host=a value=0.64' 127.0.0.1:8850/write   write a sample
  tidewatch query 'SELECT * FROM cpu'                  ask for it, with its severity
  tidewatch sql                                        ask one statement after the other
  tidewatch keys --help                                who may do so: keys, and how they are shown
  tidewatch score cpu.csv --plot cpu.svg               score a file and see what is unusual, without a server
  tidewatch check --config tidewatch.toml              look at a configuration before it is used";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "tidewatch", version, about = ABOUT, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Write(write::WriteArgs),
    Query(query::QueryArgs),
    Sql(sql::SqlArgs),
    Tail(tail::TailArgs),
    Top(top::TopArgs),
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    #[command(subcommand)]
    Series(series::SeriesCommand),
    Delete(delete::DeleteArgs),
    Check(check::CheckArgs),
    Demo(demo::DemoArgs),
    Gen(generate::GenArgs),
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    Score(score::ScoreArgs),
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    Replay(replay::ReplayArgs),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    #[command(subcommand)]
    Wal(wal::WalCommand),
    #[command(subcommand)]
    Segments(segments::SegmentsCommand),
    /// Print the version
    Version {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  tidewatch completions bash > /etc/bash_completion.d/tidewatch"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command that the arguments name; gives the exit code of INTERFACE.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::BufWriter::new(io::stdout());
    let done = run(&arguments.command, &mut out);
    let flushed = out.flush().map_err(CliError::output);
    let Err(error) = done.and(flushed) else { return ExitCode::SUCCESS };
    if let Some(report) = error.report() {
        // Where standard error is closed, the exit code has to do.
        drop(writeln!(io::stderr(), "{report}"));
    }
    ExitCode::from(error.exit_code())
}

fn run(command: &Command, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(args, out),
        Command::Write(args) => write::run(args, out),
        Command::Query(args) => {
            args.check_output(io::stdout().is_terminal())?;
            query::run(args, &mut stopped::answer_locally, out)
        }
        Command::Sql(args) => sql::run(args, out),
        Command::Tail(args) => tail::run(args, out),
        Command::Top(args) => top::run(args, out),
        Command::Alerts(command) => alerts::run(command, out),
        Command::Dlq(command) => dlq::run(command, out),
        Command::Series(command) => series::run(command, out),
        Command::Delete(args) => delete::run(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Demo(args) => demo::run(args, out),
        Command::Gen(args) => generate::run(args, out),
        Command::Bench(command) => bench::run(command, out),
        Command::Score(args) => score::run(args, out),
        Command::Eval(command) => eval::run(command, out),
        Command::Replay(args) => replay::run(args, out),
        Command::Keys(command) => keys::run(command, out),
        Command::Wal(command) => wal::run(command, out),
        Command::Segments(command) => segments::run(command, out),
        Command::Version { json } => version(*json, out),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Arguments::command(), "tidewatch", &mut { out });
            Ok(())
        }
    }
}

fn version(json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let text = if json {
        serde_json::json!({ "name": "tidewatch", "version": version }).to_string()
    } else {
        format!("tidewatch {version}")
    };
    writeln!(out, "{text}").map_err(CliError::output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
