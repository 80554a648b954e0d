//! The command: one frame as text, or a view that renews itself.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use crate::cli::client::ServerArgs;
use crate::cli::error::CliError;
use crate::cli::query::parse_timeout;
use crate::cli::service::internal;
use crate::cli::stop::Stop;
use crate::cli::terminal;
use crate::cli::top::asker::{Asker, Reading};
use crate::cli::top::screen::{Screen, stop_at_signals};
use crate::cli::top::snapshot::{Lost, Snapshot};
use crate::cli::top::view;

/// Keys are looked for at least this often, and frames drawn.
const FRAME: Duration = Duration::from_millis(200);
/// The least time between two questions: more would be load for its own sake.
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_hours(1);

const EXAMPLES: &str = "\
Examples:
  # What happens at the server of this machine; q, Esc or Ctrl-C leaves
  tidewatch top

  # At another one, every 5 seconds, with a key of the scope read
  tidewatch top --url https://metrics.example:8850 --key-file ~/.tidewatch-key --every 5s

  # One frame as text, or as JSON for scripts
  tidewatch top --once
  tidewatch top --json | jq '.partitions[] | select(.lag_seconds > 60)'

SOURCE     where samples come from: HTTP, and each [[source.kafka]]
STATE      reading (caught up), catching_up, waiting (no room), missing (a topic), unreachable (brokers), stopped
LAG, AGE   messages that are not stored yet, and how old the oldest of them is; partitions stand with the worst first
LEFT       when it has caught up, at the pace of the last seconds
BAD, GAPS  messages refused in part or whole (tidewatch dlq ls has them), and gone before they were read; since the start

Rates are of the time between two questions. Without a terminal it is as with --once. A server that does not
answer is asked on. Exit code 3: the server was not reached (--once, --json).";

/// `tidewatch top`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "See what happens now: rates, lags, alerts, troubles", after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The time between two questions
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_every)]
    every: Duration,
    /// One frame as text, and the end
    #[arg(long)]
    once: bool,
    /// One JSON document, and the end
    #[arg(long)]
    json: bool,
}

/// What is known of the server.
#[derive(Debug)]
struct Watch {
    url: String,
    before: Option<Reading>,
    /// When it answered last, or was first asked.
    answered: Duration,
    snapshot: Snapshot,
}

/// What came of a question, and when.
type Answer = (Duration, Result<Reading, CliError>);

/// Runs the command until the user leaves.
///
/// # Errors
/// If the address or the key is none, or the terminal cannot be steered; with `--once` if the server is not reached.
pub(crate) fn run(args: &TopArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let stop = Arc::new(Stop::default());
    let asker = Asker::new(&args.server, Arc::clone(&stop))?;
    if args.once || args.json || !std::io::stdout().is_terminal() {
        return once(args, asker, &stop, out);
    }
    live(args, asker, &stop)
}

fn once(
    args: &TopArgs,
    mut asker: Asker,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let before = asker.read()?;
    stop.wait(args.every);
    let now = asker.read()?;
    let snapshot = Snapshot::of(&args.server.url, Some(&before), &now);
    let text = if args.json {
        let text = serde_json::to_string(&snapshot);
        text.map_err(|error| internal("writing the snapshot", error))? + "\n"
    } else {
        view::as_text(&snapshot, terminal::size().0)
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn live(args: &TopArgs, asker: Asker, stop: &Arc<Stop>) -> Result<(), CliError> {
    stop_at_signals(stop)?;
    let (told, answers) = sync_channel(1);
    let mut watch = Watch::new(&args.server.url, asker.now());
    let client = Arc::clone(&asker.client);
    let (every, stop_of_asker) = (args.every, Arc::clone(stop));
    let asking = std::thread::Builder::new().name("asker".to_owned());
    let asking = asking.spawn(move || ask_on(asker, every, &stop_of_asker, &told));
    let asking = asking.map_err(|error| internal("starting to ask", error))?;
    let shown = show(&mut watch, &answers, stop);
    client.cancel();
    drop(answers);
    // Its panic, if it had one, has been told already.
    drop(asking.join());
    shown
}

/// Asks until nobody listens any more.
fn ask_on(mut asker: Asker, every: Duration, stop: &Stop, told: &SyncSender<Answer>) {
    loop {
        let answer = asker.read();
        if told.send((asker.now(), answer)).is_err() || stop.wait(every) {
            return;
        }
    }
}

fn show(watch: &mut Watch, answers: &Receiver<Answer>, stop: &Stop) -> Result<(), CliError> {
    let mut screen = Screen::open()?;
    while !stop.is_stopped() {
        match answers.try_recv() {
            Ok((at, answer)) => watch.take(at, answer)?,
            Err(TryRecvError::Empty) => {}
            // Its panic has given the terminal back and told why.
            Err(TryRecvError::Disconnected) if !stop.is_stopped() => {
                return Err(internal("asking the server", "its thread has ended"));
            }
            Err(TryRecvError::Disconnected) => break,
        }
        screen.draw(&watch.snapshot)?;
        if screen.is_left_within(FRAME)? {
            break;
        }
    }
    Ok(())
}

impl Watch {
    fn new(url: &str, now: Duration) -> Self {
        Self {
            url: url.to_owned(),
            before: None,
            answered: now,
            snapshot: Snapshot::of_nothing(url),
        }
    }

    /// Takes what came of a question. What was known stays where nothing came. A key that does not fit is not tried
    /// again: it would have this address turned away.
    ///
    /// # Errors
    /// If the key does not fit.
    fn take(&mut self, at: Duration, answer: Result<Reading, CliError>) -> Result<(), CliError> {
        match answer {
            Ok(now) => {
                self.snapshot = Snapshot::of(&self.url, self.before.as_ref(), &now);
                self.before = Some(now);
                self.answered = at;
            }
            Err(error @ CliError::Refused { status: 401 | 403, .. }) => return Err(error),
            Err(error) => {
                let seconds = at.saturating_sub(self.answered).as_secs_f64();
                self.snapshot.lost = Some(Lost { seconds, why: causes(&error) });
            }
        }
        Ok(())
    }
}

/// An error with its causes.
fn causes(error: &CliError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn parse_every(text: &str) -> Result<Duration, String> {
    let every = parse_timeout(text)?;
    match (EVERY_MIN..=EVERY_MAX).contains(&every) {
        true => Ok(every),
        false => Err("between 100ms and 1h".to_owned()),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
