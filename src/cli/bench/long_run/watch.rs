//! Looks at the server while it works: memory, disk, instruments, and whether its answers are right.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::{Clock, RealClock};

use crate::cli::bench::child::bytes_below;
use crate::cli::bench::connection::Connection;
use crate::cli::bench::long_run::load::Sent;
use crate::cli::bench::long_run::sums::{Compared, HourSums};
use crate::cli::bench::process::Process;
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Looks between two questions.
const LOOKS_PER_QUESTION: u64 = 25;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The most that the data directory took.
    pub(crate) disk_bytes_max: u64,
    /// Seconds since the start and resident bytes, at every question.
    pub(crate) memory: Vec<(f64, u64)>,
    /// Questions asked while samples came.
    pub(crate) questions: u64,
    /// Hours in their answers.
    pub(crate) compared: Compared,
    /// Questions that had no answer in time.
    pub(crate) unanswered: u64,
}

/// Looks until `stop`.
pub(crate) fn watch(
    data_dir: &Path,
    process: Process,
    address: SocketAddr,
    sent: &Arc<Sent>,
    stop: &Stop,
) -> Seen {
    let clock = RealClock::new();
    let mut seen = Seen::default();
    let mut looks = 0_u64;
    loop {
        seen.disk_bytes_max = seen.disk_bytes_max.max(bytes_below(data_dir));
        if looks.is_multiple_of(LOOKS_PER_QUESTION) {
            let seconds = clock.monotonic().as_secs_f64();
            seen.memory.extend(process.resident_bytes().map(|bytes| (seconds, bytes)));
            seen.question(address, sent, looks / LOOKS_PER_QUESTION);
        }
        looks += 1;
        if stop.wait(LOOK) {
            return seen;
        }
    }
}

impl Seen {
    /// Asks for all hours of one metric; those before the last acknowledged one must be right.
    fn question(&mut self, address: SocketAddr, sent: &Arc<Sent>, turn: u64) {
        let (sums, upto) = sent.sums();
        let metrics = sums.metrics();
        let turn = usize::try_from(turn).unwrap_or(0);
        let Some(metric) = metrics.get(turn % metrics.len().max(1)) else { return };
        match ask(address, &HourSums::statement(metric)) {
            Ok(csv) => {
                self.questions += 1;
                self.compared.add(sums.compare(metric, &csv, upto));
            }
            Err(_late) => self.unanswered += 1,
        }
    }
}

impl Compared {
    /// Adds what another answer showed.
    pub(crate) fn add(&mut self, other: Self) {
        self.exact += other.exact;
        self.partial += other.partial;
        self.gone += other.gone;
        self.wrong += other.wrong;
    }
}

/// The answer to a statement, as CSV.
///
/// # Errors
/// If there is none.
pub(crate) fn ask(address: SocketAddr, sql: &str) -> Result<String, CliError> {
    let value = crate::cli::client::query_value(sql);
    get(address, &format!("/api/v3/query_sql?format=csv&timeout_ms=30000&q={value}"))
}

/// A counter of the server's instruments, summed over its labels; 0 where it is not there.
///
/// # Errors
/// If the server does not answer.
pub(crate) fn instrument(address: SocketAddr, name: &str) -> Result<f64, CliError> {
    let text = get(address, "/metrics")?;
    let lines = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

fn get(address: SocketAddr, path: &str) -> Result<String, CliError> {
    let failed = |source: crate::cli::error::Cause| CliError::Internal {
        action: "asking the server",
        source,
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
    let answer = Connection::open(address).and_then(|mut c| c.ask(request.as_bytes()));
    let answer = answer.map_err(|error| failed(error.into()))?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(failed(format!("{status}: {}", answer.body).into())),
    }
}
