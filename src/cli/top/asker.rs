//! Asks the server for what the view shows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_env::{Clock, RealClock};
use ureq::http::Method;

use crate::cli::client::{Client, Post, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::service::internal;
use crate::cli::stop::Stop;
use crate::cli::top::instruments::Instruments;

/// One answer may take so long.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer: the figures of the most partitions that there can be.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Alerts are asked for no more often: their statement reads all that there were.
const ALERTS_EVERY: Duration = Duration::from_secs(5);
/// Partitions that are asked for, the worst first.
const PARTITIONS_MAX: usize = 200;
/// Alerts that are asked for, the newest first.
const ALERTS_MAX: usize = 100;

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// When, on this machine's clock.
    pub(crate) at: Duration,
    /// `/api/v1/health`.
    pub(crate) health: Value,
    /// `/metrics`.
    pub(crate) instruments: Instruments,
    /// Rows of `tidewatch.sources`, or why there are none.
    pub(crate) partitions: Result<Vec<Value>, String>,
    /// Alerts that fire, or why nobody knows.
    pub(crate) alerts: Result<Vec<Value>, String>,
}

/// Asks one server, again and again.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) client: Arc<Client>,
    clock: RealClock,
    alerts: Option<(Duration, Result<Vec<Value>, String>)>,
}

impl Asker {
    /// One for the server that is named.
    ///
    /// # Errors
    /// If the address or the key is none.
    pub(crate) fn new(args: &ServerArgs, stop: Arc<Stop>) -> Result<Self, CliError> {
        let client = Arc::new(Client::new(args, stop)?);
        Ok(Self { client, clock: RealClock::new(), alerts: None })
    }

    /// Now, on the clock of readings.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// What the server answers now.
    ///
    /// # Errors
    /// If it is not reached, or refuses.
    pub(crate) fn read(&mut self) -> Result<Reading, CliError> {
        // Some part is unhealthy where the status is 503: that is an answer, too.
        let health = self.text((Method::GET, "/api/v1/health"), &[], &[200, 503])?;
        let health: Value = serde_json::from_str(&health)
            .map_err(|error| internal("reading the server's health", error))?;
        // A server that starts has no figures yet.
        let instruments = self.text((Method::GET, "/metrics"), &[], &[200, 503])?;
        let at = self.now();
        let partitions = self.rows(&format!(
            "SELECT source, topic, partition, state, lag_messages, lag_seconds, messages, samples, \
             bad_messages, gap_messages, trouble FROM tidewatch.sources \
             ORDER BY lag_seconds DESC, lag_messages DESC, source, topic, partition \
             LIMIT {PARTITIONS_MAX}"
        ));
        let is_new = |(asked, _): &(Duration, _)| at.saturating_sub(*asked) < ALERTS_EVERY;
        let known = self.alerts.clone().filter(is_new);
        let (asked, alerts) = known.unwrap_or_else(|| (at, self.rows(&firing())));
        self.alerts = Some((asked, alerts.clone()));
        let instruments = Instruments::read(&instruments);
        Ok(Reading { at, health, instruments, partitions, alerts })
    }

    fn rows(&self, sql: &str) -> Result<Vec<Value>, String> {
        let millis = u64::try_from(ANSWER_MAX.as_millis()).unwrap_or(u64::MAX);
        let body = json!({ "q": sql, "db": "default", "format": "json", "timeout_ms": millis });
        let body = body.to_string();
        let text = self.text((Method::POST, "/api/v3/query_sql"), body.as_bytes(), &[200]);
        let text = text.map_err(|error| match error {
            CliError::Unavailable { message, .. } | CliError::Refused { message, .. } => message,
            other => other.to_string(),
        })?;
        serde_json::from_str(&text).map_err(|error| format!("the answer is no rows: {error}"))
    }

    fn text(
        &self,
        (method, path): (Method, &str),
        body: &[u8],
        good: &[u16],
    ) -> Result<String, CliError> {
        let content_type = "application/json";
        let post = Post { path, content_type, headers: &[], body, timeout: ANSWER_MAX };
        let response = self.client.once(&method, &post)?;
        if !good.contains(&response.status().as_u16()) {
            return Err(self.client.refused(response));
        }
        let mut body = response.into_body();
        let text = body.with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        text.map_err(|error| self.client.not_reached(error))
    }
}

/// The alerts that fire, the newest first.
fn firing() -> String {
    format!(
        "SELECT * FROM (
             SELECT key, rule, priority, metric, labels, min(onset) AS onset,
                 max(severity) AS severity, max(CASE transition WHEN 'pending' THEN 1
                     WHEN 'firing' THEN 2 WHEN 'resolved' THEN 3 ELSE 0 END) AS state
             FROM tidewatch.alerts GROUP BY key, rule, priority, metric, labels
         ) WHERE state = 2 ORDER BY onset DESC, key LIMIT {ALERTS_MAX}"
    )
}
