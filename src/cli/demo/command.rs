//! `tidewatch demo`

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::{Clock, RealClock};
use tidewatch_metrics::EventTime;

use crate::cli::demo::script::Script;
use crate::cli::demo::server::DemoServer;
use crate::cli::demo::stage::Stage;
use crate::cli::demo::story::Story;
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  tidewatch demo                          until Ctrl-C; nothing is left behind
  tidewatch demo --seconds 90 --json      and one JSON document at the end
  tidewatch demo --data-dir ./demo        keep everything, to go on with `tidewatch serve --data-dir ./demo`

What happens: the server is started in this process, with a rule and without any configuration. Over
HTTP it gets two days of 24 generated series, ten seconds between samples, then their last 50 minutes
in about 50 seconds: sixty times faster than measured, so that a minute has room for six anomalies
(spike, drop, level_shift, variance_change, seasonal_break, flatline), each in a series of its own.
Once a second it also gets this machine's processor, memory, load, disk and network from /proc; they
are scored, but no rule is about them, because a minute does not tell what is normal for a machine.

The document: {\"url\", \"first_alert_s\", \"injected\": [{\"kind\", \"series_id\", \"onset\", \"detected_s\"}],
\"false_alerts\"}. first_alert_s: seconds from the start to the first alert. onset: event time. detected_s:
seconds of event time from the onset to the sample with which the alert fired, null if it did not. False
alerts are those on generated series that lie neither in an anomaly nor in the five minutes after it, in
which a series returns to normal. With --json what is told meanwhile goes to standard error.";

/// `tidewatch demo`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "See it at work within a minute, without configuration", after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// End after so many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Where everything is stored, and kept [default: a temporary directory, which is removed]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where all random numbers of the generated series come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Put out the result as one JSON document at the end
    #[arg(long)]
    json: bool,
}

/// Runs the demo until its time is over or it is told to stop.
///
/// # Errors
/// If the server cannot be started, or fails.
pub(crate) fn run(args: &DemoArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let clock = RealClock::new();
    crate::logs::start("warn");
    let stop = Arc::new(Stop::default());
    let server = DemoServer::start(args.data_dir.as_deref(), Arc::clone(&stop))?;
    let script = Script::new(EventTime::new(clock.now().nanos()), args.seed);
    let mut stderr = io::stderr();
    let (told_to, is_terminal): (&mut dyn Write, bool) = if args.json {
        (&mut stderr, io::stderr().is_terminal())
    } else {
        (&mut *out, io::stdout().is_terminal())
    };
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let end = args.seconds.map(Duration::from_secs);
    let document = Stage::new(&server, script, &clock, (stop, end))
        .and_then(|mut stage| stage.run(&mut Story::new(told_to, colour)));
    // What the server says of its end explains what went wrong before it.
    server.end()?;
    let document = document?;
    if args.json {
        writeln!(out, "{document}").map_err(CliError::output)?;
    }
    Ok(())
}
