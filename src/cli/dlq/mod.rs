//! `tidewatch dlq`: messages of which something was refused.

mod chosen;
mod end;
mod ls;
mod show;

use std::io::Write;

use crate::cli::error::CliError;

const EXAMPLES: &str = "\
Examples:
  # What was refused, and why
  tidewatch dlq ls --by reason
  tidewatch dlq ls --source main --since 24h

  # One letter: its message as text or bytes, and the reason
  tidewatch dlq show 4711:120

  # After its source's configuration was mended: store what the open letters hold
  tidewatch dlq replay --all --source main

  # Nobody wants these
  tidewatch dlq drop 4711:120 4711:121

A letter is named by its record and its offset. All of it is in the table tidewatch.dlq, for `tidewatch query`.
Exit code 3: the server was not reached; 4: there is no such letter.";

/// `tidewatch dlq`
#[derive(Debug, clap::Subcommand)]
#[command(about = "Dead letters: messages that were refused; see, replay or drop them", after_help = EXAMPLES)]
pub(crate) enum DlqCommand {
    /// List letters, the latest ones first, or count them by reason
    #[command(after_help = EXAMPLES)]
    Ls(ls::LsArgs),
    /// Show one: its message and why it was refused
    #[command(after_help = EXAMPLES)]
    Show(show::ShowArgs),
    /// Read letters again, as messages of their source are read now, and store their samples once
    #[command(after_help = EXAMPLES)]
    Replay(end::EndArgs),
    /// Drop letters
    #[command(after_help = EXAMPLES)]
    Drop(end::EndArgs),
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached, or there is no such letter.
pub(crate) fn run(command: &DlqCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        DlqCommand::Ls(args) => ls::run(args, out),
        DlqCommand::Show(args) => show::run(args, out),
        DlqCommand::Replay(args) => end::run(args, end::What::Replay, out),
        DlqCommand::Drop(args) => end::run(args, end::What::Drop, out),
    }
}
