//! A server under load: this program's, or a peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_env::{Clock, RealClock};

use crate::cli::bench::case::Case;
use crate::cli::bench::child::ServerChild;
use crate::cli::bench::process::Process;
use crate::cli::bench::questdb::QuestDb;
use crate::cli::client::{Client, Post, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

/// Counting and summing takes less than this.
const CHECK_MAX: Duration = Duration::from_mins(5);
/// Draining takes less than this.
const DRAIN_MAX: Duration = Duration::from_mins(5);
/// Between two looks whether a server is drained.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Looks in a row that must find nothing.
const LOOKS: u32 = 4;
/// CPU-seconds between two looks that are no work: the system counts in hundredths.
const IDLE_CPU_SECONDS: f64 = 0.011;
/// Relative difference of sums that the order of adding explains.
const SUM_TOLERANCE: f64 = 1e-9;

/// A server under load.
#[derive(Debug)]
pub(crate) enum Target {
    /// This program's.
    Tidewatch(ServerChild),
    /// A QuestDB that somebody else started.
    QuestDb(QuestDb),
}

/// What a server holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stored {
    /// Samples.
    pub(crate) samples: u64,
    /// The sum of their values.
    pub(crate) sum: f64,
}

impl Stored {
    /// Whether it is what was acknowledged, up to the order in which values were added.
    pub(crate) fn equals(&self, samples: u64, hundredths: i64) -> bool {
        // Sums of this size are far below 2^53.
        let sum = hundredths as f64 / 100.0;
        self.samples == samples && (self.sum - sum).abs() <= SUM_TOLERANCE * sum.abs()
    }
}

impl Target {
    /// Its name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tidewatch(_) => "tidewatch",
            Self::QuestDb(_) => "questdb",
        }
    }

    /// Where it takes writes.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Tidewatch(server) => server.address(),
            Self::QuestDb(peer) => peer.address(),
        }
    }

    /// Its process, if it is known.
    pub(crate) fn process(&self) -> Option<Process> {
        match self {
            Self::Tidewatch(server) => Some(server.process()),
            Self::QuestDb(peer) => peer.process(),
        }
    }

    /// CPU-seconds so far.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        self.process().and_then(Process::cpu_seconds)
    }

    /// Waits until all work that the load left behind is done; gives for how long there was some.
    ///
    /// For this program's server that is when its threads rest: segments of full heads are written then.
    /// QuestDB tells it.
    ///
    /// # Errors
    /// If it does not come to rest, or a peer is not reached.
    pub(crate) fn drain(&self) -> Result<Duration, CliError> {
        let (clock, stop) = (RealClock::new(), Stop::default());
        let (mut quiet, mut looks) = (Duration::ZERO, 0);
        let mut cpu = self.cpu_seconds();
        while clock.monotonic() < DRAIN_MAX {
            if let Self::QuestDb(peer) = self {
                if peer.is_drained()? {
                    return Ok(clock.monotonic());
                }
                stop.wait(LOOK_PAUSE);
                continue;
            }
            stop.wait(LOOK_PAUSE);
            let now = self.cpu_seconds();
            let worked = now.zip(cpu).is_none_or(|(now, then)| now - then > IDLE_CPU_SECONDS);
            cpu = now;
            looks = if worked { 0 } else { looks + 1 };
            if worked {
                quiet = clock.monotonic();
            }
            if looks == LOOKS {
                return Ok(quiet);
            }
        }
        let source = format!("{} still works after {} s", self.name(), DRAIN_MAX.as_secs());
        Err(CliError::Internal { action: "waiting for the end of the work", source: source.into() })
    }

    /// What it holds of a case.
    ///
    /// # Errors
    /// If it is not reached or refuses to tell.
    pub(crate) fn stored(&self, case: &Case) -> Result<Stored, CliError> {
        match self {
            Self::Tidewatch(server) => stored_here(server),
            Self::QuestDb(peer) => peer.stored(case),
        }
    }
}

fn stored_here(server: &ServerChild) -> Result<Stored, CliError> {
    let url = format!("http://{}", server.address());
    let client = Client::new(&ServerArgs::at(url), Arc::new(Stop::default()))?;
    let body = json!({
        "q": "SELECT count(*) AS samples, sum(value) AS total FROM tidewatch.samples",
        "format": "json",
        "timeout_ms": u64::try_from(CHECK_MAX.as_millis()).unwrap_or(u64::MAX),
    });
    let response = client.post(&Post {
        path: "/api/v3/query_sql",
        content_type: "application/json",
        headers: &[],
        body: body.to_string().as_bytes(),
        timeout: CHECK_MAX + Duration::from_secs(10),
    })?;
    if !response.status().is_success() {
        return Err(client.refused(response));
    }
    let text = response.into_body().read_to_string();
    let text = text.map_err(|error| client.not_reached(error))?;
    let rows: Value = serde_json::from_str(&text).map_err(|source| CliError::Internal {
        action: "reading the server's answer",
        source: source.into(),
    })?;
    let row = &rows[0];
    Ok(Stored {
        samples: row["samples"].as_u64().unwrap_or(0),
        sum: row["total"].as_f64().unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_sample_and_a_wrong_value_are_seen_and_the_order_of_adding_is_not() {
        let stored = Stored { samples: 1_000_000, sum: 1e8 };
        assert!(stored.equals(1_000_000, 10_000_000_000));
        assert!(Stored { sum: 1e8 + 1e-3, ..stored }.equals(1_000_000, 10_000_000_000));
        assert!(!stored.equals(1_000_001, 10_000_000_000));
        assert!(!stored.equals(1_000_000, 10_000_000_100));
    }
}
