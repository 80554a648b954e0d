//! Logs on standard error: for people on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that sets levels, such as `info` or `tidewatch_engine=debug,warn`.
const LEVELS: &str = "TIDEWATCH_LOG";
/// The target of the audit trail, which is there unless a level is set for it.
const AUDIT: &str = "audit";

/// Starts the logs of this process.
pub(crate) fn start(default_level: &str) {
    let levels = std::env::var(LEVELS).unwrap_or_else(|_unset| default_level.to_owned());
    let mut filter = EnvFilter::try_new(&levels).unwrap_or_else(|_wrong| default_level.into());
    if !levels.contains(AUDIT) {
        let always = format!("{AUDIT}=info").parse().expect("the trail's name is a directive");
        filter = filter.add_directive(always);
    }
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as tests do it, keeps the first.
    let started = if std::io::stderr().is_terminal() {
        logs.try_init()
    } else {
        logs.with_ansi(false).json().flatten_event(true).try_init()
    };
    drop(started);
}
