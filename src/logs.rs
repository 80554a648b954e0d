//! Logs on standard error: for people on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that sets levels, such as `info` or `tidewatch_engine=debug,warn`.
const LEVELS: &str = "TIDEWATCH_LOG";

/// Starts the logs of this process.
pub(crate) fn start(default_level: &str) {
    let filter = EnvFilter::try_from_env(LEVELS).unwrap_or_else(|_unset| default_level.into());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as tests do it, keeps the first.
    let started = if std::io::stderr().is_terminal() {
        logs.try_init()
    } else {
        logs.with_ansi(false).json().flatten_event(true).try_init()
    };
    drop(started);
}
